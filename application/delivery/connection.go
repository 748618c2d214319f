package delivery

import (
	"context"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Connection is a socket as delivery sees it. Its methods only enqueue, never block (save AwaitRoom), keep their order, may be
// called from any goroutine and do nothing once the connection is closing. What does not fit into its queue closes it with
// CloseSlow.
type Connection interface { //nolint:interfacebloat // one queue
	// Has tells whether the client named the feature at login.
	Has(feature port.Feature) bool
	// Deliver hands over the bytes of a conversation frame, which must not be changed afterwards. echoOf is the name that
	// the sender gave to its message, "" on connections of others and where there is none.
	Deliver(frame []byte, echoOf domain.ClientMessageID)
	// DeliverOwnMark hands over the frame of a read mark of the user's own, with how many messages are unread behind it.
	DeliverOwnMark(frame []byte, unread int)
	// DeliverAt is Deliver for a frame of others' from a place in the log whose receipt matters: once the client has confirmed
	// it, Replay.Received is called.
	DeliverAt(frame []byte, at domain.Place)
	// Gather tells that Flush follows soon: until then frames may wait for each other, to be written together.
	Gather()
	// Flush has what waits since Gather written. Without a Gather before it, it does nothing.
	Flush()
	// Replay hands over frames from before the login, marked as such, and asks the client to confirm them.
	Replay(batch []Replayed)
	// AwaitRoom waits until frames of so many bytes would take no more than half of the queue, or have it for themselves: an
	// error when ctx or the connection ended first.
	AwaitRoom(ctx context.Context, bytes int) error
	// Refuse tells the client, in an error frame, why it is about to be closed. It is called before Close.
	Refuse(why error)
	// Close ends the connection, once what is queued has been written.
	Close(reason port.CloseReason)

	// Resumes returns the resume token that the client named at login, as it was sent; named is false if it named none.
	Resumes() (token string, named bool)
	// Resumed says what the answer to the login tells a client with the feature resume. It is called before the login is
	// answered.
	Resumed(answer ResumeAnswer)
	// Stamp has the next frame of Deliver or DeliverAt carry a resume token. Only connections with the feature get one. It is
	// called right before that frame, under the same lock.
	Stamp(token string)
	// Pong answers a ping of a client that has the feature resume.
	Pong(token string)
}

// ResumeAnswer is what the answer to a login says to a client that has the feature resume.
type ResumeAnswer struct {
	// Token is what the client would name if it came again at once.
	Token string
	// Named tells that the client named a token, and Recovered that it gets everything since then by a replay. If it does not,
	// From is a time from which on everything comes as it is said, or stands in the replay of what was stored.
	Named, Recovered bool
	From             time.Time
}

// Replayed is a frame from before the login. At is the place up to which everything is delivered with it, nil if it adds
// nothing to what was told before. Frame is nil for a place that the client confirms with the frames before it.
type Replayed struct {
	Frame []byte
	At    *domain.Place
	// OwnMark tells that it is a read mark of the user's own, and Unread how many messages are unread behind it.
	OwnMark bool
	Unread  int
	// EchoOf is as that of Deliver, and Resume is the token of a client that has everything up to this frame; "" for none.
	EchoOf domain.ClientMessageID
	Resume string
}
