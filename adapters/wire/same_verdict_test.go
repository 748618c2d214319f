package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// checkBody compares what a body is taken for with what it was taken for by the reference, which is below.
func checkBody(t *testing.T, body []byte) (accepted bool) {
	t.Helper()
	before := bytes.Clone(body)
	got, err := ParseBody(body)
	want, wantErr := referenceParseBody(body)
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, wantErr) {
		t.Errorf("%.1000q is %.1000v, %v; and was %.1000v, %v", body, got, err, want, wantErr)
	}
	if !bytes.Equal(before, body) {
		t.Errorf("%.1000q was changed", body)
	}
	return err == nil
}

func TestABodyIsTakenForWhatItWasEverTakenFor(t *testing.T) {
	names := []string{"target_id", "message", "", "Message", "mes\\u0073age", "\\ud800", "\\udfff\\ude00", "\xff", "é"}
	values := []string{
		`null`, `true`, `false`, `[1,[]]`, `{"a":1,"a":2}`, `0`, `-0`, `-1.50E+07`, `1e999`, `01`, `-`, `""`, `"x"`, `" 7 "`, `"\ud83d\ude00"`, `"\ud83dx"`, `"\\ud800"`, `"\n\u0041\/"`, `"\x"`, `"\u12"`, "\"\x01\"", "\"\xed\xa0\x80\"", `"é"`, `nul`, `"x`,
	}
	accepted := 0
	for _, name := range names {
		for _, value := range values {
			member := `"` + name + `":` + value
			for _, body := range []string{
				`{` + member + `}`, "\r\n{ " + member + " }\t", `{"message":1,` + member + `}`, `{` + member + `,"message":[]}`, `{` + member + ` , "target_id" : 7 }`,
				`{` + member + `}}`, `{` + member + `,}`, `[{` + member + `}]`, value, " " + value + " ", member, `{` + value + `:1}`, `{` + member, "\ufeff{" + member + "}", "{\u00a0" + member + "}",
			} {
				if checkBody(t, []byte(body)) {
					accepted++
				}
			}
		}
	}
	for _, depth := range []int{9_998, 9_999, 10_000, 10_001} {
		nested := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		checkBody(t, []byte(`{"x":`+nested+`}`))
		checkBody(t, []byte(nested))
	}
	// Guards the test: most of what is compared would be worth little if all of it were refused.
	if accepted < 300 {
		t.Errorf("only %d bodies were accepted", accepted)
	}
}

func FuzzParseJSONAsEver(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`, ` {"a":[{"b":"]}"}],"\ud800":"\udc00","a":-1.5e+3} `, `[1,2]`, `null`, `1.5`, `"x"`, `{[]:1}`, `{"a"}`, ``, `{"a":1}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkBody(t, body) })
}

// What follows is how bodies were read with encoding/json, in three passes. It is the reference for how they are read now.

// referenceParseBody reads a JSON object (RFC 8259: UTF-8, nothing after it). Of a name that comes twice the last counts, as in the
// original server. Its error is a *SyntaxError or an InvalidError.
func referenceParseBody(body []byte) (Fields, error) {
	if !utf8.Valid(body) {
		return nil, &SyntaxError{"the body is not valid UTF-8"}
	}
	if err := referenceCheckJSON(body); err != nil {
		return nil, &SyntaxError{err.Error()}
	}
	whole := referenceParseValue(bytes.TrimLeft(body, " \t\r\n"))
	if whole.kind != jsontext.KindBeginObject {
		return nil, InvalidError{"non_field_errors": {"Invalid data. Expected a dictionary, but got " + whole.pythonType() + "."}}
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, &SyntaxError{err.Error()}
	}
	parsed := make(Fields, len(raw))
	for name, data := range raw {
		parsed[name] = referenceParseValue(data)
	}
	return parsed, nil
}

// referenceCheckJSON returns the parser's complaint about body, nil where it is one JSON value.
func referenceCheckJSON(body []byte) error {
	var raw json.RawMessage
	return json.Unmarshal(body, &raw)
}

// referenceParseValue reads what begins with a JSON value that the parser has checked.
func referenceParseValue(data []byte) Value {
	switch data[0] {
	case '{':
		return Value{kind: jsontext.KindBeginObject}
	case '[':
		return Value{kind: jsontext.KindBeginArray, text: string(bytes.TrimRight(data, " \t\r\n"))}
	case 'n':
		return Value{kind: jsontext.KindNull}
	case 't':
		return Value{kind: jsontext.KindTrue}
	case 'f':
		return Value{kind: jsontext.KindFalse}
	case '"':
		v := Value{kind: jsontext.KindString, surrogate: LoneSurrogate(data)}
		if err := json.Unmarshal(data, &v.text); err != nil {
			return Value{kind: jsontext.KindString} // cannot be: it is a checked string
		}
		return v
	default:
		return Value{kind: jsontext.KindNumber, text: string(bytes.TrimRight(data, " \t\r\n"))}
	}
}
