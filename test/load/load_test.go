package main

import (
	"io"
	"strings"
	"testing"
)

func TestFiguresAreShownAsMedianAndSpread(t *testing.T) {
	for _, row := range []struct {
		figures figures
		digits  int
		want    string
	}{
		{nil, 0, "–"},
		{figures{24600}, 0, "24,600"},
		{figures{31000, 24600, 26000}, 0, "26,000 (24,600–31,000)"},
		{figures{4, 1, 2, 3}, 1, "2.5 (1.0–4.0)"},
		{figures{1234567.89}, 2, "1,234,567.89"},
		{figures{123}, 0, "123"},
	} {
		if got := row.figures.show(row.digits); got != row.want {
			t.Errorf("%v: %q, want %q", row.figures, got, row.want)
		}
	}
}

// TestRatiosAreTakenRoundByRound: a round in which the machine was slow slows both.
func TestRatiosAreTakenRoundByRound(t *testing.T) {
	r := results{}
	for _, round := range [][2]float64{{100, 60}, {10, 6}, {50, 30}} {
		r.add(pipeName, "rate", round[0])
		r.add("off", "rate", round[1])
	}
	if got := ratio(r, "off", pipeName, "rate"); got != "0.60 (0.60–0.60)" {
		t.Error(got)
	}
	if got := ratio(r, pipeName, pipeName, "rate"); got != "" {
		t.Error(got)
	}
	if got := (figures{1, 2}).ratios(figures{0, 4, 5}); len(got) != 1 || got[0] != 0.5 {
		t.Error(got)
	}
}

func TestATableIsMarkdown(t *testing.T) {
	var out strings.Builder
	table := table{title: "Rates", head: []string{"", "a", "b"}}
	table.row("pipe", "1", "2")
	table.write(&out)
	if want := "\n**Rates**\n\n|  | a | b |\n|---|---|---|\n| pipe | 1 | 2 |\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestEveryOtherRoundGoesBackwards(t *testing.T) {
	a, b := &subject{name: "a"}, &subject{name: "b"}
	all := []*subject{a, b}
	for round, want := range []string{"ab", "ba", "ab"} {
		got := inRound(round, all)
		if got[0].name+got[1].name != want {
			t.Errorf("round %d: %s, %s", round, got[0].name, got[1].name)
		}
	}
}

func TestFlagsChooseWhatIsMeasured(t *testing.T) {
	o, err := parseFlags(strings.Fields("-only latency,idle -servers pipe,on -rounds 2 -seconds 0.5 -users 200 -binary x"), io.Discard)
	if err != nil || strings.Join(o.only, " ") != "latency idle" || strings.Join(o.servers, " ") != "pipe on" || o.rounds != 2 ||
		o.duration.Milliseconds() != 500 || o.users != 200 || o.binary != "x" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parseFlags(nil, io.Discard); err != nil || len(o.only) != len(parts) || len(o.servers) != len(kinds)+2 || o.rounds != 5 {
		t.Errorf("%+v, %v", o, err)
	}
	for line, want := range map[string]string{
		"-only speed":        `-only: there is no table "speed"`,
		"-servers on,upside": `-servers: there is no "upside"`,
		"-rounds 0":          "must be positive",
		"-seconds 0":         "must be positive",
		"-users 1":           "must be positive",
		"further":            "takes no argument",
	} {
		if _, err := parseFlags(strings.Fields(line), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	var help strings.Builder
	_, _ = parseFlags([]string{"-h"}, &help)
	for _, p := range parts {
		if !strings.Contains(help.String(), "\n  "+p.name) {
			t.Errorf("%s is not in the help", p.name)
		}
	}
}

// TestBothBuildsAreMeasuredSideBySide: before stands next to what it is compared with.
func TestBothBuildsAreMeasuredSideBySide(t *testing.T) {
	l := &load{options: options{servers: subjectNames(), binary: "/old", users: 100}, program: "/new", pipe: "/pipe"}
	l.makeSubjects()
	var got []string
	for _, s := range l.subjects {
		got = append(got, s.name+"="+s.program)
	}
	want := "pipe=/pipe naive=/pipe before off=/old off=/new before on=/old on=/new before embedded-off=/old embedded-off=/new " +
		"before embedded-on=/old embedded-on=/new"
	if strings.Join(got, " ") != want {
		t.Errorf("%s\nwant %s", strings.Join(got, " "), want)
	}
}
