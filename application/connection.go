package application

import (
	"context"
	"time"

	"chatting/domain"
)

// CloseReason says why the server ends a connection. The socket adapter maps it to a close code.
type CloseReason string

// The reasons for which use cases and delivery end connections.
const (
	CloseSlow     CloseReason = "slow"      // the reader does not keep up with its frames
	CloseHole     CloseReason = "hole"      // the log lost records that may have concerned it
	CloseRestart  CloseReason = "restart"   // the node is going away
	CloseReplaced CloseReason = "replaced"  // its user has too many connections, and this one is the oldest
	CloseCut      CloseReason = "cut"       // at once, without a word: it was closed before and takes too long
	CloseExpired  CloseReason = "expired"   // its token expired
	CloseErased   CloseReason = "erased"    // its user is to be forgotten
	CloseTryLater CloseReason = "try_later" // a part that login needs is away
)

// Feature is the name of something that is only shown to clients that asked for it at login.
type Feature string

// FeatureInvites are the statuses of invites beyond invite and cancel.
const FeatureInvites Feature = "invites"

// Connection is one authenticated socket, as delivery and presence see it. Its methods only enqueue, never block (save
// AwaitRoom), keep their order, may be called from any goroutine and do nothing once the connection is closing. What does not
// fit into its queue closes it with CloseSlow.
type Connection interface {
	// Has tells whether the client named the feature at login.
	Has(feature Feature) bool
	// Address returns what the client's network address is counted under; "" if it is not known.
	Address() string
	PresenceFrames
	ConversationFrames
	// Close ends the connection, once what is queued has been written.
	Close(reason CloseReason)
}

// PresenceFrames is the part of a Connection that tells who is online.
type PresenceFrames interface {
	// LoggedIn answers the login. It is the first frame that the connection gets.
	LoggedIn(user domain.UserID, onlineFriends []domain.UserID, at time.Time)
	// StatusChanged tells to that one of its friends came online or went offline.
	StatusChanged(to domain.UserID, change domain.Transition)
}

// ConversationFrames is the part of a Connection that takes what stands in the log.
type ConversationFrames interface {
	// Deliver hands over the bytes of a conversation frame, which must not be changed afterwards. echoOf is the name that
	// the sender gave to its message, "" on connections of others and where there is none.
	Deliver(frame []byte, echoOf domain.ClientMessageID)
	// DeliverAt is Deliver for a frame of others' from a place in the log whose receipt matters: once the client has confirmed
	// it, Session.Received tells.
	DeliverAt(frame []byte, at Position)
	// Replay hands over frames from before the login, marked as such, and asks the client to confirm them.
	Replay(batch []Replayed)
	// AwaitRoom waits until frames of so many bytes would take no more than half of the queue, or have it for themselves: an
	// error when ctx or the connection ended first.
	AwaitRoom(ctx context.Context, bytes int) error
}

// Replayed is a frame from before the login. At is the place up to which everything is delivered with it, nil where that
// cannot be told.
type Replayed struct {
	Frame []byte
	At    *Position
}
