package delivery

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/domain"
)

// Replay delivers to one connection, after its login, what its client missed since it stopped; or, if it does not take up there,
// what was stored for its user. It notes what the client confirms. If messages are not stored, and for a client that does not take
// up, there is nothing to replay.
type Replay struct {
	attachment *Attachment
	messages   *StoredMessages // nil if messages are not stored
	backlog    *backlog        // nil until Prepare is done, and for a client that takes up
	takesUp    *takeUp         // nil for a client that does not take up
	knownSince time.Time
	// projected is how far the history was when the login began; nil if it does not answer: unknown says why.
	projected []domain.Place
	unknown   error
	// running ends with the session, or if others need the room of what was read of the log: errNoRoom.
	running context.Context //nolint:containedctx // the replay's own
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when Start's goroutine has ended; nil if there is none
}

// errNoRoom says that the log's part of a replay has to make room.
var errNoRoom = domain.NewError(domain.CodeUnavailable, "Too much waits for clients.")

// Replay returns the replay of a new attachment. s may be nil: messages are not stored.
func (s *StoredMessages) Replay(attachment *Attachment) *Replay {
	r := &Replay{attachment: attachment, messages: s}
	r.running, r.cancel = context.WithCancelCause(context.Background())
	if s != nil {
		attachment.storing()
	}
	return r
}

// Begin notes how far the history is. It is called before the user's blocks are loaded: so no change of a block stands between what
// comes from the history and the list.
func (r *Replay) Begin(ctx context.Context) {
	switch {
	case r.messages != nil:
		r.projected, r.unknown = r.messages.progress.Soon(ctx)
	case r.names() && r.resumption().options.History != nil:
		r.projected, r.unknown = r.resumption().options.History.Soon(ctx)
	}
}

// Prepare notes the end of the log, from which on the attachment is served, and finds out what its client missed before it, or what
// was stored. Begin was called, and then the database held blocks.
func (r *Replay) Prepare(ctx context.Context, ends port.LogEnds, blocks []blocks.Entry) error {
	if r.attachment.resume == nil {
		return r.prepareAfresh(ctx, ends, blocks)
	}
	named := r.names()
	if named {
		if took, err := r.takeUp(ctx, ends, blocks); took || err != nil {
			return err
		}
	}
	if err := r.prepareAfresh(ctx, ends, blocks); err != nil {
		return err
	}
	r.answerAfresh(named)
	return nil
}

// resumption returns that of the node; nil if no client takes up.
func (r *Replay) resumption() *Resumption { return r.attachment.recipient.delivery.Resumption }

// names tells whether the client names where it stopped.
func (r *Replay) names() bool {
	_, named := r.attachment.conn.Resumes()
	return named && r.attachment.resume != nil
}

// prepareAfresh is Prepare for a client that does not take up where it stopped.
func (r *Replay) prepareAfresh(ctx context.Context, ends port.LogEnds, blocks []blocks.Entry) error {
	if r.messages == nil {
		offsets, err := ends.EndOffsets(ctx)
		if err == nil {
			r.attachment.Activate(blocks, offsets)
		}
		return err
	}
	end := history.LogEnd{Before: r.projected, Unknown: r.unknown}
	readable, offsets, err := r.messages.progress.ReadableUpTo(ctx, ends)
	if err != nil {
		return err
	}
	end.Offsets = readable
	r.attachment.replays(end.Offsets)
	r.attachment.Activate(blocks, offsets)
	login := storedLogin{attachment: r.attachment, blocks: blocks, cut: func() { r.cancel(errNoRoom) }}
	r.backlog, err = r.messages.backlog(ctx, login, end)
	return err
}

// answerAfresh has the answer to the login say where the client is, which does not take up where it stopped. named tells that it
// wanted to.
func (r *Replay) answerAfresh(named bool) {
	a, resumption := r.attachment, r.resumption()
	var start []int64
	a.do(func() {
		if start = a.served.from; a.served.replayEnd != nil {
			start = a.served.replayEnd
		}
	})
	if start == nil {
		return // the connection has ended
	}
	point, limit := start, []int64(nil)
	if r.backlog != nil {
		point, limit = r.backlog.point(start), r.backlog.seam.limits()
	}
	a.resumes(resumption.sealOf(a.recipient.user), point, start, limit)
	a.conn.Resumed(ResumeAnswer{Token: a.currentToken(), Named: named, From: resumption.options.Now()})
}

// Start hands over what the client missed, or what was stored, and then what the attachment held meanwhile. Call it after LoggedIn.
func (r *Replay) Start() {
	if r.backlog == nil && r.takesUp == nil || r.isEmpty() && r.attachment.holdsLittle() {
		r.release()
		r.attachment.Release()
		return
	}
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		ctx := r.running
		err := r.replay(ctx)
		r.release()
		if err == nil {
			err = r.attachment.releaseInParts(ctx)
		}
		if err != nil && (ctx.Err() == nil || errors.Is(context.Cause(ctx), errNoRoom)) {
			r.attachment.recipient.delivery.notices.Warn("a replay was given up",
				slog.Any("user", r.attachment.recipient.user), slog.Any("error", err))
			r.attachment.conn.Close(port.CloseTryLater)
		}
	}()
}

func (r *Replay) isEmpty() bool {
	if r.takesUp != nil {
		return len(r.takesUp.missed.entries) == 0
	}
	return r.backlog.isEmpty()
}

// replay hands over what is from before the login.
func (r *Replay) replay(ctx context.Context) error {
	if r.takesUp != nil {
		return r.takesUp.replay(ctx)
	}
	return r.backlog.replay(ctx, r.attachment, r.attachment.hides)
}

// release lets go of what was read of the log. It may be called again.
func (r *Replay) release() {
	if r.takesUp != nil {
		r.takesUp.close()
	}
	if r.backlog != nil {
		r.backlog.close()
	}
}

// confirming returns places of the log's topic, one for each partition; nil if what the client confirms is not noted.
func (r *Replay) confirming() []domain.Place {
	switch {
	case r.backlog != nil:
		return r.backlog.to
	case r.takesUp != nil && r.takesUp.confirms:
		return r.projected
	default:
		return nil
	}
}

// Received tells that the client has confirmed everything that was delivered at the given places, or before them in their
// partitions.
func (r *Replay) Received(upTo []domain.Place) {
	confirming := r.confirming()
	if confirming == nil {
		return
	}
	places := make([]domain.Place, len(upTo))
	for i, at := range upTo {
		places[i] = domain.Place{Generation: confirming[at.Partition].Generation, Partition: at.Partition, Offset: at.Offset + 1}
		if r.backlog != nil {
			places[i] = r.backlog.seam.confirms(places[i])
		}
	}
	r.messages.saving.add(r.attachment.recipient.user, places)
}

// Close ends the replay, and has what the client confirmed saved.
func (r *Replay) Close() {
	r.cancel(nil)
	if r.done != nil {
		<-r.done
	}
	r.release()
	if r.confirming() != nil {
		r.messages.saving.saveNow(r.attachment.recipient.user)
	}
}
