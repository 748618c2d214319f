package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// printable escapes control and format characters as JSON does, so that what another user wrote cannot steer the terminal,
// nor change the order in which a line is shown (bidirectional controls such as U+202E). JSON stays the same value.
func printable(frame []byte) string {
	var out strings.Builder
	for _, r := range string(frame) {
		switch high, low := utf16.EncodeRune(r); {
		case !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			out.WriteRune(r)
		case high != unicode.ReplacementChar:
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// inLine returns text as a terminal may see it within a line: what is no text, and what could be taken for commands, is
// escaped.
func inLine(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// parseSince reads a time, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("write 90m or 24h, or a time such as 2026-01-02T15:04:05Z")
	}
	return at, nil
}
