package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestOutcome gives the report recorded lines, shortened to the fields that it reads.
func TestOutcome(t *testing.T) {
	const passes = `{"Action":"start","Package":"m/a"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:7: chatter of TestGood, CHATTING_TEST_KAFKA\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.01s\n"}
{"Action":"pass","Package":"m/a"}
`
	skips := func(message string) string {
		return `{"Action":"output","Package":"m/b","Test":"TestReal","Output":"    b_test.go:9: ` + message + `\n"}
{"Action":"output","Package":"m/b","Test":"TestReal","Output":"--- SKIP: TestReal (0.00s)\n"}
{"Action":"skip","Package":"m/b","Test":"TestReal"}
{"Action":"output","Package":"m/b","Output":"ok  \tm/b\t0.01s\n"}
{"Action":"pass","Package":"m/b"}
`
	}
	const fails = `{"Action":"output","Package":"m/c","Test":"TestGood","Output":"chatter of TestGood\n"}
{"Action":"pass","Package":"m/c","Test":"TestGood"}
{"Action":"output","Package":"m/c","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/c","Test":"TestBad","Output":"    c_test.go:3: got 1, want 2\n"}
{"Action":"output","Package":"m/c","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/c","Test":"TestBad"}
{"Action":"output","Package":"m/c","Output":"FAIL\tm/c\t0.01s\n"}
{"Action":"fail","Package":"m/c"}
`
	const doesNotBuild = `{"ImportPath":"m/d [m/d.test]","Action":"build-output","Output":"d.go:5:2: undefined: x\n"}
{"ImportPath":"m/d [m/d.test]","Action":"build-fail"}
{"Action":"output","Package":"m/d","Output":"FAIL\tm/d [build failed]\n"}
{"Action":"fail","Package":"m/d","FailedBuild":"m/d [m/d.test]"}
`
	const breaksOff = `{"Action":"output","Package":"m/e","Test":"TestHangs","Output":"    e_test.go:3: so far\n"}
`
	tests := []struct {
		name     string
		input    string
		ok       bool
		say      []string
		withhold []string
	}{
		{"all pass", passes, true, []string{"ok  \tm/a\t0.01s\n"}, []string{"chatter", "PASS", "=== RUN"}},
		{"an ordinary skip", passes + skips("only on Windows"), true, []string{"skipped: m/b TestReal", "only on Windows"}, nil},
		{"a real part is missing", passes + skips("CHATTING_TEST_KAFKA is not set"), false,
			[]string{"ok  \tm/b", "NOT TESTED", "m/b TestReal: b_test.go:9: CHATTING_TEST_KAFKA is not set"}, nil},
		{"a test fails", passes + fails, false, []string{"got 1, want 2", "--- FAIL: TestBad", "FAIL\tm/c\t0.01s\n", "ok  \tm/a"},
			[]string{"chatter", "=== RUN"}},
		{"a package does not build", passes + doesNotBuild, false, []string{"undefined: x", "FAIL\tm/d [build failed]\n"}, nil},
		{"a package does not end", passes + breaksOff, false, []string{"m/e did not end", "so far"}, nil},
		{"the go command itself complains", passes + "go: no such tool\n", true, []string{"go: no such tool"}, nil},
		{"nothing was tested", "", false, []string{"packages: 0 passed"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := report(strings.NewReader(test.input), &out)
			if err != nil {
				t.Fatal(err)
			}
			if ok != test.ok {
				t.Errorf("ok is %t, want %t", ok, test.ok)
			}
			for _, want := range test.say {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing from:\n%s", want, out.String())
				}
			}
			for _, unwanted := range test.withhold {
				if strings.Contains(out.String(), unwanted) {
					t.Errorf("%q is in:\n%s", unwanted, out.String())
				}
			}
		})
	}
}

func TestTheLongestTestsAreTold(t *testing.T) {
	var in, out strings.Builder
	for i := range mostTimed + 1 {
		fmt.Fprintf(&in, `{"Action":"pass","Package":"m/a","Test":"Test%02d","Elapsed":%d}`+"\n", i, i+1)
		fmt.Fprintf(&in, `{"Action":"pass","Package":"m/a","Test":"Test%02d/part","Elapsed":99}`+"\n", i)
	}
	in.WriteString(`{"Action":"pass","Package":"m/a","Elapsed":99}` + "\n")
	if ok, err := report(strings.NewReader(in.String()), &out); !ok || err != nil {
		t.Fatal(ok, err)
	}
	first, last := "took 21.0 s: m/a Test20\ntook 20.0 s: m/a Test19\n", "took 2.0 s: m/a Test01\npackages: "
	if said := out.String(); !strings.HasPrefix(said, first) || !strings.Contains(said, last) {
		t.Errorf("it says\n%s", said)
	}
}
