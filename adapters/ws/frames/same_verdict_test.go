package frames

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"chatting/adapters/wire"
)

// checkSplit compares what a frame is taken for with what it was taken for by the reference, which is below.
func checkSplit(t *testing.T, data []byte) (accepted bool) {
	t.Helper()
	before := bytes.Clone(data)
	got, err := split(data)
	want, wantErr := referenceSplit(data)
	short := data[:min(len(data), 1000)]
	if !errors.Is(err, wantErr) || !reflect.DeepEqual(got, want) {
		t.Errorf("%q is %v, %v; and was %v, %v", short, got, err, want, wantErr)
	}
	if !bytes.Equal(before, data) {
		t.Errorf("%q was changed", short)
	}
	for _, value := range [][]byte{want.token, want.target, want.message, want.kind, want.status, want.room, want.name} {
		text, ok := wire.Text(value)
		if wantText, wantOK := referenceText(value); ok != wantOK || string(text) != wantText {
			t.Errorf("%q is the text %q, %t; and was %q, %t", value, text, ok, wantText, wantOK)
		}
	}
	return err == nil
}

func TestAFrameIsTakenForWhatItWasEverTakenFor(t *testing.T) {
	names := []string{
		"token", "features", "target_id", "message", "type", "status", "room_id", "client_msg_id", "x", "", "Message", "mes\\u0073age", "ſtatus", "\\ud800", "\\udfff", "\ufffd",
	}
	values := []string{
		`null`, `true`, `[]`, `{}`, `[{"message":1,"message":2}]`, `0`, `-1.50E+07`, `01`, `""`, `"x"`, `" 7 "`, `"\ud83d\ude00"`, `"\ud83d"`, `"\\ud800"`, `"\n\u0041"`, `"\x"`, "\"\x01\"", `"é"`, `nul`, `"x`,
	}
	accepted := 0
	for _, first := range names {
		for _, value := range values {
			member := `"` + first + `":` + value
			for _, other := range append(names, first) {
				for _, frame := range []string{`{` + member + `,"` + other + `":"y"}`, " {\n\"" + other + "\" : null ,\t" + member + " }\r"} {
					if checkSplit(t, []byte(frame)) {
						accepted++
					}
				}
			}
			for _, frame := range []string{`{` + member + `}}`, `{` + member + `,}`, `[{` + member + `}]`, value, member, `{` + value + `:1}`, `{` + member, `{` + member + "}\x00"} {
				checkSplit(t, []byte(frame))
			}
		}
	}
	for _, depth := range []int{9_998, 9_999, 10_000, 10_001} {
		for _, nested := range []string{strings.Repeat("[", depth) + strings.Repeat("]", depth), strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)} {
			checkSplit(t, []byte(`{"target_id":`+nested+`}`))
			checkSplit(t, []byte(`{"x":`+nested+`,"message":"m"}`))
			checkSplit(t, []byte(nested))
		}
	}
	// Guards the test: most of what is compared would be worth little if all of it were refused.
	if accepted < 1000 {
		t.Errorf("only %d frames were accepted", accepted)
	}
}

func FuzzSplitAsEver(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":202,"message":"hello","client_msg_id":"a"}`, ` {"token":"x","features":["invites"],"x":null,"x":1} `,
		`{"a":[{"b":"]}"}],"\ud800":"\udc00","\ud83d\ude00":"\\"}`, `[1,2]`, `{"type":null,"status":{"":{}},"room_id":-1.5e+3}`, `{[]:1}`, `{"a"}`, `"x"`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if utf8.Valid(data) { // else it is refused before
			checkSplit(t, data)
		}
	})
}

// What follows is how frames were read with encoding/json, in two passes. It is the reference for how they are read now.

// referenceSplit takes a JSON object apart. encoding/json checks the grammar (and the depth); going through the fields is done
// here, because encoding/json accepts keys in any case, lets the last of equal keys win, and replaces halves of
// surrogate pairs.
func referenceSplit(data []byte) (fields, error) {
	if !json.Valid(data) {
		return fields{}, errBadJSON
	}
	s := scanner{rest: data}
	if s.blanks(); s.rest[0] != '{' {
		return fields{}, errNoObject
	}
	f := fields{halfSurrogate: wire.LoneSurrogate(data) != 0}
	seen := make(map[string]struct{}, 8)
	for s.next() {
		key, _ := referenceText(s.value())
		if _, twice := seen[key]; twice {
			return fields{}, errDuplicate
		}
		seen[key] = struct{}{}
		s.next() // the colon
		value := s.value()
		referenceSet(&f, key, value)
	}
	return f, nil
}

// referenceSet notes a member of the frame. Of target_id and token, null is kept: Parse says what it means.
func referenceSet(f *fields, key string, value []byte) {
	known := f.field([]byte(key))
	if known != nil && (isPresent(value) || known == &f.target || known == &f.token) {
		*known = value
	}
}

// scanner goes through the members of an object in a text that is known to be JSON.
type scanner struct{ rest []byte }

func (s *scanner) blanks() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// next steps over a brace, comma or colon; false where the object ends.
func (s *scanner) next() bool {
	s.blanks()
	if s.rest[0] == '}' {
		return false
	}
	s.rest = s.rest[1:]
	s.blanks()
	return s.rest[0] != '}'
}

// value steps over a value and returns it.
func (s *scanner) value() []byte {
	length, depth := 0, 0
	for {
		switch s.rest[length] {
		case '"':
			length += stringLength(s.rest[length:])
		case '{', '[':
			depth++
			length++
		case '}', ']':
			depth--
			length++
		case ',', ':', ' ', '\t', '\r', '\n':
			length++ // inside an object or a list
		default:
			length += scalarLength(s.rest[length:])
		}
		if depth == 0 {
			value := s.rest[:length]
			s.rest = s.rest[length:]
			return value
		}
	}
}

// stringLength returns the length of the JSON string that b begins with, quotes included.
func stringLength(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// scalarLength returns the length of the number or word that b begins with.
func scalarLength(b []byte) int {
	if n := bytes.IndexAny(b, ",:]} \t\r\n"); n >= 0 {
		return n
	}
	return len(b)
}

// referenceText returns the value of a JSON string; false for anything else.
func referenceText(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}
