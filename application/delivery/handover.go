package delivery

import (
	"context"
	"slices"
	"time"

	"chatting/application/blocks"
	"chatting/domain"
)

// Handover is the replay's side of an attachment. It gives the connection what is from before its login, and then what the
// attachment held meanwhile. The methods may be called from any goroutine, and do nothing once the attachment has ended.
type Handover struct {
	User domain.UserID
	Conn Connection

	attachment *Attachment
}

const (
	// RepeatedWithin is how long before a login a message may have been sent that its sender sends again after the login,
	// because a failure left the outcome in doubt.
	RepeatedWithin = 10 * time.Minute
	// ReplayBytes is how much is handed over at a time, a frame at least: the client confirms, and so its user's cursor moves
	// on, in steps of so much, also on a bad line.
	ReplayBytes = 64 << 10
)

// Stores makes the attachment one of a user for whom messages are stored: those go to Connection.DeliverAt. Call it right
// after Attach.
func (h *Handover) Stores() { h.attachment.do(func() { h.attachment.stored = &storedDelivery{} }) }

// Activate is Attachment.Activate for a connection that gets a replay of what stands before replayEnd, an offset for each partition;
// nil if nothing is replayed. What stands from there to where the connection is served could not be read at the time of the login.
// The connection cannot be shown it in its place, and is closed when it comes, so that the next login replays it.
func (h *Handover) Activate(list []blocks.Entry, from, replayEnd []int64) {
	h.attachment.do(func() { h.attachment.served.replayEnd = replayEnd })
	h.attachment.Activate(list, from)
}

// SaidBefore names what was said to the user shortly before the login. The caller must not use the list afterwards. Stores was
// called.
func (h *Handover) SaidBefore(recent []domain.EventID) {
	events := newRecentEvents(recent)
	h.attachment.do(func() { h.attachment.stored.recent = events })
}

// Hides tells whether the user has blocked sender by what the log has said so far.
func (h *Handover) Hides(sender domain.UserID) (hides bool) {
	h.attachment.do(func() { hides = h.attachment.blocks.Hides(sender) })
	return hides
}

// Shows tells whether an event is for the client at all, whatever is blocked: it may not know of its kind.
func (h *Handover) Shows(body domain.Body) bool { return isFor(h.Conn, h.User, body) }

// WasReplayed tells whether the connection got an event by replay already: it stands in the log twice. Stores was called.
func (h *Handover) WasReplayed(id domain.EventID) (was bool) {
	h.attachment.do(func() { was = h.attachment.stored.had.has(id) })
	return was
}

// Replayed notes that the connection gets an event by replay. Stores was called.
func (h *Handover) Replayed(id domain.EventID) {
	h.attachment.do(func() { h.attachment.stored.had.note(id, domain.Place{}) })
}

// HandStored hands over what was stored. point returns, for a connection that is served from start on, before which offset of each
// partition everything was handed over behind the last frame. Of the frames before it that is not known: their token is the earlier
// one, so that a client which stops there gets some of them again.
func (h *Handover) HandStored(frames []Replayed, point func(start []int64) []int64) {
	a := h.attachment
	a.do(func() {
		if a.stamps() {
			token := a.token()
			copy(a.resume.point, point(a.resume.start))
			last := lastFrame(frames)
			for i := range last {
				frames[i].Resume = token
			}
			if last >= 0 {
				frames[last].Resume = a.token()
			}
		}
		if len(frames) > 0 {
			a.conn.Replay(frames)
		}
	})
}

// lastFrame returns where the last entry with a frame stands; -1 if there is none.
func lastFrame(frames []Replayed) int {
	last := len(frames) - 1
	for last >= 0 && frames[last].Frame == nil {
		last--
	}
	return last
}

// HandMissed hands over what a client that takes up has missed. behind lists, of each frame, the place before which everything of its
// partition was handed over with it. Resumes was called.
func (h *Handover) HandMissed(frames []Replayed, behind []domain.Place) {
	a := h.attachment
	a.do(func() {
		for i, at := range behind {
			a.resume.point[at.Partition] = at.Offset
			frames[i].Resume = a.token()
		}
		a.conn.Replay(frames)
	})
}

// Resumes has the frames of the connection carry tokens, if its client has the feature and Delivery has ResumeTokens. The client has
// everything before point, and gets what stands from point to start by a replay. limit is, of each partition, up to where it has
// everything at most, because something comes at a later login only; nil if there is no limit. The lists have an offset for each
// partition; start and limit are the attachment's from now on.
func (h *Handover) Resumes(point, start, limit []int64) {
	resume := h.attachment.resume
	h.attachment.do(func() {
		resume.point, resume.start, resume.passed = slices.Clone(point), start, slices.Clone(start)
		resume.limit, resume.since = limit, resume.position.now()
	})
}

// TakesUp says that the client gets what it missed by a replay, and which events of it the log may have once more. It is called before
// Activate. The list is the attachment's.
func (h *Handover) TakesUp(again []domain.EventID) {
	had := newRecentEvents(again)
	h.attachment.do(func() { h.attachment.resume.replays, h.attachment.resume.had = true, had })
}

// Token returns the token of a client that has got everything that was handed over by now; "" once the attachment has ended. Resumes
// was called.
func (h *Handover) Token() (token string) {
	h.attachment.do(func() { token = h.attachment.token() })
	return token
}

// StampBytes returns how much longer a frame is for its token.
func (h *Handover) StampBytes() (bytes int) {
	h.attachment.do(func() { bytes = h.attachment.stampBytes() })
	return bytes
}

// Release is Attachment.Release.
func (h *Handover) Release() { h.attachment.Release() }

// HoldsLittle tells whether what is held may be released at once.
func (h *Handover) HoldsLittle() bool {
	little := true
	h.attachment.do(func() { little = h.attachment.waiting <= ReplayBytes })
	return little
}

// ReleaseInParts is Attachment.Release as the connection's queue has room for what was held. The error is that of
// Connection.AwaitRoom.
func (h *Handover) ReleaseInParts(ctx context.Context) error {
	a := h.attachment
	for {
		n, bytes := 0, 0
		a.do(func() {
			stamp := a.stampBytes()
			for n < len(a.held) && (n == 0 || bytes+len(a.held[n].frame)+stamp <= ReplayBytes) {
				bytes += len(a.held[n].frame) + stamp
				n++
			}
			if n == 0 {
				a.held = nil
				a.released = true
			}
		})
		if n == 0 {
			return nil
		}
		if err := a.conn.AwaitRoom(ctx, bytes); err != nil {
			return err
		}
		a.do(func() {
			a.handHeld(n)
			for _, h := range a.held[:n] {
				a.unhold(h)
			}
			clear(a.held[:n])
			a.held = a.held[n:]
		})
	}
}
