package platform

import (
	"strings"
	"testing"

	"chatting/domain"
)

func TestKeysAreOneShortString(t *testing.T) {
	longest := strings.Repeat("k", 255)
	for header, want := range map[string]string{
		`k`: "k", `"k"`: "k", ` "k" `: "k", `"a\"b\\c"`: `a"b\c`, `"a;b,c"`: "a;b,c", longest: longest, `"` + longest + `"`: longest, `a'b:c/d=`: "a'b:c/d=", `~!`: "~!", `"~!"`: "~!", "\x7f": "", "\"\x7f\"": "",
		``: "", `""`: "", `"`: "", `"k`: "", `"k"x`: "", `"k";p=1`: "", `"k", "l"`: "", `k, l`: "", `k;p`: "", `k l`: "", `"a\b"`: "", `"a\`: "", "é": "", `"é"`: "",
		"\"a\tb\"": "", longest + "k": "", `"` + longest + `k"`: "", `k"`: "", `a\b`: "",
	} {
		key, ok := parseIdempotencyKey(header)
		if ok != (want != "") || ok && key != want {
			t.Errorf("%.40q is %.40q, %v, want %.40q", header, key, ok, want)
		}
	}
}

// The fields are told apart where one ends and the next begins, whatever they contain.
func TestTextThatLooksLikeTheNextFieldIsNot(t *testing.T) {
	message := func(room, text string) domain.SystemMessage {
		said, err := domain.NewText(text)
		if err != nil {
			t.Fatal(err)
		}
		return domain.SystemMessage{To: 7, Room: domain.RoomID(room), Text: said}
	}
	for _, pair := range [][2]domain.SystemMessage{
		{message(`a" "b`, "c"), message("a", `b" "c`)},
		{message("a b", "c"), message("a", "b c")},
		{message("ab", "c"), message("a", "bc")},
		{{To: 7, Opponent: 12}, {To: 71, Opponent: 2}},
		{{To: 7, Opponent: 8}, {To: 8, Opponent: 7}},
	} {
		if fingerprint(pair[0]) == fingerprint(pair[1]) {
			t.Errorf("%+v and %+v are the same", pair[0], pair[1])
		}
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{`k`, `"k"`, `"a\"b\\"`, `"`, ``, `"k";p`, "\x00", `k\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key, ok := parseIdempotencyKey(header)
		if !ok {
			return
		}
		if key == "" || len(key) > maxIdempotencyKey {
			t.Errorf("%q is %q", header, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := parseIdempotencyKey(quoted); !ok || again != key {
			t.Errorf("%q is %q, and quoted again %q", header, key, again)
		}
	})
}
