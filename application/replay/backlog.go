package replay

import (
	"context"
	"math"
	"slices"
	"time"

	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/domain"
)

// Backlogs reads what is addressed to a user: the chat messages and system messages of others that it sees.
type Backlogs interface {
	// Waiting looks at the entries that are addressed to user, from the first place (included) to the second (excluded) of each
	// partition, at most limit of them in a partition, in the log's order. It returns of each sender where the first one
	// stands, the earliest by its time first, and of each partition the place before which it has looked at everything.
	// The arguments have one place for each partition, in the order of their numbers.
	Waiting(ctx context.Context, user domain.UserID, from, to []domain.Place, limit int) ([]WaitingSender, []domain.Place, error)
	// Stretches returns, for each stretch, at most limit entries of its sender that are addressed to user, in the log's order.
	Stretches(ctx context.Context, user domain.UserID, stretches []ConversationStretch, limit int) ([][]history.Entry, error)
	// Recent returns the ids of the latest entries that are addressed to user, at most limit of each partition, as far as they
	// are not older than since and stand before the places given, one for each partition.
	Recent(ctx context.Context, user domain.UserID, before []domain.Place, since time.Time, limit int) ([]domain.EventID, error)
}

// WaitingSender is somebody whose messages wait, and the place of the first one.
type WaitingSender struct {
	Sender domain.UserID
	Place  domain.Place
}

// ConversationStretch is the part of a conversation that stands from a place (included) to another one (excluded) of its partition.
type ConversationStretch struct {
	Sender   domain.UserID
	From, To domain.Place
}

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
)

// backlog is what was not delivered to a user before a login. Its conversations take turns, so that one long conversation does
// not hold up the others; each keeps its order. It is used by one goroutine.
//
// It goes through the log in windows of each partition. A client confirms places in partitions, not messages. So a place may be
// confirmed only once everything before it was handed over: that is the place of the first message of the window that waits.
type backlog struct {
	undelivered Backlogs
	// seam is where the log begins that was read, and release gives back what that takes; nil if nothing was read.
	seam    *seam
	release func()
	user    domain.UserID
	to      []domain.Place
	// from is where the window of each partition ends and the next one begins: to when it was the last.
	from []domain.Place
	// waiting are the conversations of this window of which something is left, the one whose turn is next first.
	waiting []*conversationBacklog
	// passed is, of each partition, the place before which everything was handed over, as far as a client was told.
	passed []domain.Place
}

// conversationBacklog is what is left of a conversation in a window.
type conversationBacklog struct {
	sender domain.UserID
	// next is the place of its first message that was not handed over; end is that of its window.
	next, end domain.Place
	done      bool
	loaded    []history.Entry // for this turn
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

// close lets go of what was read of the log. It may be called again.
func (b *backlog) close() {
	if b.release != nil {
		b.release()
	}
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
	wanted := make([]ConversationStretch, len(turn))
	for i, c := range turn {
		wanted[i] = ConversationStretch{Sender: c.sender, From: c.next, To: c.end}
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
			c.loaded = append(slices.Clip(c.loaded[:n]), history.Entry{Place: c.loaded[n].Place})
		}
		c.hold()
	}
	return turn, nil
}

// hold notes the place of the next message to hand over.
func (c *conversationBacklog) hold() {
	if c.done = len(c.loaded) == 0; !c.done {
		c.next = c.loaded[0].Place
	}
}

// hasTurn tells whether a message is left to hand over in this turn.
func (c *conversationBacklog) hasTurn() bool { return len(c.loaded) > 0 && c.loaded[0].Frame != nil }

// pop takes the next message of a turn: the earliest one.
func pop(turn []*conversationBacklog, room int) (entry history.Entry, ok bool) {
	var earliest *conversationBacklog
	for _, c := range turn {
		if c.hasTurn() && (earliest == nil || c.loaded[0].At.Before(earliest.loaded[0].At)) {
			earliest = c
		}
	}
	if earliest == nil || len(earliest.loaded[0].Frame) > room {
		return history.Entry{}, false
	}
	entry = earliest.loaded[0]
	earliest.loaded = earliest.loaded[1:]
	earliest.hold()
	return entry, true
}

// replay hands everything over that hides does not keep from the user.
func (b *backlog) replay(ctx context.Context, to *delivery.Handover, hides func(sender domain.UserID) bool) error {
	for {
		turn, err := b.take(ctx, hides)
		if err != nil {
			return err
		}
		if turn == nil {
			// What a block took out of the replay is passed, too, behind what was handed over.
			to.HandStored(b.advance(nil), b.point)
			return nil
		}
		for {
			batch, bytes := nextBatch(turn)
			if len(batch) == 0 {
				break
			}
			if err := to.Conn.AwaitRoom(ctx, bytes); err != nil {
				return err
			}
			// Waiting may have taken long enough for a block.
			batch = slices.DeleteFunc(batch, func(e history.Entry) bool { return hides(e.Sender) || to.WasReplayed(e.ID) })
			for _, entry := range batch {
				to.Replayed(entry.ID)
			}
			if frames := b.advance(batch); len(frames) > 0 {
				to.HandStored(frames, b.point)
			}
		}
	}
}

// nextBatch returns the next messages of a turn, about delivery.ReplayBytes of them.
func nextBatch(turn []*conversationBacklog) (batch []history.Entry, bytes int) {
	room := math.MaxInt
	for {
		entry, ok := pop(turn, room)
		if !ok {
			return batch, bytes
		}
		batch = append(batch, entry)
		bytes += len(entry.Frame)
		room = delivery.ReplayBytes - bytes
	}
}

// advance returns messages that are to be handed over, each partition's last one with the place that is confirmed with it, if
// that is a later one than before. A place of a partition without any of them stands behind them, without a frame.
func (b *backlog) advance(batch []history.Entry) []delivery.Replayed {
	frames := make([]delivery.Replayed, 0, len(batch)+1)
	last := make(map[int]int, len(batch)) // by partition
	for i, entry := range batch {
		frames = append(frames, delivery.Replayed{Frame: entry.Frame})
		last[entry.Place.Partition] = i
	}
	for partition, at := range b.places() {
		// Places in a topic that was made anew since are no places of the connection's.
		if !b.passed[partition].Before(at) || at.Generation != b.to[partition].Generation || b.seam.isAnew(partition) {
			continue
		}
		b.passed[partition] = at
		confirmed := &domain.Place{Partition: partition, Offset: at.Offset - 1}
		if i, ok := last[partition]; ok {
			frames[i].At = confirmed
		} else {
			frames = append(frames, delivery.Replayed{At: confirmed})
		}
	}
	return frames
}

// places returns, of each partition, the place before which nothing waits, nor is left for another login.
func (b *backlog) places() []domain.Place {
	places := slices.Clone(b.from)
	for _, c := range b.waiting {
		if p := c.next.Partition; !c.done && c.next.Before(places[p]) {
			places[p] = c.next
		}
	}
	for p := range places {
		places[p] = b.seam.confirms(places[p])
	}
	return places
}

// point returns before which offsets of the log nothing waits, for a connection that is served from start on.
func (b *backlog) point(start []int64) []int64 {
	point := make([]int64, len(start))
	for partition, at := range b.places() {
		switch {
		case b.seam.isAnew(partition):
			point[partition] = start[partition] // the places are those of an earlier topic
		case at.Generation == b.to[partition].Generation: // else all of this topic waits
			point[partition] = at.Offset
		}
	}
	return point
}
