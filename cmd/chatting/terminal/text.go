package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Printable escapes control and format characters as JSON does, so that what another user wrote cannot steer the terminal,
// nor change the order in which a line is shown (bidirectional controls such as U+202E). JSON stays the same value.
func Printable(frame []byte) string {
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

// InLine returns text as a terminal may see it within a line: what is no text, and what could be taken for commands, is
// escaped.
func InLine(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// OneLine joins the lines of an error. It drops the period between a sentence for clients and its cause.
func OneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.ReplaceAll(strings.Join(lines, "; "), ".: ", ": ")
}
