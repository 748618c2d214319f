package domain

import (
	"strings"
	"unicode/utf8"
)

// MaxTextBytes bounds a message's text, in bytes of UTF-8 as the sender wrote it. The socket's own frame limit (64 KiB
// by default) usually refuses earlier.
const MaxTextBytes = 64 << 10

// Text is what one user says to another: valid UTF-8, at most MaxTextBytes long (longer only by HTML escaping), empty and
// blank allowed because the original server delivers those.
type Text struct{ s string }

// NewText refuses what is no text.
func NewText(s string) (Text, error) {
	if !utf8.ValidString(s) {
		return Text{}, NewError(CodeBadMessage, "The message is not valid UTF-8.")
	}
	if len(s) > MaxTextBytes {
		return Text{}, NewError(CodeTooLong, "The message is too long.")
	}
	return Text{s: s}, nil
}

// String returns the text.
func (t Text) String() string { return t.s }

// htmlEscaper writes the entities that the original server wrote and its front ends rely on; html.EscapeString writes
// others for the quotes.
var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;")

// EscapeHTML returns the text with & < > " ' replaced by the entities of the contract.
func (t Text) EscapeHTML() Text { return Text{s: htmlEscaper.Replace(t.s)} }

// ClientMessageID is a name that a client gave to a message it may have to send again; "" when it gave none.
type ClientMessageID string

// NewClientMessageID accepts 1 to 64 printable ASCII characters (0x20 to 0x7e).
func NewClientMessageID(s string) (ClientMessageID, error) {
	if len(s) < 1 || len(s) > 64 {
		return "", NewError(CodeBadMessage, "client_msg_id must have 1 to 64 characters.")
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", NewError(CodeBadMessage, "client_msg_id must be printable ASCII.")
		}
	}
	return ClientMessageID(s), nil
}

// LoggedText returns a text that is already in the log, where HTML escaping may have made it longer than NewText lets a
// sender write.
func LoggedText(s string) (Text, error) {
	if !utf8.ValidString(s) {
		return Text{}, NewError(CodeBadMessage, "The message is not valid UTF-8.")
	}
	return Text{s: s}, nil
}
