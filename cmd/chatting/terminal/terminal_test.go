package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestColoursAreForTerminalsOnly(t *testing.T) {
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	for _, row := range []struct {
		when    When
		environ []string
		want    Colours
	}{
		{Auto, nil, false},
		{Always, nil, true},
		{Always, []string{"NO_COLOR=1"}, true}, // who says so on the command line means it
		{Never, nil, false},
	} {
		if got := ColoursFor(row.when, other, row.environ); got != row.want {
			t.Errorf("%s %v: %t", row.when, row.environ, got)
		}
	}
	terminal, err := os.Open("/dev/ptmx") // the controlling end of a new terminal is one, too
	if err != nil {
		t.Skip("no terminal can be had: ", err)
	}
	defer terminal.Close()
	for _, row := range []struct {
		environ []string
		want    Colours
	}{
		{nil, true}, {[]string{"TERM=xterm"}, true}, {[]string{"NO_COLOR="}, true},
		{[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}, {[]string{"NO_COLOR=1", "NO_COLOR="}, true},
	} {
		if got := ColoursFor(Auto, terminal, row.environ); got != row.want {
			t.Errorf("%v on a terminal: %t", row.environ, got)
		}
	}
	if got := ColoursFor(Never, terminal, nil); got {
		t.Error("never is not never")
	}
}

func TestWithoutColoursTextIsAsItWas(t *testing.T) {
	if got := Colours(false).Red("x"); got != "x" {
		t.Errorf("%q", got)
	}
	if got := Colours(true).Red("x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := Colours(true).Red(""); got != "" {
		t.Errorf("%q", got)
	}
	if _, err := ParseWhen("sometimes"); err == nil || err.Error() != "it is auto, always or never" {
		t.Error(err)
	}
}

func TestProgressIsRedrawnOnATerminalAndRareElsewhere(t *testing.T) {
	at := time.Unix(0, 0)
	clock := func() time.Time { return at }
	var out bytes.Buffer
	drawn := newProgress(&out, true, clock)
	drawn.Clear() // nothing is there yet
	drawn.Show("%d of 9", 1)
	drawn.Show("%d of 9", 2)
	drawn.Clear()
	drawn.Clear()
	if got := out.String(); got != "\r\x1b[K1 of 9\r\x1b[K2 of 9\r\x1b[K" {
		t.Errorf("%q", got)
	}
	out.Reset()
	rare := newProgress(&out, false, clock)
	for i := range 12 {
		rare.Show("second %d", i)
		at = at.Add(time.Second)
	}
	rare.Clear()
	if got := out.String(); got != "second 5\nsecond 10\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	for _, quiet := range []*Progress{NewProgress(os.Stderr, true), NewProgress(&out, false)} {
		if quiet != nil {
			t.Error("it is not quiet")
		}
		quiet.Show("x")
		quiet.Clear()
	}
	if NewProgress(os.Stderr, false) == nil {
		t.Error("it is quiet")
	}
}

func TestFramesCannotSteerTheTerminal(t *testing.T) {
	const frame = "{\"message\":\"\x1b[2J\u009b31m\x7f 안녕 <b> \u202eevil\u2066\u200f\u2028\U000e0001 😀\"}"
	shown := Printable([]byte(frame))
	if shown != `{"message":"\u001b[2J\u009b31m\u007f 안녕 <b> \u202eevil\u2066\u200f\u2028\udb40\udc01 😀"}` {
		t.Error(shown)
	}
	var before, after map[string]string
	if json.Unmarshal([]byte(shown), &after) != nil || after["message"] == "" ||
		json.Unmarshal([]byte(strings.Map(dropControl, frame)), &before) != nil ||
		strings.Map(dropControl, after["message"]) != before["message"] {
		t.Errorf("it reads %q, not %q", after, before)
	}
	if !json.Valid([]byte(shown)) {
		t.Error("no JSON any more")
	}
}

// dropControl removes the characters that JSON does not allow as they are.
func dropControl(r rune) rune {
	if r < 0x20 {
		return -1
	}
	return r
}

func TestTwoErrorsAreOneLine(t *testing.T) {
	err := errors.Join(errors.New("The database is away.: connection refused"), errors.New("and\r\nclosing it failed"))
	if got, want := OneLine(err), "The database is away: connection refused; and; closing it failed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
