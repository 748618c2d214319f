package application

import (
	"context"

	"chatting/domain"
)

const (
	// pageEntries is how many entries of a partition are loaded at a time.
	pageEntries = 16
	// replayBytes is how much is handed over at a time, a frame at least: the client confirms, and so its user's cursor moves
	// on, in steps of so much, also on a bad line.
	replayBytes = 64 << 10
	// maxHeldBytes bounds the frames that wait for the end of a replay, each counted with heldBytes beside its own length. A
	// replay lasts as long as its client takes to read it.
	maxHeldBytes = 4 << 20
	heldBytes    = 256
)

// backlog is what was not delivered to a user before a login: the entries of each partition in the log's order, merged by
// their times. It is used by one goroutine.
type backlog struct {
	cursors DeliveryCursors
	user    domain.UserID
	to      []LogPosition
	// next is what is loaded next of each partition, lists what is loaded and not handed over; more tells of which there
	// may be more to load.
	next  []LogPosition
	lists [][]HistoryEntry
	more  []bool
}

// load loads of those partitions of which nothing is left.
func (b *backlog) load(ctx context.Context) error {
	from, to := make([]LogPosition, len(b.to)), make([]LogPosition, len(b.to))
	wanted := false
	for p := range b.to {
		from[p], to[p] = b.to[p], b.to[p] // nothing
		if b.more[p] && len(b.lists[p]) == 0 {
			from[p], wanted = b.next[p], true
		}
	}
	if !wanted {
		return nil
	}
	lists, err := b.cursors.Undelivered(ctx, b.user, from, to, pageEntries+1)
	if err != nil {
		return err
	}
	for p, list := range lists {
		if from[p] == to[p] {
			continue
		}
		// One more than a page is asked for, and left for the next: so the last one is known as such.
		if b.more[p] = len(list) > pageEntries; b.more[p] {
			b.next[p] = list[pageEntries].Position
			list = list[:pageEntries]
		}
		b.lists[p] = list
	}
	return nil
}

// earliest returns the partition whose next entry is the earliest, -1 where nothing is left.
func (b *backlog) earliest() int {
	earliest := -1
	for p, list := range b.lists {
		if len(list) > 0 && (earliest < 0 || list[0].At.Before(b.lists[earliest][0].At)) {
			earliest = p
		}
	}
	return earliest
}

func (b *backlog) isEmpty() bool { return b.earliest() < 0 }

// take returns the next entries, about replayBytes of them, and how many bytes they are.
func (b *backlog) take(ctx context.Context) (batch []HistoryEntry, last []bool, bytes int, err error) {
	for {
		p := b.earliest()
		if p < 0 || len(batch) > 0 && bytes+len(b.lists[p][0].Frame) > replayBytes {
			return batch, last, bytes, nil
		}
		entry := b.lists[p][0]
		b.lists[p] = b.lists[p][1:]
		batch = append(batch, entry)
		bytes += len(entry.Frame)
		last = append(last, len(b.lists[p]) == 0 && !b.more[p])
		if len(b.lists[p]) == 0 && b.more[p] {
			if err := b.load(ctx); err != nil {
				return nil, nil, 0, err
			}
		}
	}
}

// replay hands everything over.
func (b *backlog) replay(ctx context.Context, attachment *Attachment, conn Connection) error {
	for {
		entries, last, bytes, err := b.take(ctx)
		if err != nil || len(entries) == 0 {
			return err
		}
		batch := make([]Replayed, len(entries))
		for i, entry := range entries {
			batch[i] = Replayed{Frame: entry.Frame, At: b.confirms(entry, last[i])}
			attachment.replayed(entry.ID)
		}
		if err := conn.AwaitRoom(ctx, bytes); err != nil {
			return err
		}
		conn.Replay(batch)
	}
}

// confirms returns up to where everything is delivered with entry: its own place; with the last one of a partition the
// end. Places in a topic that was made anew since are no places of the connection's.
func (b *backlog) confirms(entry HistoryEntry, last bool) *Position {
	end := b.to[entry.Position.Partition]
	switch {
	case last:
		return &Position{Partition: end.Partition, Offset: end.Offset - 1}
	case entry.Position.Generation == end.Generation:
		return &Position{Partition: end.Partition, Offset: entry.Position.Offset}
	default:
		return nil
	}
}

// storedDelivery is what an attachment has where messages are stored. It is guarded by the recipient's lock.
type storedDelivery struct {
	held int // bytes, as maxHeldBytes counts them
	// had are the latest events that were replayed: the log may have one again past the end that was noted.
	had seenEvents
}

// isKept tells whether an event is stored for a receiver who is offline.
func isKept(body domain.Body) bool {
	switch body.(type) {
	case domain.ChatMessage, domain.SystemMessage:
		return true
	default:
		return false
	}
}

// storing makes the attachment one of a user for whom messages are stored: those go to Connection.DeliverAt. Call it right
// after Attach.
func (a *Attachment) storing() {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.stored = &storedDelivery{}
}

// replayed notes that the connection gets an event by replay.
func (a *Attachment) replayed(id domain.EventID) {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.stored.had.note(id, Position{})
}

// holds tells whether there is room to hold a frame, and counts it.
func (s *storedDelivery) holds(h heldFrame) bool {
	s.held += len(h.frame) + heldBytes
	return s.held <= maxHeldBytes
}

// holdsLittle tells whether what is held may be released at once, as far as that is stored.
func (a *Attachment) holdsLittle() bool {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.stored.held <= replayBytes
}

// releaseInParts is Release as the connection's queue has room for what was held.
func (a *Attachment) releaseInParts(ctx context.Context) error {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return nil
	}
	for {
		r.mu.Lock()
		n, bytes := 0, 0
		for n < len(a.held) && (n == 0 || bytes+len(a.held[n].frame) <= replayBytes) {
			bytes += len(a.held[n].frame)
			n++
		}
		if n == 0 {
			a.held = nil
			a.released = true
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
		if err := a.conn.AwaitRoom(ctx, bytes); err != nil {
			return err
		}
		r.mu.Lock()
		for _, h := range a.held[:n] {
			a.hand(h)
			a.stored.held -= len(h.frame) + heldBytes
		}
		clear(a.held[:n])
		a.held = a.held[n:]
		r.mu.Unlock()
	}
}
