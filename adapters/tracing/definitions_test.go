package tracing

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// row is a row of the table of docs/traces.md: name, kind, attributes, meaning.
var row = regexp.MustCompile("(?m)^\\| `([a-z_ ]+)` \\| ([a-z]+) \\| (.*?) \\| (.*) \\|$")

func TestTheDocumentHasEverySpan(t *testing.T) {
	text, err := os.ReadFile("../../docs/traces.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string][2]string)
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		if _, twice := documented[found[1]]; twice {
			t.Errorf("%s has two rows", found[1])
		}
		documented[found[1]] = [2]string{found[2], strings.TrimSpace(found[3])}
	}
	for name, d := range definitions {
		var attributes []string
		for _, a := range d.fixed {
			attributes = append(attributes, "`"+string(a.Key)+"`")
		}
		for _, key := range d.keys {
			attributes = append(attributes, "`"+string(key)+"`")
		}
		want := [2]string{d.kind.String(), strings.Join(attributes, ", ")}
		if got := documented[string(name)]; got != want {
			t.Errorf("docs/traces.md says %q of %s, want %q", got, name, want)
		}
		delete(documented, string(name))
	}
	for name := range documented {
		t.Errorf("docs/traces.md has %s, which is no span", name)
	}
}
