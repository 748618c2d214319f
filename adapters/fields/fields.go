// Package fields reads the bodies that other programs send, over HTTP or through Kafka: the values of a JSON object, taken
// as leniently as the original server took them, and the complaints about them in its sentences. Both ways in refuse
// the same things in the same words.
package fields

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatting/adapters/members"
)

// Kind is the JSON type of a value.
type Kind int

// The kinds.
const (
	Missing Kind = iota
	Null
	Boolean
	Number
	Text
	List
	Object
)

// Value is one field of a body.
type Value struct {
	Kind Kind
	// Text is the text, or the number's literal, as sent: nothing is lost to floating point.
	Text string
	// surrogate is the first lone surrogate of the text, 0 where there is none; Go's strings cannot hold one.
	surrogate uint16
}

// IsAbsent tells whether the field has no value: it is missing, or null, as serializers of many languages write what is not
// set. A field that may be missing may be null as well.
func (v Value) IsAbsent() bool { return v.Kind == Missing || v.Kind == Null }

// Fields are a body's by name. Those not in it are missing.
type Fields map[string]Value

// SyntaxError tells that a body is no JSON.
type SyntaxError struct{ complaint string }

// Error implements error.
func (e *SyntaxError) Error() string { return "JSON parse error - " + e.complaint }

// InvalidError tells what is wrong with the fields of a body: sentences, a field.
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

// ParseJSON reads a JSON object (RFC 8259: UTF-8, nothing after it). Of a name that comes twice the last counts, as in the
// original server. Its error is a *SyntaxError or an InvalidError.
func ParseJSON(body []byte) (Fields, error) {
	if !utf8.Valid(body) {
		return nil, &SyntaxError{"the body is not valid UTF-8"}
	}
	r := members.Read(body)
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

// parseValue reads a JSON value that the parser has checked.
func parseValue(data []byte) Value {
	switch data[0] {
	case '{':
		return Value{Kind: Object}
	case '[':
		return Value{Kind: List}
	case 'n':
		return Value{Kind: Null}
	case 't', 'f':
		return Value{Kind: Boolean}
	case '"':
		text, _ := members.Text(data)
		return Value{Kind: Text, Text: string(text), surrogate: loneSurrogate(data)}
	default:
		return Value{Kind: Number, Text: string(data)}
	}
}

// pythonType names the type of a whole body as the original's answers do.
func (v Value) pythonType() string {
	switch v.Kind {
	case Null:
		return "NoneType"
	case Boolean:
		return "bool"
	case Text:
		return "str"
	case List:
		return "list"
	case Number:
		if strings.ContainsAny(v.Text, ".eE") {
			return "float"
		}
		return "int"
	default:
		return "dict"
	}
}

// loneSurrogate returns the first escaped surrogate of a JSON string that has no other half (RFC 8259 §8.2), or 0. The
// standard library's parser silently replaces those.
func loneSurrogate(literal []byte) uint16 {
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(literal[i:])
		switch {
		case !ok:
			i++ // the escaped character
		case unit < 0xd800 || unit > 0xdfff:
			i += 5
		case unit >= 0xdc00:
			return unit
		default:
			if low, _ := escapedUnit(literal[i+6:]); low < 0xdc00 || low > 0xdfff {
				return unit
			}
			i += 11
		}
	}
	return 0
}

// escapedUnit reads \uXXXX at the start of literal.
func escapedUnit(literal []byte) (uint16, bool) {
	if len(literal) < 6 || literal[0] != '\\' || literal[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(literal[2:6]), 16, 16)
	return uint16(unit), err == nil
}
