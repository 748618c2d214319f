// Package terminal is what the commands know of the terminal they write to: colours, lines of progress, and how to show a text that
// somebody else wrote. A pipe or a file gets plain text.
package terminal

import (
	"fmt"
	"slices"
	"strings"

	"chatting/cmd/chatting/logging"
)

// When says when output has colours.
type When string

// The values of --color.
const (
	Auto   When = "auto" // on a terminal, unless NO_COLOR is set or TERM is dumb
	Always When = "always"
	Never  When = "never"
)

// ParseWhen reads the value of --color.
func ParseWhen(text string) (When, error) {
	if when := When(text); slices.Contains([]When{Auto, Always, Never}, when) {
		return when, nil
	}
	return "", fmt.Errorf("it is %s, %s or %s", Auto, Always, Never)
}

// Colours colour text, or leave it as it is.
type Colours bool

// ColoursFor returns the colours for a stream in an environment of NAME=value. NO_COLOR counts if it has a value:
// https://no-color.org.
func ColoursFor(when When, stream any, environ []string) Colours {
	switch {
	case when == Always:
		return true
	case when == Never, variable(environ, "NO_COLOR") != "", variable(environ, "TERM") == "dumb":
		return false
	}
	return Colours(logging.IsTerminal(stream))
}

// variable returns the value of an environment variable. As with os.Getenv, the last one of a name counts.
func variable(environ []string, name string) (value string) {
	for _, entry := range environ {
		if text, is := strings.CutPrefix(entry, name+"="); is {
			value = text
		}
	}
	return value
}

// Red is for what has failed.
func (c Colours) Red(text string) string { return c.in("31", text) }

// Yellow is for what somebody should look at.
func (c Colours) Yellow(text string) string { return c.in("33", text) }

// Green is for what is well.
func (c Colours) Green(text string) string { return c.in("32", text) }

// Bold is for headings.
func (c Colours) Bold(text string) string { return c.in("1", text) }

// Faint is for what matters less than the rest of a line.
func (c Colours) Faint(text string) string { return c.in("2", text) }

// in sets a graphic rendition (ECMA-48 §8.3.117) for text.
func (c Colours) in(rendition, text string) string {
	if !c || text == "" {
		return text
	}
	return "\x1b[" + rendition + "m" + text + "\x1b[0m"
}
