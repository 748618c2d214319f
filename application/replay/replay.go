package replay

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Replays makes the replays of the logins of a node.
type Replays struct {
	// Stored has what was stored for users who were offline; nil if messages to them are not stored.
	Stored *StoredMessages
	// Resumption lets clients take up where they stopped; nil if none does. It has the tokens of the node's Delivery.
	Resumption *Resumption
	Notices    *notice.Log
}

// Of returns the replay of a new attachment. Replay.Close is to be called before the attachment is detached.
func (r *Replays) Of(attachment *delivery.Attachment) *Replay {
	replay := &Replay{to: attachment.Handover(), messages: r.Stored, notices: r.Notices}
	replay.running, replay.cancel = context.WithCancelCause(context.Background())
	if r.Stored != nil {
		replay.to.Stores()
	}
	if replay.to.Conn.Has(port.FeatureResume) {
		replay.resumption = r.Resumption
	}
	return replay
}

// Replay delivers to one connection, after its login, what its client missed since it stopped; or, if it does not take up there,
// what was stored for its user. It notes what the client confirms. If messages are not stored, and for a client that does not take
// up, there is nothing to replay.
type Replay struct {
	to         *delivery.Handover
	messages   *StoredMessages // nil if messages are not stored
	resumption *Resumption     // nil for a client without the feature resume
	notices    *notice.Log
	backlog    *backlog // nil until Prepare is done, and for a client that takes up
	takesUp    *takeUp  // nil for a client that does not take up
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

// Begin notes how far the history is. It is called before the user's blocks are loaded: so no change of a block stands between what
// comes from the history and the list.
func (r *Replay) Begin(ctx context.Context) {
	switch {
	case r.messages != nil:
		r.projected, r.unknown = r.messages.progress.Soon(ctx)
	case r.names() && r.resumption.options.History != nil:
		r.projected, r.unknown = r.resumption.options.History.Soon(ctx)
	}
}

// Prepare notes the end of the log, from which on the attachment is served, and finds out what its client missed before it, or what
// was stored. Begin was called, and then the database held blocks.
func (r *Replay) Prepare(ctx context.Context, ends port.LogEnds, blocks []blocks.Entry) error {
	if r.names() {
		if took, err := r.takeUp(ctx, ends, blocks); took || err != nil {
			return err
		}
	}
	start, err := r.prepareAfresh(ctx, ends, blocks)
	if err == nil && r.resumption != nil {
		r.answerAfresh(start)
	}
	return err
}

// names tells whether the client names where it stopped.
func (r *Replay) names() bool {
	_, named := r.to.Conn.Resumes()
	return named && r.resumption != nil
}

// prepareAfresh is Prepare for a client that does not take up where it stopped. It returns from where on nothing is replayed.
func (r *Replay) prepareAfresh(ctx context.Context, ends port.LogEnds, blocks []blocks.Entry) (start []int64, err error) {
	if r.messages == nil {
		offsets, err := ends.EndOffsets(ctx)
		if err == nil {
			r.to.Activate(blocks, offsets, nil)
		}
		return offsets, err
	}
	end := history.LogEnd{Before: r.projected, Unknown: r.unknown}
	readable, offsets, err := r.messages.progress.ReadableUpTo(ctx, ends)
	if err != nil {
		return nil, err
	}
	end.Offsets = readable
	r.to.Activate(blocks, offsets, readable)
	login := storedLogin{handover: r.to, blocks: blocks, cut: func() { r.cancel(errNoRoom) }, notices: r.notices}
	r.backlog, err = r.messages.backlog(ctx, login, end)
	return readable, err
}

// answerAfresh has the answer to the login say where the client is, which does not take up where it stopped. Behind start nothing is
// replayed.
func (r *Replay) answerAfresh(start []int64) {
	point, limit := start, []int64(nil)
	if r.backlog != nil {
		point, limit = r.backlog.point(start), r.backlog.seam.limits()
	}
	r.to.Resumes(point, start, limit)
	r.to.Conn.Resumed(delivery.ResumeAnswer{Token: r.to.Token(), Named: r.names(), From: r.resumption.options.Now()})
}

// Start hands over what the client missed, or what was stored, and then what the attachment held meanwhile. Call it after LoggedIn.
func (r *Replay) Start() {
	if r.backlog == nil && r.takesUp == nil || r.isEmpty() && r.to.HoldsLittle() {
		r.release()
		r.to.Release()
		return
	}
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		ctx := r.running
		err := r.replay(ctx)
		r.release()
		if err == nil {
			err = r.to.ReleaseInParts(ctx)
		}
		if err != nil && (ctx.Err() == nil || errors.Is(context.Cause(ctx), errNoRoom)) {
			r.notices.Warn("a replay was given up",
				slog.Any("user", r.to.User), slog.Any("error", err))
			r.to.Conn.Close(port.CloseTryLater)
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
	return r.backlog.replay(ctx, r.to, r.to.Hides)
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
	r.messages.saving.add(r.to.User, places)
}

// Close ends the replay, and has what the client confirmed saved.
func (r *Replay) Close() {
	r.cancel(nil)
	if r.done != nil {
		<-r.done
	}
	r.release()
	if r.confirming() != nil {
		r.messages.saving.saveNow(r.to.User)
	}
}
