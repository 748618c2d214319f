package database

import (
	"errors"
	"strings"
	"testing"

	"github.com/lib/pq"
)

func TestWhatAURLHasBesideItsHostIsTakenOutOfErrors(t *testing.T) {
	long := strings.Repeat("n", maxIdentifier)
	for _, test := range []struct{ url, text, want string }{
		{"postgres://u5er:p4ss@db.example/shop", `user "u5er" of "shop" at db.example: p4ss`, `user "***" of "***" at db.example: ***`},
		// A short part is only found as a word of its own; a long one, and one that is no word, anywhere.
		{"postgres://u5er@h/x", "u5ers, xu5er, u5er_, _u5er, 1u5er, u5er9, Zu5er, u5era: u5er.", "u5ers, xu5er, u5er_, _u5er, 1u5er, u5er9, Zu5er, u5era: ***."},
		{"postgres://u:12345678901@h/", "x12345678901", "x12345678901"},
		{"postgres://u:123456789012@h/", "x123456789012x", "x***x"},
		{"postgres://u:%2Fs3c%2F@h/", "x/s3c/x", "x***x"},
		// As it is written, and decoded; of two that begin alike the longer one.
		{"postgres://u:p%40ss@h/", "p%40ss and p@ss", "*** and ***"},
		{"postgres://p@h/p-q", "p-q", "***"},
		{"postgres://u@h/a%2Fb", "a/b a%2Fb", "*** ***"},
		// Values of parameters, and names that are none.
		{"postgres://u@h/?sslmode=s3cret&se-cret=1&options=", "sslmode s3cret se-cret options", "sslmode *** *** options"},
		{"postgres://u@h/?options=%zz", "%zz", "***"},
		{"postgres://u@h/?options=a%2Bb%2Bcd", "a+b+cd a%2Bb%2Bcd", "*** ***"},
		{"postgres://u@h/?application_name=port", "port application_name", "*** application_name"},
		{"postgres://u@h/#fragment", "fragment", "***"},
		// Pieces of a part, from four bytes on.
		{"postgres://u@h/?host=one1,two", "one1 two", "*** two"},
		// What the server cuts, and what Go quotes.
		{"postgres://u@h/" + long + "m", long, "***"},
		{"postgres://u@h/" + long, long[1:], long[1:]},
		{"postgres://u:a%22b@h/", `a\"b`, "***"},
		// What is no UTF-8, and a name that the server cuts before a character.
		{"postgres://u:p%ffss@h/", "p\xffss, \"p\\xffss\"", "***, \"***\""},
		{"postgres://u@h/" + strings.Repeat("é", maxIdentifier), strings.Repeat("é", maxIdentifier/2), "***"},
		{"postgres://u@h/" + strings.Repeat("%80", maxIdentifier+1), strings.Repeat("\x80", maxIdentifier+1), "***"}, // no character begins there
		{"postgres://%ff:%ffss@h/", "\xffss \xff", "*** ***"},
		{"postgres://h", "nothing here", "nothing here"},
	} {
		s := newScrubber(test.url, pq.Config{})
		if got := s.text(test.text); got != test.want {
			t.Errorf("%s: %s, want %s", test.url, got, test.want)
		}
		err := errors.New(test.text)
		if got := s.error(err); got.Error() != test.want || !errors.Is(got, err) {
			t.Errorf("%s: the error %v", test.url, got)
		}
	}
}

func TestWhatTheDriverTakesFromItsEnvironmentIsTakenOutOfErrors(t *testing.T) {
	s := newScrubber("postgres://h", pq.Config{User: "u5er", Password: "p4ss", Database: "shop", Runtime: map[string]string{"x": "va1ue"}})
	if got := s.text("u5er p4ss shop va1ue x"); got != "*** *** *** *** x" {
		t.Error(got)
	}
	t.Setenv("PGPASSWORD", "fr0menv")
	t.Setenv("PGHOST", "db1.example")
	t.Setenv("LIKEPGPASSWORD", "th3other")
	if got := newScrubber("postgres://h", pq.Config{}).text("fr0menv db1.example th3other"); got != "*** db1.example th3other" {
		t.Error(got)
	}
	if got := newScrubber("", pq.Config{}).text("anything"); got != "anything" {
		t.Error(got)
	}
}
