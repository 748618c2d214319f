// Package doctor looks at a configuration and at everything that it names, and says what would keep a server from working and what to
// change. It only reads: it makes no file, no topic and no table, and holds nothing that a running server needs.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
)

// State says how serious a finding is.
type State string

// The states of a finding.
const (
	OK      State = "ok"
	Warning State = "warning" // the server works; somebody should look at it
	Failed  State = "failed"  // the server does not start, or does not work
	Skipped State = "skipped" // it could not be looked at, for the reason that the finding has
)

// Finding is what a check has found out.
type Finding struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Change string `json:"change,omitempty"` // what to change; "" if nothing
}

// Report has the findings of all checks, in their order.
type Report struct {
	Findings []Finding `json:"findings"`
	Failed   int       `json:"failed"`
	Warnings int       `json:"warnings"`
}

// Machine is what the checks know of this machine and process.
type Machine struct {
	Now       func() time.Time
	OpenFiles uint64 // how many files the process may have open; 0 if that is not known
	Memory    uint64 // how many bytes the process may use; 0 if that is not known
	FreeDisk  func(dir string) (free uint64, err error)
}

// Examination is what to look at.
type Examination struct {
	Config  configs.Config
	Machine Machine
	// Token is one that a server shall accept; "" for none.
	Token string
}

// patience bounds each question to something outside.
const patience = 5 * time.Second

// patient is an examination under way.
type patient struct {
	Examination

	report Report
	check  string
	// serving tells that a server of this configuration runs on this machine.
	serving bool
}

// Examine does all checks. Each is bounded by time, and one that fails does not keep the others from being done.
func Examine(ctx context.Context, e Examination) Report {
	p := &patient{Examination: e}
	for _, check := range []struct {
		name string
		do   func(context.Context)
	}{
		{"configuration", p.configuration},
		{"process", p.process},
		{"data directory", p.dataDirectory},
		{"addresses", p.addresses},
		{"database", p.database},
		{"broker", p.broker},
		{"tokens", p.tokens},
	} {
		if ctx.Err() != nil {
			break
		}
		p.check = check.name
		before := len(p.report.Findings)
		check.do(ctx)
		if len(p.report.Findings) == before {
			p.ok("nothing to complain of")
		}
	}
	return p.report
}

// Unreadable is the report on a configuration that cannot be loaded.
func Unreadable(err error) Report {
	p := &patient{check: "configuration"}
	p.fail("correct it: docs/configuration.md has all options, and chatting config prints those in force", "%s", terminal.OneLine(err))
	return p.report
}

func (p *patient) add(state State, change, format string, args ...any) {
	p.report.Findings = append(p.report.Findings, Finding{p.check, state, fmt.Sprintf(format, args...), change})
	switch state {
	case Failed:
		p.report.Failed++
	case Warning:
		p.report.Warnings++
	}
}

func (p *patient) ok(format string, args ...any)           { p.add(OK, "", format, args...) }
func (p *patient) skip(format string, args ...any)         { p.add(Skipped, "", format, args...) }
func (p *patient) warn(change, format string, args ...any) { p.add(Warning, change, format, args...) }
func (p *patient) fail(change, format string, args ...any) { p.add(Failed, change, format, args...) }

// Fault returns what makes the command fail: nil if nothing has failed.
func (r Report) Fault() error {
	if r.Failed == 0 {
		return nil
	}
	return exit.With(exit.Findings, fmt.Errorf("%s", r.sum()))
}

// sum says how many findings are bad.
func (r Report) sum() string {
	var parts []string
	for _, part := range []struct {
		n         int
		one, more string
	}{{r.Failed, "failure", "failures"}, {r.Warnings, "warning", "warnings"}} {
		switch {
		case part.n == 1:
			parts = append(parts, "1 "+part.one)
		case part.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.more))
		}
	}
	if len(parts) == 0 {
		return "all is well"
	}
	return strings.Join(parts, ", ")
}

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer, colours terminal.Colours) error {
	paint := map[State]func(string) string{OK: colours.Green, Warning: colours.Yellow, Failed: colours.Red, Skipped: colours.Faint}
	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "%s  %-14s  %s\n", paint[f.State](fmt.Sprintf("%-7s", f.State)), f.Check, terminal.InLine(f.Found))
		if f.Change != "" {
			fmt.Fprintf(&text, "%9s%-14s  %s %s\n", "", "", colours.Bold("change:"), f.Change)
		}
	}
	fmt.Fprintln(&text, r.sum())
	_, err := io.WriteString(w, text.String())
	return err
}

// within runs f with a bound on its time.
func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSilent)
	defer cancel()
	value, err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		err = fmt.Errorf("%w (%w)", errSilent, err)
	}
	return value, err
}

var errSilent = fmt.Errorf("no answer within %s", patience)
