// Command testreport reads what `go test -json` writes and prints what `go test` alone would: the closing line of every
// package, what the tests that failed said, and which took longest. It ends with 1 when something failed, when nothing was tested, and,
// which go test does not do, when a test was skipped for want of a real part.
//
// A test that needs a real part skips with a message that names the variable which would have led it there, such as
// CHATTING_TEST_KAFKA. The report recognises such a message by the prefix CHATTING_TEST_.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// missingPart begins the names of the variables that lead tests to real parts.
const missingPart = "CHATTING_TEST_"

// maxLine bounds one line of input, in bytes; go test writes a line of its own for each line that a test prints.
const maxLine = 16 << 20

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// report prints the outcome of the tests that in tells of, and returns whether all is well.
func report(in io.Reader, out io.Writer) (ok bool, err error) {
	r := run{out: out, open: make(map[string]*result)}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintf(out, "%s\n", lines.Bytes()) // the go command itself, not a test
			continue
		}
		r.take(e)
	}
	return r.sum(), lines.Err()
}

// event is a line of input; `go doc test2json` describes it. Test is "" for what concerns the package as a whole.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // in seconds, of what has ended
}

// run is the state of the report.
type run struct {
	out             io.Writer
	open            map[string]*result // the packages that have not ended
	passed, failed  int                // packages
	skipped         int                // tests
	missing, others []string           // the skipped tests, with what they said
	longest         []timed            // the longest first, at most mostTimed
}

// timed is a test with how long it took, in seconds.
type timed struct {
	test    string
	seconds float64
}

// mostTimed is how many of the longest tests are told, so that somebody who wants the run to be shorter knows where to begin.
const mostTimed = 20

// time notes how long a test took that is no part of another one.
func (r *run) time(e event) {
	if strings.Contains(e.Test, "/") || e.Elapsed == 0 {
		return
	}
	r.longest = append(r.longest, timed{e.Package + " " + e.Test, e.Elapsed})
	slices.SortStableFunc(r.longest, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	r.longest = r.longest[:min(len(r.longest), mostTimed)]
}

// result is what one package and its tests said, until the package ends.
type result struct {
	order []string                    // the tests, "" for the package, as they began to speak
	said  map[string]*strings.Builder // by test
	well  map[string]bool             // the tests that passed or were skipped
}

func (r *run) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(r.out, e.Output)
	}
	if e.Package == "" {
		return
	}
	p := r.open[e.Package]
	if p == nil {
		p = &result{said: make(map[string]*strings.Builder), well: make(map[string]bool)}
		r.open[e.Package] = p
	}
	switch e.Action {
	case "output":
		p.hear(e.Test, e.Output)
	case "pass", "skip", "fail":
		p.well[e.Test] = e.Action != "fail"
		if e.Test == "" {
			r.end(e.Package, p)
			return
		}
		r.time(e)
		if e.Action == "skip" {
			r.skip(e, p)
		}
	}
}

func (r *run) skip(e event, p *result) {
	r.skipped++
	test := fmt.Sprintf("%s %s: %s", e.Package, e.Test, p.reason(e.Test))
	if strings.Contains(test, missingPart) {
		r.missing = append(r.missing, test)
	} else {
		r.others = append(r.others, test)
	}
}

func (r *run) end(name string, p *result) {
	if p.well[""] {
		r.passed++
	} else {
		r.failed++
	}
	p.print(r.out)
	delete(r.open, name)
}

// sum prints the last lines and returns whether all is well.
func (r *run) sum() bool {
	for name, p := range r.open {
		fmt.Fprintf(r.out, "%s did not end:\n", name)
		r.end(name, p)
	}
	for _, of := range r.longest {
		fmt.Fprintf(r.out, "took %.1f s: %s\n", of.seconds, of.test)
	}
	for _, test := range r.others {
		fmt.Fprintf(r.out, "skipped: %s\n", test)
	}
	for _, test := range r.missing {
		fmt.Fprintf(r.out, "NOT TESTED, a real part is missing: %s\n", test)
	}
	fmt.Fprintf(r.out, "packages: %d passed, %d failed; tests skipped: %d, %d of them for want of a real part\n",
		r.passed, r.failed, r.skipped, len(r.missing))
	return r.passed > 0 && r.failed == 0 && len(r.missing) == 0
}

func (p *result) hear(test, output string) {
	if p.said[test] == nil {
		p.said[test] = new(strings.Builder)
		p.order = append(p.order, test)
	}
	p.said[test].WriteString(output)
}

// lines returns what a test said, without the progress marks of go test.
func (p *result) lines(test string) []string {
	if p.said[test] == nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(p.said[test].String()) {
		if !strings.HasPrefix(line, "=== ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// print writes the closing line of a package that passed; of another one everything but what its good tests said.
func (p *result) print(out io.Writer) {
	for _, test := range p.order {
		if test == "" || p.well[""] || p.well[test] {
			continue
		}
		fmt.Fprint(out, strings.Join(p.lines(test), ""))
	}
	for _, line := range p.lines("") {
		if !p.well[""] || strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") {
			fmt.Fprint(out, line)
		}
	}
}

// reason returns what a skipped test said, as one line.
func (p *result) reason(test string) string {
	var reason []string
	for _, line := range p.lines(test) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "--- SKIP") {
			reason = append(reason, line)
		}
	}
	return strings.Join(reason, " ")
}
