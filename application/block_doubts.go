package application

import (
	"context"
	"log/slog"
	"sync"

	"chatting/domain"
)

// BlockVersions tells which versions of a block the database has given out.
type BlockVersions interface {
	// Versions returns what the database has given out for a pair by now, without places.
	Versions(ctx context.Context, pair BlockPair) (GivenVersions, error)
}

// Anybody who may write the log can write a change of a block. So a change takes effect at its place only once the database
// says that it gave out its version: until then what the two users say to each other waits behind it, for the blocker's
// connections alone. The tail does not wait.
//
// What waits is bounded: a conversation by maxHeld records and maxHeldBytes, all of them by maxDoubts. Beyond the bounds, and
// if the database does not answer, the blocker's connections are closed with CloseTryLater; they come again and load the
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
	pair      BlockPair
	waiting   []doubtful
	bytes     int // of waiting, as maxHeldBytes counts them
}

// doubtful is an event that waits, at its place.
type doubtful struct {
	at    Position
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
		r.mu.Lock()
		asked := len(doubt.waiting)
		r.mu.Unlock()
		versions, err := d.Versions.Versions(ctx, doubt.pair)
		if err != nil {
			d.notices.Warn("whether a change of a block is real cannot be told",
				slog.Any("blocker", doubt.pair.Blocker), slog.Any("error", err))
			r.mu.Lock()
			r.giveUpLocked(doubt)
			r.mu.Unlock()
			return
		}
		again = d.resolve(doubt, asked, versions)
	}
}

// resolve carries out what waits, by an answer to a question that was asked when so many waited. It tells whether something
// is left: a change that was read later may be newer than the answer.
func (d *Delivery) resolve(doubt *blockDoubt, asked int, versions GivenVersions) (again bool) {
	r := doubt.recipient
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.doubts[doubt.pair.Target] != doubt {
		return false // it was given up
	}
	for i, w := range doubt.waiting {
		change, ok := w.event.Body.(domain.BlockChanged)
		if !ok {
			r.show(w.at, w.event, w.frame)
			continue
		}
		gave := versions.gave(change.Version, w.event.ID, LogPosition{})
		switch {
		case gave:
			r.take(change)
		case i >= asked:
			for _, done := range doubt.waiting[:i] {
				doubt.bytes -= len(done.frame) + heldBytes
			}
			doubt.waiting = doubt.waiting[i:]
			return true
		default:
			d.notices.Warn("a change of a block that the database never gave out is ignored",
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
func (r *recipient) doubt(at Position, event domain.Event, change domain.BlockChanged) {
	doubt := &blockDoubt{
		recipient: r, pair: BlockPair{change.Blocker, change.Target}, waiting: []doubtful{{at: at, event: event}}, bytes: heldBytes,
	}
	if r.doubts == nil {
		r.doubts = make(map[domain.UserID]*blockDoubt)
	}
	r.doubts[change.Target] = doubt
	select {
	case r.delivery.doubts <- doubt:
	default:
		r.giveUpLocked(doubt)
	}
}

// addLocked has an event wait behind a change.
func (b *blockDoubt) addLocked(at Position, event domain.Event, frame []byte) {
	b.waiting = append(b.waiting, doubtful{at, event, frame})
	b.bytes += len(frame) + heldBytes
	if len(b.waiting) > maxHeld || b.bytes > maxHeldBytes {
		b.recipient.giveUpLocked(b)
	}
}

// giveUpLocked closes the connections that need what waits. Connections that come later do not: they load the blocks, and
// begin at an end of the log that is behind all of it.
func (r *recipient) giveUpLocked(doubt *blockDoubt) {
	if r.doubts[doubt.pair.Target] != doubt {
		return
	}
	delete(r.doubts, doubt.pair.Target)
	doubt.waiting = nil
	for _, a := range r.attachments {
		a.ended = true
		a.conn.Close(CloseTryLater)
	}
}
