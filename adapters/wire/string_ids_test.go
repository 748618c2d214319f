package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"chatting/adapters/wire"
	"chatting/domain"
)

func TestIDsOfUsersBecomeDecimalStrings(t *testing.T) {
	for data, want := range map[string]string{
		`{"type":"chat_message","message":"hi","from_id":201,"to_id":9223372036854775807,"id":"x"}`: `{"type":"chat_message","message":"hi","from_id":"201","to_id":"9223372036854775807","id":"x"}`,
		`{"type":"system_message","message":"m","online_friends":[202,9007199254740993],"to_id":1}`: `{"type":"system_message","message":"m","online_friends":["202","9007199254740993"],"to_id":"1"}`,
		`{"type":"system_message","from":"admin","to_id":7,"room_id":"r","opponent_id":8}`:          `{"type":"system_message","from":"admin","to_id":"7","room_id":"r","opponent_id":"8"}`,
		// What an error says of its target is as the client sent it, of whatever type.
		`{"type":"system_message","error":"e","from_id":9,"to_id":7,"retry_after_ms":10}`: `{"type":"system_message","error":"e","from_id":9,"to_id":"7","retry_after_ms":10}`,
		`{"type":"system_message","error":"e","from_id":{"id":9,"to_id":[1]},"to_id":7}`:  `{"type":"system_message","error":"e","from_id":{"id":9,"to_id":[1]},"to_id":"7"}`,
		`{"type":"system_message","error":"e","from_id":[{"from_id":1}],"to_id":7}`:       `{"type":"system_message","error":"e","from_id":[{"from_id":1}],"to_id":"7"}`,
		`{"type":"chat_message","message":"system_message","from_id":1}`:                  `{"type":"chat_message","message":"system_message","from_id":"1"}`,
		`{"type":"chat_message","message":"\"from_id\":5,","from_id":1}`:                  `{"type":"chat_message","message":"\"from_id\":5,","from_id":"1"}`,
		`{"message":{"type":"system_message"},"from_id":1}`:                               `{"message":{"type":"system_message"},"from_id":"1"}`,
		// Bodies of answers.
		`[{"id":7},{"id":9}]`: `[{"id":"7"},{"id":"9"}]`,
		`{"target_id":7}`:     `{"target_id":"7"}`,
		`{"conversations":[{"id":0,"last_message":{"type":"system_message","to_id":7,"opponent_id":8},"unread":3}],"next":"1.2"}`: `{"conversations":[{"id":"0","last_message":{"type":"system_message","to_id":"7","opponent_id":"8"},"unread":3}],"next":"1.2"}`,
		`{"target_id":["A valid integer is required."],"status":400}`:                                                             `{"target_id":["A valid integer is required."],"status":400}`,
		`{"message":"\\","to_id":1}`:              `{"message":"\\","to_id":"1"}`,
		`{"message":"\"to_id":2,"","to_id":1}`:    `{"message":"\"to_id":2,"","to_id":"1"}`,
		`{"type":["system_message"],"from_id":1}`: `{"type":["system_message"],"from_id":"1"}`,
		// Other notations, and what others write.
		` { "from\u005fid" : 5 , "to_id":5.0,"x":{"to_id":6},"y":[1,2] } `: ` { "from\u005fid" : "5" , "to_id":5.0,"x":{"to_id":"6"},"y":[1,2] } `,
		`7`: `7`, `"x"`: `"x"`, `null`: `null`, `{}`: `{}`, `[]`: `[]`, ``: ``,
	} {
		before := []byte("before ")
		if got := string(wire.AppendWithStringIDs(before, []byte(data))); got != "before "+want {
			t.Errorf("%s\nis   %s\nwant before %s", data, got, want)
		}
	}
}

func TestEveryFrameOfTheServerHasItsIDsAsStringsOnRequest(t *testing.T) {
	for data := range golden(t) {
		got := wire.AppendWithStringIDs(nil, []byte(data))
		var frame map[string]any
		if err := json.Unmarshal(got, &frame); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		for _, name := range []string{"from_id", "to_id", "opponent_id"} {
			if _, isNumber := frame[name].(float64); isNumber {
				t.Errorf("%s has %s as a number", got, name)
			}
		}
	}
}

// FuzzStringIDs holds what is written against a slow reading of the same: it says the same, but for the type of ids, of which none is
// a number.
func FuzzStringIDs(f *testing.F) {
	for data := range golden(f) {
		f.Add([]byte(data))
	}
	f.Add([]byte(`{"type":"system_message","error":"e","from_id":{"id":9},"to_id":7}`))
	f.Add([]byte(`{"message":"\"to_id":2,\","to_id":1`))
	f.Add([]byte(`"\`))
	f.Add([]byte(`[{"id":7},{"id":[[1],{"x":2},3]}]`))
	f.Add([]byte(` {"a":[{"b":"]}"}],"\ud800":"\udc00","id":-1.5e+3} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		got := wire.AppendWithStringIDs(nil, data)
		if !bytes.Equal(before, data) {
			t.Fatalf("%q was changed", before)
		}
		want, err := decodeNumbers(data)
		if err != nil {
			return
		}
		found, err := decodeNumbers(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, got, err)
		}
		if object, ok := found.(map[string]any); ok && json.Valid(data) && hasNumber(object, bytes.Contains(data, []byte("type"))) {
			t.Fatalf("%q became %q, which has a number for an id", data, got)
		}
		if !reflect.DeepEqual(asNumbers(found), asNumbers(want)) {
			t.Fatalf("%q became %q", data, got)
		}
		if again := wire.AppendWithStringIDs(nil, got); !bytes.Equal(again, got) {
			t.Fatalf("%q, once more, became %q", got, again)
		}
	})
}

func decodeNumbers(data []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// hasNumber tells whether an object has an integer for an id of a user; a from_id is let pass where it may be as it was sent.
func hasNumber(object map[string]any, fromAsSent bool) bool {
	for _, name := range []string{"to_id", "opponent_id", "target_id", "from_id"} {
		number, ok := object[name].(json.Number)
		if _, err := number.Int64(); ok && err == nil && (name != "from_id" || !fromAsSent) {
			return true
		}
	}
	return false
}

// asNumbers returns a value in which texts that are numbers are numbers.
func asNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			v[name] = asNumbers(v[name])
		}
	case []any:
		for i := range v {
			v[i] = asNumbers(v[i])
		}
	case json.Number:
		return v.String()
	}
	return value
}

func BenchmarkStringIDs(b *testing.B) {
	said, err := domain.NewText(strings.Repeat("hello ", 20))
	if err != nil {
		b.Fatal(err)
	}
	frame, err := wire.EncodeEvent(event(domain.ChatMessage{From: 201, To: 202, Text: said}))
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 0, 2*len(frame))
	b.ReportAllocs()
	for b.Loop() {
		buffer = wire.AppendWithStringIDs(buffer[:0], frame)
	}
}
