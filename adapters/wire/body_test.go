package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAnInvalidBodyIsToldInOneLineThatNamesEveryWrongField(t *testing.T) {
	parsed, err := ParseBody([]byte(`{"target_id":"x","message":" ","type":"invite_game","room_id":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parsed.SystemMessage()
	var invalid InvalidError
	if !errors.As(err, &invalid) || len(invalid) != 3 {
		t.Fatalf("it says %v", err)
	}
	want := "message: This field may not be blank. room_id: Not a valid string. target_id: A valid integer is required."
	if err.Error() != want {
		t.Errorf("it says %q, not %q", err, want)
	}
}

func TestABodyThatIsNoObjectIsToldFromOneThatIsNoJSON(t *testing.T) {
	for body, want := range map[string]string{
		`[1]`:       "non_field_errors: Invalid data. Expected a dictionary, but got list.",
		`null`:      "non_field_errors: Invalid data. Expected a dictionary, but got NoneType.",
		`1.5`:       "non_field_errors: Invalid data. Expected a dictionary, but got float.",
		`{`:         "JSON parse error - unexpected end of JSON input",
		`{} {}`:     "JSON parse error - invalid character '{' after top-level value",
		"\"\xff\"":  "JSON parse error - the body is not valid UTF-8",
		``:          "JSON parse error - unexpected end of JSON input",
		" \t{}\r\n": "",
	} {
		_, err := ParseBody([]byte(body))
		var syntax *SyntaxError
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", body, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%q: it says %v, not %q", body, err, want)
		case errors.As(err, &syntax) != strings.HasPrefix(want, "JSON parse error"):
			t.Errorf("%q: the error is a %T", body, err)
		}
	}
}

func FuzzSystemMessage(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":7,"message":"m"}`, `{"target_id":"7.0","message":5,"type":"invite_game","room_id":"r","opponent_id":8}`,
		`{"target_id":7,"message":"\ud83d"}`, `{"target_id":1e400,"message":"\u0000"}`, `[]`, `null`, ``, `{"":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		parsed, err := ParseBody(body)
		if (err == nil) != (json.Valid(body) && utf8.Valid(body) && json.Unmarshal(body, &map[string]json.RawMessage{}) == nil && parsed != nil) {
			t.Fatalf("%q: %v", body, err)
		}
		if err != nil {
			return
		}
		message, err := parsed.SystemMessage()
		if err != nil {
			if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%q: it says %q", body, err)
			}
			return
		}
		text := message.Text.String()
		if text == "" || !utf8.ValidString(text) || message.To < 0 || message.Opponent > 0 && message.Room == "" {
			t.Errorf("%q is %+v", body, message)
		}
	})
}
