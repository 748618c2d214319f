package domain_test

import (
	"strings"
	"testing"

	"chatting/domain"
)

func TestATraceParentIsReadAsTheW3CHasIt(t *testing.T) {
	const (
		trace = "0af7651916cd43dd8448eb211c80319c"
		span  = "b7ad6b7169203331"
		good  = "00-" + trace + "-" + span + "-01"
		off   = "00-" + trace + "-" + span + "-00"
	)
	for text, want := range map[string]string{
		good:                                                  good,
		off:                                                   off,
		"00-" + trace + "-" + span + "-03":                    good, // flags that are not known mean nothing
		"00-" + trace + "-" + span + "-fe":                    off,
		"01-" + trace + "-" + span + "-01":                    good, // a later version begins as this one
		"cc-" + trace + "-" + span + "-01-more":               good,
		"cc-" + trace + "-" + span + "-01more":                "",
		"00-" + trace + "-" + span + "-01-more":               "",
		"ff-" + trace + "-" + span + "-01":                    "",
		"0G-" + trace + "-" + span + "-01":                    "",
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   "",
		"00-" + trace + "-" + strings.ToUpper(span) + "-01":   "",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  "",
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": "",
		"00-" + trace + "-" + span + "-0g":                    "",
		"00-" + trace + "-" + span + "-g1":                    "",
		"00_" + trace + "-" + span + "-01":                    "",
		"00-" + trace + "_" + span + "-01":                    "",
		"00-" + trace + "-" + span + "_01":                    "",
		"00-" + trace + "-" + span + "-1":                     "",
		" " + good:                                            "",
		good + " ":                                            "",
		"":                                                    "",
		good + strings.Repeat("-x", 1<<20):                    "",
		strings.Repeat("-", 55):                               "",
		"00-" + trace[:31] + "\"" + "-" + span + "-01":        "",
	} {
		if got := domain.NewTraceParent(text); string(got) != want {
			t.Errorf("%.80q is read as %q, want %q", text, got, want)
		}
		if got := domain.NewTraceParent([]byte(text)); string(got) != want {
			t.Errorf("%.80q as bytes is read as %q, want %q", text, got, want)
		}
	}
	if id, at := domain.TraceParent(good).IDs(); domain.TraceParentOf(id, at) != good {
		t.Errorf("its ids are %x and %x", id, at)
	}
	if !domain.TraceParent(good).IsSampled() || domain.TraceParent(off).IsSampled() || domain.TraceParent("").IsSampled() {
		t.Error("the flag is not what tells whether a span is recorded")
	}
}
