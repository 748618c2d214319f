package ws

import (
	"time"

	"chatting/adapters/ws/frames"
	"chatting/domain"
)

// Observer is told what happens on connections. Its methods are called by many goroutines, also under locks, and must not block.
type Observer interface {
	// LoginEnded tells what became of a first frame: OutcomeAccepted, OutcomeNoToken, or the domain's code of the refusal; and
	// how long that took.
	LoginEnded(outcome string, took time.Duration)
	// FrameReceived tells that a client sent a frame of a kind and so many bytes: see the constants Received.
	FrameReceived(kind string, bytes int)
	// FrameSent tells that a frame was queued for a client. Its kind is that of wire.KindOf.
	FrameSent(kind string, bytes int)
	// Answered tells how long it took from a message or an invite to its echo, or else to its error frame.
	Answered(echoed bool, took time.Duration)
}

// The outcomes of a login that are no codes of the domain.
const (
	OutcomeAccepted = "accepted"
	OutcomeNoToken  = "no_token"
)

// The kinds of frames that clients send.
const (
	ReceivedLogin   = "login"
	ReceivedMessage = "chat_message"
	ReceivedInvite  = "invite_game"
	ReceivedPing    = "ping"
	ReceivedRenewal = "token_renewal"
	ReceivedRefused = "refused" // for its form, or for a rate
)

// receivedKind names a request; err is why it is refused.
func receivedKind(req frames.Request, err error) string {
	switch {
	case err != nil:
		return ReceivedRefused
	case req.Kind == frames.Renewal:
		return ReceivedRenewal
	case req.Kind == frames.Ping:
		return ReceivedPing
	case req.Kind == frames.Invite:
		return ReceivedInvite
	default:
		return ReceivedMessage
	}
}

// observe tells how the login ended that began a while ago.
func (v *visit) observe(outcome string, began time.Time) {
	if observer := v.conn.server.deps.Observer; observer != nil {
		observer.LoginEnded(outcome, time.Since(began))
	}
}

// outcomeOf names how a login ended with err.
func outcomeOf(err error) string {
	if err == nil {
		return OutcomeAccepted
	}
	return string(domain.CodeOf(err))
}
