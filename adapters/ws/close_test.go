package ws

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheDocumentListsEveryReasonOfACloseFrame holds the table of docs/protocol.md against closings, both ways.
func TestTheDocumentListsEveryReasonOfACloseFrame(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Close codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d{4}) \\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(section, -1) {
		documented[row[1]+" "+row[2]] = true
	}
	given := map[string]bool{}
	for cause := range closeCause(causes) {
		end, frame := closings[cause], closeFrame(cause)
		if cause == closeAbnormal {
			if end.reason != "" {
				t.Errorf("an end without a close frame has the reason %s", end.reason)
			}
			continue
		}
		if !regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`).MatchString(end.reason) || len(end.reason) > 32 || end.why == "" {
			t.Errorf("cause %d: reason %q, why %q", cause, end.reason, end.why)
		}
		name := fmt.Sprint(end.code, " ", end.reason)
		if given[name] {
			t.Errorf("%s has two causes", name)
		}
		given[name] = true
		if !documented[name] {
			t.Errorf("%s is not documented", name)
		}
		if got := int(frame[2])<<8 | int(frame[3]); got != end.code || string(frame[4:]) != end.reason {
			t.Errorf("%s is sent as %q", name, frame)
		}
	}
	for name := range documented {
		if !given[name] {
			t.Errorf("%s is documented and never given", name)
		}
	}
}
