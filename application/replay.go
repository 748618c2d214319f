package application

import (
	"bytes"
	"context"
	"math"
	"slices"
	"time"

	"chatting/domain"
)

const (
	// windowEntries is how many stored messages of a partition are looked at, though not loaded, to find whose they are.
	// Among the conversations of so many messages a replay takes turns.
	windowEntries = 2048
	// turnConversations is how many conversations have their turn together, their messages merged by time, and turnEntries
	// how many messages of each are loaded for it. So a replay holds at most 72 messages.
	turnConversations = 8
	turnEntries       = 8
	// turnBytes ends the turn of one conversation, after one frame at least.
	turnBytes = 64 << 10
	// replayBytes is how much is handed over at a time, a frame at least: the client confirms, and so its user's cursor moves
	// on, in steps of so much, also on a bad line.
	replayBytes = 64 << 10
	// maxHeldBytes bounds the frames that wait for the end of a replay, each counted with heldBytes beside its own length. A
	// replay lasts as long as its client takes to read it.
	maxHeldBytes = 4 << 20
	heldBytes    = 256
)

// backlog is what was not delivered to a user before a login. Its conversations take turns, so that nobody has to wait for
// all that another one wrote; each is in its order. It is used by one goroutine.
//
// It goes through the log in windows of each partition. A client confirms places in partitions, not messages: so everything
// before a place has to be handed over when the place is confirmed. That is so for what stands before the first message
// that waits, of all conversations of the window.
type backlog struct {
	undelivered Undelivered
	user        domain.UserID
	to          []LogPosition
	// from is where the window of each partition ends and the next one begins: to when it was the last.
	from []LogPosition
	// waiting are the conversations of this window of which something is left, the one whose turn is next first.
	waiting []*conversationBacklog
	// passed is, of each partition, the place before which everything was handed over, as far as a client was told.
	passed []LogPosition
}

// conversationBacklog is what is left of a conversation in a window.
type conversationBacklog struct {
	sender domain.UserID
	// next is the place of its first message that was not handed over; end is that of its window.
	next, end LogPosition
	done      bool
	loaded    []HistoryEntry // for this turn
}

// nextWindow finds whose messages wait. It leaves out whom the user has blocked by now, and goes on until somebody is left.
func (b *backlog) nextWindow(ctx context.Context, hides func(sender domain.UserID) bool) error {
	for len(b.waiting) == 0 && !slices.Equal(b.from, b.to) {
		senders, ends, err := b.undelivered.Waiting(ctx, b.user, b.from, b.to, windowEntries)
		if err != nil {
			return err
		}
		for _, first := range senders {
			if !hides(first.Sender) {
				b.waiting = append(b.waiting, &conversationBacklog{
					sender: first.Sender, next: first.Place, end: ends[first.Place.Partition],
				})
			}
		}
		b.from = ends
	}
	return nil
}

func (b *backlog) isEmpty() bool { return len(b.waiting) == 0 }

// take returns the messages of the next turn, merged by time.
func (b *backlog) take(ctx context.Context, hides func(sender domain.UserID) bool) ([]*conversationBacklog, error) {
	// One whose sender was blocked meanwhile is done.
	b.waiting = slices.DeleteFunc(b.waiting, func(c *conversationBacklog) bool { return c.done || hides(c.sender) })
	if err := b.nextWindow(ctx, hides); err != nil || b.isEmpty() {
		return nil, err
	}
	turn := b.waiting[:min(turnConversations, len(b.waiting))]
	b.waiting = slices.Concat(b.waiting[len(turn):], turn)
	wanted := make([]Stretch, len(turn))
	for i, c := range turn {
		wanted[i] = Stretch{Sender: c.sender, From: c.next, To: c.end}
	}
	// One more than a turn's is loaded: so the place of the next one is known.
	lists, err := b.undelivered.Stretches(ctx, b.user, wanted, turnEntries+1)
	if err != nil {
		return nil, err
	}
	for i, c := range turn {
		n, bytes := 0, 0
		for n < min(len(lists[i]), turnEntries) && (n == 0 || bytes+len(lists[i][n].Frame) <= turnBytes) {
			bytes += len(lists[i][n].Frame)
			n++
		}
		c.loaded = lists[i]
		if n < len(c.loaded) { // only the place of the next one is needed
			c.loaded = append(slices.Clip(c.loaded[:n]), HistoryEntry{Position: c.loaded[n].Position})
		}
		c.hold()
	}
	return turn, nil
}

// hold notes the place of the next message to hand over.
func (c *conversationBacklog) hold() {
	if c.done = len(c.loaded) == 0; !c.done {
		c.next = c.loaded[0].Position
	}
}

// hasTurn tells whether a message is left to hand over in this turn.
func (c *conversationBacklog) hasTurn() bool { return len(c.loaded) > 0 && c.loaded[0].Frame != nil }

