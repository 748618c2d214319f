package domain_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"chatting/domain"
)

func TestEmptyAndBlankTextsAreDeliveredAsTheyAre(t *testing.T) {
	for _, s := range []string{"", " ", "\t\n", "\x00", "안녕 👋", strings.Repeat("x", domain.MaxTextBytes)} {
		if text, err := domain.NewText(s); err != nil || text.String() != s {
			t.Errorf("NewText(%.20q) = %.20q, %v", s, text, err)
		}
	}
}

func TestWhatIsNoTextIsRefused(t *testing.T) {
	for s, want := range map[string]domain.Code{
		"\xff":          domain.CodeBadMessage,
		"a\xed\xa0\x80": domain.CodeBadMessage, // a lone surrogate, encoded
		strings.Repeat("x", domain.MaxTextBytes+1): domain.CodeTooLong,
	} {
		if _, err := domain.NewText(s); domain.CodeOf(err) != want {
			t.Errorf("NewText(%.20q): %v, want %s", s, err, want)
		}
	}
	if _, err := domain.LoggedText("\xff"); domain.CodeOf(err) != domain.CodeBadMessage {
		t.Errorf("LoggedText takes what is no UTF-8: %v", err)
	}
}

func TestATextThatEscapingMadeLongerIsStillReadFromTheLog(t *testing.T) {
	text, err := domain.NewText(strings.Repeat("'", domain.MaxTextBytes))
	if err != nil {
		t.Fatal(err)
	}
	escaped := text.EscapeHTML().String()
	if again, err := domain.LoggedText(escaped); err != nil || again.String() != escaped {
		t.Errorf("a text of %d bytes in the log is refused: %v", len(escaped), err)
	}
}

func TestEscapingWritesTheEntitiesOfTheContract(t *testing.T) {
	text, err := domain.NewText(`<b onclick='x("&")'>&amp;</b>`)
	if err != nil {
		t.Fatal(err)
	}
	const want = "&lt;b onclick=&#x27;x(&quot;&amp;&quot;)&#x27;&gt;&amp;amp;&lt;/b&gt;"
	if got := text.EscapeHTML().String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzNewText(f *testing.F) {
	for _, seed := range []string{"", "hello", `<&>"'`, "&amp;", "\xff", "안녕", "\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := domain.NewText(s)
		if (err == nil) != (utf8.ValidString(s) && len(s) <= domain.MaxTextBytes) {
			t.Fatalf("NewText(%q): %v", s, err)
		}
		if err != nil {
			return
		}
		if text.String() != s {
			t.Fatalf("NewText(%q) holds %q", s, text)
		}
		escaped := text.EscapeHTML().String()
		if strings.ContainsAny(escaped, `<>"'`) {
			t.Fatalf("%q is left in %q", s, escaped)
		}
		var want strings.Builder
		for _, r := range s {
			switch r {
			case '&':
				want.WriteString("&amp;")
			case '<':
				want.WriteString("&lt;")
			case '>':
				want.WriteString("&gt;")
			case '"':
				want.WriteString("&quot;")
			case '\'':
				want.WriteString("&#x27;")
			default:
				want.WriteRune(r)
			}
		}
		if escaped != want.String() {
			t.Fatalf("%q became %q, want %q", s, escaped, want.String())
		}
	})
}

func FuzzNewClientMessageID(f *testing.F) {
	for _, seed := range []string{"", "m1", " ", "~", "\x7f", "\x1f", "é", `"\`, strings.Repeat("x", 64), strings.Repeat("x", 65)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := domain.NewClientMessageID(s)
		valid := len(s) >= 1 && len(s) <= 64 && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if (err == nil) != valid {
			t.Fatalf("NewClientMessageID(%q) = %q, %v", s, id, err)
		}
		if valid && string(id) != s {
			t.Fatalf("NewClientMessageID(%q) = %q", s, id)
		}
		if !valid && domain.CodeOf(err) != domain.CodeBadMessage {
			t.Fatalf("NewClientMessageID(%q) fails with %s", s, domain.CodeOf(err))
		}
	})
}

// The limit is one of the contract, in bytes: a character may have four of them.
func TestTheLimitOfATextIsInBytes(t *testing.T) {
	for s, valid := range map[string]bool{
		strings.Repeat("x", 65_536):                true,
		strings.Repeat("x", 65_537):                false,
		strings.Repeat("안", 21_845) + "x":          true, // 3 bytes each
		strings.Repeat("안", 21_845) + "xx":         false,
		strings.Repeat("\U0001f44b", 16_384):       true, // 4 bytes each
		strings.Repeat("\U0001f44b", 16_384) + "x": false,
	} {
		if _, err := domain.NewText(s); valid && err != nil || !valid && domain.CodeOf(err) != domain.CodeTooLong {
			t.Errorf("%d bytes, %d characters: %v", len(s), utf8.RuneCountInString(s), err)
		}
	}
}

func TestANameOfAMessageHas1To64PrintableASCIICharacters(t *testing.T) {
	for s, valid := range map[string]bool{
		"x": true, " ": true, "~": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "\x1f": false, "\x7f": false, "a\n": false, "é": false, "x\x00": false,
	} {
		id, err := domain.NewClientMessageID(s)
		if valid && (err != nil || string(id) != s) || !valid && (domain.CodeOf(err) != domain.CodeBadMessage || id != "") {
			t.Errorf("NewClientMessageID(%q) = %q, %v", s, id, err)
		}
	}
}
