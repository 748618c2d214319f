package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Each kind of mutant stands at least once in the package that is changed: its tests notice some, and miss some on purpose.
func TestMutantsLiveWhereNoTestNoticesThem(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-v", "./testdata/shelf"}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(lines[:len(lines)-1]) // They come in the order in which they end.
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	want := strings.Split(`killed shelf.go:10:20 boundary free > 0 TestFree
killed shelf.go:10:20 negation free > 0 TestFree
killed shelf.go:18:5 negation !open TestCount
killed shelf.go:22:3 deletion n++ TestCount
killed shelf.go:22:4 step n++ TestCount
killed shelf.go:28:35 arithmetic -n TestOpposite
killed shelf.go:31:38 side place == 0 TestMarked
killed shelf.go:31:38 side place == 0 || place == 1 TestMarked
killed shelf.go:31:44 negation place == 0 TestMarked
killed shelf.go:31:58 negation place == 1 TestMarked
killed shelf.go:31:72 negation place == 3 TestMarked
killed shelf.go:6:11 negation taken < 0 TestFree
killed shelf.go:6:18 side taken > places TestFree
killed shelf.go:6:24 negation taken > places TestFree
killed shelf.go:9:16 arithmetic places - taken TestFree
killed shelf.go:9:2 deletion free = places - taken TestFree
lived shelf.go:6:11 boundary taken < 0
lived shelf.go:6:24 boundary taken > places
not covered shelf.go:14:37 arithmetic n * 2
not covered shelf.go:31:52 side place == 1
not covered shelf.go:31:66 side place == 3
not covered shelf.go:6:5 side taken < 0
./testdata/shelf: 16 of 22 mutants died (72.7 %): 16 killed, 0 timed out; 2 lived, 4 not covered`, "\n")
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "one package",
		"./testdata/shelf ./other":         "one package",
		"-files [ ./testdata/shelf":        "missing closing ]",
		"-files ^none ./testdata/shelf":    "nothing to change",
		"-at shelf.go:1: ./testdata/shelf": "nothing to change",
		"./testdata/nowhere":               "nowhere",
		"./...":                            "one at a time",
	} {
		err := run(t.Context(), strings.Fields(args), &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
