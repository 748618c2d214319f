package domain

import "strconv"

// ReadMark says that Reader has read its conversation with Partner up to the event Message. Partner is System for what the
// platform said. Marks of one reader may come in another order than that of their messages if two devices mark at once: the later
// message counts.
type ReadMark struct {
	Reader, Partner UserID
	Message         EventID
	// Unread is how many messages of Partner's were unread behind Message when the mark was made. Only Reader's connections are
	// shown it.
	Unread int
	// Receipt tells that Partner may learn of the mark.
	Receipt bool
}

// NewReadMark refuses what no mark can be.
func NewReadMark(reader, partner UserID, message EventID, unread int64, receipt bool) (ReadMark, error) {
	if reader <= 0 || partner < 0 || unread < 0 || unread > maxUnreadOfMark {
		return ReadMark{}, NewError(CodeInternal, "No read mark has these values.")
	}
	return ReadMark{Reader: reader, Partner: partner, Message: message, Unread: int(unread), Receipt: receipt}, nil
}

// maxUnreadOfMark is more than is ever shown.
const maxUnreadOfMark = 1 << 30

// Conversation implements Body.
func (m ReadMark) Conversation() Conversation { return Between(m.Reader, m.Partner) }

// Actor implements Body.
func (m ReadMark) Actor() UserID { return m.Reader }

// ShownTo tells whether user may be shown the mark, as far as blocks of its own do not hide it.
func (m ReadMark) ShownTo(user UserID) bool {
	return user == m.Reader || user == m.Partner && m.Receipt
}

// ReadMarkID returns the id of the event that moves reader's mark to a message: the same message is the same event, whichever node
// it is marked through.
func ReadMarkID(reader, partner UserID, message EventID) EventID {
	b := make([]byte, 0, derivedBytes)
	b = append(append(append(b, namespace[:]...), "read mark"...), 0)
	b = append(strconv.AppendInt(b, int64(reader), 10), ':')
	b = append(strconv.AppendInt(b, int64(partner), 10), ':')
	return derivedID(message.Append(b))
}