// pop takes the next message of a turn: the earliest one.
func pop(turn []*conversationBacklog, room int) (entry HistoryEntry, ok bool) {
	var earliest *conversationBacklog
	for _, c := range turn {
		if c.hasTurn() && (earliest == nil || c.loaded[0].At.Before(earliest.loaded[0].At)) {
			earliest = c
		}
	}
	if earliest == nil || len(earliest.loaded[0].Frame) > room {
		return HistoryEntry{}, false
	}
	entry = earliest.loaded[0]
	earliest.loaded = earliest.loaded[1:]
	earliest.hold()
	return entry, true
}

// replay hands everything over that hides does not keep from the user.
func (b *backlog) replay(
	ctx context.Context, attachment *Attachment, conn Connection, hides func(sender domain.UserID) bool,
) error {
	for {
		turn, err := b.take(ctx, hides)
		if err != nil {
			return err
		}
		if turn == nil {
			// What a block took out of the replay is passed, too, behind what was handed over.
			if rest := b.advance(nil); len(rest) > 0 {
				conn.Replay(rest)
			}
			return nil
		}
		for {
			batch, bytes := nextBatch(turn)
			if len(batch) == 0 {
				break
			}
			if err := conn.AwaitRoom(ctx, bytes); err != nil {
				return err
			}
			// Waiting may have taken long enough for a block.
			batch = slices.DeleteFunc(batch, func(e HistoryEntry) bool { return hides(e.Sender) })
			for _, entry := range batch {
				attachment.replayed(entry.ID)
			}
			if frames := b.advance(batch); len(frames) > 0 {
				conn.Replay(frames)
			}
		}
	}
}

// nextBatch returns the next messages of a turn, about replayBytes of them.
func nextBatch(turn []*conversationBacklog) (batch []HistoryEntry, bytes int) {
	room := math.MaxInt
	for {
		entry, ok := pop(turn, room)
		if !ok {
			return batch, bytes
		}
		batch = append(batch, entry)
		bytes += len(entry.Frame)
		room = replayBytes - bytes
	}
}

// advance returns messages that are to be handed over, each partition's last one with the place that is confirmed with it, if
// that is a later one than before. A place of a partition without any of them stands behind them, without a frame.
func (b *backlog) advance(batch []HistoryEntry) []Replayed {
	frames := make([]Replayed, 0, len(batch)+1)
	last := make(map[int]int, len(batch)) // by partition
	for i, entry := range batch {
		frames = append(frames, Replayed{Frame: entry.Frame})
		last[entry.Position.Partition] = i
	}
	for partition, at := range b.places() {
		// Places in a topic that was made anew since are no places of the connection's.
		if !b.passed[partition].Before(at) || at.Generation != b.to[partition].Generation {
			continue
		}
		b.passed[partition] = at
		confirmed := &Position{Partition: partition, Offset: at.Offset - 1}
		if i, ok := last[partition]; ok {
			frames[i].At = confirmed
		} else {
			frames = append(frames, Replayed{At: confirmed})
		}
	}
	return frames
}

// places returns, of each partition, the place before which nothing waits.
func (b *backlog) places() []LogPosition {
	places := slices.Clone(b.from)
	for _, c := range b.waiting {
		if p := c.next.Partition; !c.done && c.next.Before(places[p]) {
			places[p] = c.next
		}
	}
	return places
}

// storedDelivery is what an attachment has where messages are stored. It is guarded by the recipient's lock.
type storedDelivery struct {
	held int // bytes, as maxHeldBytes counts them
	// had are the latest events that were replayed, and recent, in order, those that were said to the user shortly before the
	// login, until when that matters: the log may have one again past the end that was noted. The user has got it: by an
	// earlier connection, or by the replay.
	had         seenEvents
	recent      []domain.EventID
	recentUntil time.Time
}

// hadBefore tells whether the user has got the event before what stands past the end that was noted.
func (s *storedDelivery) hadBefore(id domain.EventID) bool {
	if len(s.recent) > 0 && time.Now().After(s.recentUntil) {
		s.recent = nil
	}
	_, recent := slices.BinarySearchFunc(s.recent, id, compareIDs)
	return recent || s.had.has(id)
}

func compareIDs(a, b domain.EventID) int { return bytes.Compare(a[:], b[:]) }

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

// saidBefore names what was said to the user shortly before the login.
func (a *Attachment) saidBefore(recent []domain.EventID) {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	slices.SortFunc(recent, compareIDs)
	r.mu.Lock()
	defer r.mu.Unlock()
	a.stored.recent, a.stored.recentUntil = recent, time.Now().Add(repeatedWithin)
}

// hides tells whether the user has blocked sender by what the log has said so far.
func (a *Attachment) hides(sender domain.UserID) bool {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return false // it has ended, and gets nothing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return a.blocks.Hides(sender)
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
