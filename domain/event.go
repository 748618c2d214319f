package domain

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 §5.5 prescribes SHA-1 for version 5; nothing secret hangs on it
	"encoding/hex"
	"strconv"
	"time"
)

// EventID is a UUID (RFC 9562). Receivers, the log and the history all know an event by it.
type EventID [16]byte

// String returns the UUID in its usual form of 36 characters.
func (id EventID) String() string { return string(id.Append(make([]byte, 0, 36))) }

// Append appends what String returns.
func (id EventID) Append(dst []byte) []byte {
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], id[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], id[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], id[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], id[10:16])
	return append(dst, text[:]...)
}

// ParseEventID reads the usual form of 36 characters, in either case.
func ParseEventID[T string | []byte](s T) (id EventID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return EventID{}, false
	}
	for _, part := range [...]struct{ at, from, to int }{{0, 0, 8}, {4, 9, 13}, {6, 14, 18}, {8, 19, 23}, {10, 24, 36}} {
		if _, err := hex.Decode(id[part.at:], []byte(s[part.from:part.to])); err != nil {
			return EventID{}, false
		}
	}
	return id, true
}

// namespace is the UUID under which this server derives names, so that its version 5 UUIDs meet nobody else's.
var namespace = EventID{0x9b, 0x1d, 0x3c, 0x52, 0x70, 0x4e, 0x4a, 0x86, 0x8f, 0x2b, 0x51, 0xc0, 0x6d, 0xe7, 0x34, 0xa9}

// DerivedID returns the UUID of version 5 (RFC 9562 §5.5) for a name within a kind of names. The same kind and name give
// the same id on every node and for ever.
func DerivedID(kind, name string) EventID {
	b := make([]byte, 0, derivedBytes)
	b = append(append(append(append(b, namespace[:]...), kind...), 0), name...)
	return derivedID(b)
}

// derivedBytes is room for what most ids are derived from.
const derivedBytes = 192

// derivedID returns the UUID for bytes that begin with the namespace.
func derivedID(b []byte) (id EventID) {
	sum := sha1.Sum(b) //nolint:gosec // as above
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// messageID is DerivedID of a kind and "sender:target:id". It does not allocate: most messages have such an id.
func messageID(kind string, sender, target UserID, id ClientMessageID) EventID {
	b := make([]byte, 0, derivedBytes)
	b = append(append(append(b, namespace[:]...), kind...), 0)
	b = append(strconv.AppendInt(b, int64(sender), 10), ':')
	b = append(strconv.AppendInt(b, int64(target), 10), ':')
	return derivedID(append(b, id...))
}

// MessageID returns the id of the message to target that sender named id: whichever node a message is sent again through,
// it is the same event. The same name to another target is another message.
func MessageID(sender, target UserID, id ClientMessageID) EventID {
	return messageID("client_msg_id", sender, target, id)
}

// InviteID is MessageID for invites: a name says nothing across the two.
func InviteID(sender, target UserID, id ClientMessageID) EventID {
	return messageID("invite client_msg_id", sender, target, id)
}

// InviteEndName is the sender's own name of what ends an invite (a cancellation or an answer), as a key. The same name for
// another status says something else.
func InviteEndName(sender, target UserID, status InviteStatus, id ClientMessageID) EventID {
	return DerivedID("invite "+string(status), InviteID(sender, target, id).String())
}

// InviteEndID returns the id of the event that ends the invite to a room under such a name. The room is part of it: an id
// never stands for two bodies. room is "" for a cancellation that ends none.
func InviteEndID(name EventID, room RoomID) EventID {
	return DerivedID("invite end", name.String()+"/"+string(room))
}

// Event is something that happened in a conversation, with what the log needs to know about it. Times are UTC with
// millisecond precision, as the wire shows them.
type Event struct {
	ID   EventID
	Time time.Time
	Body Body
	// ClientMessageID is shown to the sender's own connections only.
	ClientMessageID ClientMessageID
	// Acts is, of a message, the version of the newest act on its sender that was known when the sender logged in; 0 for none. Behind
	// an act that ends connections, what comes from connections before it takes no effect.
	Acts int64
	// Trace is the span that the event is part of; "" if that is not recorded. It says nothing about what happened.
	Trace TraceParent
}

// Body is one of ChatMessage, GameInvite, SystemMessage, BlockChanged and ReadMark.
type Body interface {
	// Conversation tells in whose order the event stands.
	Conversation() Conversation
	// Actor is who made it happen: System for system messages.
	Actor() UserID
}

// IsKept tells whether an event is one that is stored for a recipient who is offline.
func IsKept(body Body) bool {
	switch body.(type) {
	case ChatMessage, SystemMessage:
		return true
	default:
		return false
	}
}

// ChatMessage is a text from one user to another (or to itself).
type ChatMessage struct {
	From, To UserID
	Text     Text
}

// Conversation implements Body.
func (m ChatMessage) Conversation() Conversation { return Between(m.From, m.To) }

// Actor implements Body.
func (m ChatMessage) Actor() UserID { return m.From }

// SystemMessage is what the platform says to one user. Opponent is 0 if none was named.
type SystemMessage struct {
	To       UserID
	Text     Text
	Room     RoomID
	Opponent UserID
}

// Conversation implements Body.
func (m SystemMessage) Conversation() Conversation { return Between(System, m.To) }

// Actor implements Body.
func (m SystemMessage) Actor() UserID { return System }

// BlockChanged says that from here on Blocker does (or no longer does) see what Target sends. Versions of one directed
// pair grow by one at each change, so that a record that comes twice or late is known as such.
type BlockChanged struct {
	Blocker, Target UserID
	Blocked         bool
	Version         int64
}

// NewBlockChanged refuses what no change of a block can be. Version 1 of a pair blocks, and from then on versions unblock and
// block in turn; nobody blocks itself.
func NewBlockChanged(blocker, target UserID, blocked bool, version int64) (BlockChanged, error) {
	if blocker == target || version < 1 || blocked != (version%2 == 1) {
		return BlockChanged{}, NewError(CodeInternal, "No change of a block has this version.")
	}
	return BlockChanged{Blocker: blocker, Target: target, Blocked: blocked, Version: version}, nil
}

// Conversation implements Body.
func (b BlockChanged) Conversation() Conversation { return Between(b.Blocker, b.Target) }

// Actor implements Body.
func (b BlockChanged) Actor() UserID { return b.Blocker }
