package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Value is a field of a body that another program sent. The zero Value is a field that is missing.
type Value struct {
	kind jsontext.Kind // 0 for a field that is missing
	// text is the text, or the literal of a number: nothing is lost to floating point. Of a list it is all that stands there.
	text string
	// surrogate is the first lone surrogate of the text, 0 if it has none.
	surrogate uint16
}

// TextValue returns the value of a field that is a text: one of a form, a query or a path.
func TextValue(text string) Value { return Value{kind: jsontext.KindString, text: text} }

// IsMissing tells whether there is no such field.
func (v Value) IsMissing() bool { return v.kind == 0 }

// IsAbsent tells whether the field has no value: it is missing, or null, which serializers of many languages write for a
// value that is not set. A field that may be missing may be null.
func (v Value) IsAbsent() bool { return v.IsMissing() || v.kind == jsontext.KindNull }

// Fields are the fields of a body by name.
type Fields map[string]Value

// SyntaxError tells that a body is not JSON.
type SyntaxError struct{ complaint string }

// Error implements error.
func (e *SyntaxError) Error() string { return "JSON parse error - " + e.complaint }

// InvalidError has sentences that tell what is wrong with the fields of a body, by field.
type InvalidError map[string][]string

// Error implements error: one line.
func (e InvalidError) Error() string {
	lines := make([]string, 0, len(e))
	for field, sentences := range e {
		lines = append(lines, field+": "+strings.Join(sentences, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// ParseBody reads a body that another program sent over HTTP or through Kafka: a JSON object in UTF-8. If a name comes twice,
// the last counts, as in the original server. The error is a *SyntaxError or an InvalidError, in the sentences of the
// original server.
func ParseBody(body []byte) (Fields, error) {
	if !utf8.Valid(body) {
		return nil, &SyntaxError{"the body is not valid UTF-8"}
	}
	r := Read(body)
	defer r.Close()
	parsed := Fields{}
	_, err := r.Object(func(name []byte) error {
		field := string(name)
		value, err := r.Value()
		if err == nil {
			parsed[field] = parseValue(value)
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, complaint(body)
	}
	return parsed, nil
}

// complaint says why a body is no JSON object, in the words of encoding/json.
func complaint(body []byte) error {
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		return &SyntaxError{err.Error()}
	}
	return InvalidError{"non_field_errors": {"Invalid data. Expected a dictionary, but got " + parseValue(whole).pythonType() + "."}}
}

// parseValue reads a JSON value that was checked.
func parseValue(data []byte) Value {
	v := Value{kind: jsontext.Value(data).Kind()}
	switch v.kind {
	case jsontext.KindString:
		text, _ := Text(data)
		v.text, v.surrogate = string(text), LoneSurrogate(data)
	case jsontext.KindNumber, jsontext.KindBeginArray:
		v.text = string(data)
	default:
	}
	return v
}

// pythonType names the type of a whole body as the original server did.
func (v Value) pythonType() string {
	switch v.kind {
	case jsontext.KindNull:
		return "NoneType"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "bool"
	case jsontext.KindString:
		return "str"
	case jsontext.KindBeginArray:
		return "list"
	case jsontext.KindNumber:
		if strings.ContainsAny(v.text, ".eE") {
			return "float"
		}
		return "int"
	default:
		return "dict"
	}
}
