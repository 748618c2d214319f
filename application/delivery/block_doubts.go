package delivery

import (
	"context"
	"log/slog"
	"sync"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// BlockVersions tells which versions of a block the database has given out.
type BlockVersions interface {
	// Versions returns what the database has given out for a pair by now, without places.
	Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error)
}

// Anybody who may write the log can write a change of a block. So a change takes effect only once the database says that it
// gave out the version. Until then, what the two users say to each other waits behind the change, for the blocker's
// connections alone. The tail does not wait.
//
// A conversation may have maxHeld records and maxHeldBytes that wait, and maxDoubts conversations may wait. Beyond the bounds,
// and if the database does not answer, the blocker's connections are closed with CloseTryLater. They come again and load the
// blocks from the database.

const (
	// maxDoubts bounds the conversations in which something waits for the database.
	maxDoubts = 1024
	// doubtWorkers is how many are asked for at a time.
	doubtWorkers = 4
)

// blockDoubt is a conversation with a change of a block that is not confirmed, and what came after it. It is guarded by the
// recipient's lock.
type blockDoubt struct {
	recipient *recipient
	pair      blocks.Pair
	waiting   []doubtful
	bytes     int // of waiting, as maxHeldBytes counts them
}

// doubtful is an event that waits, at its place.
type doubtful struct {
	at    domain.Place
	event domain.Event
	frame []byte
}

// Run asks the database about changes of blocks, until ctx ends.
func (d *Delivery) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range doubtWorkers {
		workers.Go(func() {
			for {
				select {
				case doubt := <-d.doubts:
					d.settle(ctx, doubt)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	workers.Wait()
}

// settle asks until nothing of the conversation waits.
func (d *Delivery) settle(ctx context.Context, doubt *blockDoubt) {
	r := doubt.recipient
	for again := true; again; {
		var asked int
		r.do(func() { asked = len(doubt.waiting) })
		versions, err := d.Versions.Versions(ctx, doubt.pair)
		if err != nil {
			d.notices.Warn("whether a change of a block is real cannot be told",
				slog.Any("blocker", doubt.pair.Blocker), slog.Any("error", err))
			r.do(func() { r.giveUp(doubt) })
			return
		}
		r.do(func() { again = r.resolve(doubt, asked, versions) })
	}
}

// resolve carries out what waits, by an answer to a question that was asked when so many waited. It tells whether something
// is left: a change that was read later may be newer than the answer.
func (r *recipient) resolve(doubt *blockDoubt, asked int, versions blocks.GivenVersions) (again bool) {
	if r.doubts[doubt.pair.Target] != doubt {
		return false // it was given up
	}
	for ; len(doubt.waiting) > 0; asked-- {
		w := doubt.waiting[0]
		change, ok := w.event.Body.(domain.BlockChanged)
		gave := ok && versions.Gave(change.Version, w.event.ID, domain.Place{})
		if ok && !gave && asked <= 0 {
			return true
		}
		// First, because what waits holds the resume tokens back.
		doubt.waiting = doubt.waiting[1:]
		doubt.bytes -= len(w.frame) + HeldBytes
		switch {
		case !ok:
			r.show(w.at, w.event, w.frame)
		case gave:
			r.take(change)
		default:
			r.delivery.notices.Warn("a change of a block that the database never gave out is ignored",
				slog.Int("partition", w.at.Partition), slog.Int64("offset", w.at.Offset))
		}
	}
	delete(r.doubts, doubt.pair.Target)
	return false
}

// isNews tells whether a change is newer than what some connection knows.
func (r *recipient) isNews(change domain.BlockChanged) bool {
	for _, a := range r.attachments {
		if a.blocks.Version(change.Target) < change.Version {
			return true
		}
	}
	return false
}

// take takes over a change.
func (r *recipient) take(change domain.BlockChanged) {
	for _, a := range r.attachments {
		a.blocks.Apply(change.Target, change.Blocked, change.Version)
	}
}

// doubt has a change wait for the database.
func (r *recipient) doubt(at domain.Place, event domain.Event, change domain.BlockChanged) {
	doubt := &blockDoubt{
		recipient: r, pair: blocks.PairOf(change), waiting: []doubtful{{at: at, event: event}}, bytes: HeldBytes,
	}
	if r.doubts == nil {
		r.doubts = make(map[domain.UserID]*blockDoubt)
	}
	r.doubts[change.Target] = doubt
	select {
	case r.delivery.doubts <- doubt:
	default:
		r.giveUp(doubt)
	}
}

// add has an event wait behind a change.
func (b *blockDoubt) add(at domain.Place, event domain.Event, frame []byte) {
	b.waiting = append(b.waiting, doubtful{at, event, frame})
	b.bytes += len(frame) + HeldBytes
	if len(b.waiting) > maxHeld || b.bytes > maxHeldBytes {
		b.recipient.giveUp(b)
	}
}

// giveUp closes the connections that need what waits. Connections that come later do not: they load the blocks, and
// begin at an end of the log that is behind all of it.
func (r *recipient) giveUp(doubt *blockDoubt) {
	if r.doubts[doubt.pair.Target] != doubt {
		return
	}
	delete(r.doubts, doubt.pair.Target)
	doubt.waiting = nil
	for _, a := range r.attachments {
		a.ended = true
		a.conn.Close(port.CloseTryLater)
	}
}
