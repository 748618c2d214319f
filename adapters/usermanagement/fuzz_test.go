package usermanagement

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzParseVerified compares the reading of an answer with a slower reading of the same.
func FuzzParseVerified(f *testing.F) {
	for _, body := range []string{
		`{"id":201}`, `{"id":"201"}`, `{"ID":201}`, `{"id":2.0}`, `{"id":1e3}`, `{"id":-1}`, `{"id":9223372036854775808}`,
		`{"id":"\u0037"}`, `{"id":null}`, `[]`, ``, `{"id":7}{}`, `{"id":"07"}`, "{\"id\":\"\xff\"}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		user, ok := parseVerified(body)
		var loose map[string]any
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.UseNumber()
		text := ""
		if json.Valid(body) && decoder.Decode(&loose) == nil {
			switch id := loose["id"].(type) {
			case string:
				text = id
			case json.Number:
				text = id.String()
			}
		}
		wanted := isID(text)
		if ok != wanted || (ok && user.String() != text) || (!ok && user != 0) {
			t.Fatalf("%q: %d, %v, want %q", body, user, ok, text)
		}
	})
}

// isID tells whether a text is a positive int64 in decimal.
func isID(text string) bool {
	if text == "" || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return false
	}
	return len(text) < 19 || (len(text) == 19 && text <= "9223372036854775807")
}

// FuzzParseFriends reads any list: what is accepted has good ids, each once, and is a JSON list as a whole.
func FuzzParseFriends(f *testing.F) {
	for _, body := range []string{
		`[]`, `[{"id":202}]`, `[{"id":202},{"id":"202"},{"id":203}]`, `[{"id":202}`, `[{"id":202}}`, `[{"id":202},]`, `[[]]`, `null`,
		`[{"id":202}]x`, `[{"id":1}{"id":2}]`, ` [ ] `, `{"id":202}`, `[{"id":{"id":1}}]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		friends, err := parseFriends(body)
		if err != nil {
			if friends != nil {
				t.Fatalf("%q: friends beside an error", body)
			}
			return
		}
		var loose []map[string]any
		if err := json.Unmarshal(body, &loose); err != nil {
			t.Fatalf("%q is accepted and no list: %v", body, err)
		}
		if len(friends) > len(loose) || (len(loose) > 0) != (len(friends) > 0) {
			t.Fatalf("%q: %d friends of %d entries", body, len(friends), len(loose))
		}
		seen := make(map[string]bool)
		for _, friend := range friends {
			if friend <= 0 || seen[friend.String()] {
				t.Fatalf("%q: %v", body, friends)
			}
			seen[friend.String()] = true
		}
	})
}
