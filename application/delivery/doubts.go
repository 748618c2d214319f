package delivery

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"

	"chatting/application/blocks"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
)

// BlockVersions tells which versions of a block the database has given out.
type BlockVersions interface {
	// Versions returns what the database has given out for a pair by now, without places.
	Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error)
}

// Repeats tells which events stand in the log once more. *past.Repeats is one.
type Repeats interface {
	// Repeated returns the places of those events of user's conversations that stood in the log before.
	Repeated(ctx context.Context, user domain.UserID, events []past.Named) (map[domain.Place]struct{}, error)
}

// Two kinds of records are in doubt. Anybody who may write the log can write a change of a block, so a change takes effect only
// once the database says that it gave out the version. And what a user named whom another has blocked and unblocked may stand in
// the log before, where the block hid it: see repeats.go. Until that is told, what the two users say to each other waits behind the
// record, for the connections of the one user alone. The tail does not wait.
//
// A conversation may have maxHeld records and maxHeldBytes that wait, and maxDoubts conversations may wait. Beyond the bounds,
// and if there is no answer, the user's connections are closed with CloseTryLater. They come again, and load the blocks from the
// database.

const (
	// maxDoubts bounds the conversations in which something waits for an answer.
	maxDoubts = 1024
	// doubtWorkers is how many are asked for at a time.
	doubtWorkers = 4
	// maxNamed bounds the events of one question.
	maxNamed = 256
)

// doubt is a conversation of the recipient with a record that is in doubt, and what came after it. It is guarded by the recipient's
// lock.
type doubt struct {
	recipient *recipient
	other     domain.UserID
	waiting   []doubtful // in the order of the log; all of one partition
	bytes     int        // of waiting, as maxHeldBytes counts them
}

// doubtful is an event that waits, at its place.
type doubtful struct {
	at    domain.Place
	event domain.Event // zero if only is set
	frame []byte
	// only is the one connection that it is for, which held it until its login loaded the blocks; nil for all.
	only *heldBy
	// asked tells that the question under way is about it, and told that it need not be asked about again: repeated is the answer.
	asked, told, repeated bool
}

// id and sender are those of the event.
func (w doubtful) id() domain.EventID {
	if w.only != nil {
		return w.only.frame.id
	}
	return w.event.ID
}

func (w doubtful) sender() domain.UserID {
	if w.only != nil {
		return w.only.frame.sender
	}
	return w.event.Body.Actor()
}

// change returns the change of a block that it is; false if it is none.
func (w doubtful) change() (domain.BlockChanged, bool) {
	change, ok := w.event.Body.(domain.BlockChanged)
	return change, ok
}

// heldBy is a frame that an attachment held.
type heldBy struct {
	attachment *Attachment
	frame      heldFrame
}

// question is what is asked of a conversation: what the database has given out for its pair, or which events are repeated.
type question struct {
	pair  blocks.Pair
	named []past.Named // nil if it is about blocks
}

// answer is that to a question.
type answer struct {
	question
	versions blocks.GivenVersions
	repeated map[domain.Place]struct{}
}

// Run asks about what is in doubt, until ctx ends.
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
func (d *Delivery) settle(ctx context.Context, doubt *doubt) {
	r := doubt.recipient
	for again := true; again; {
		var asked question
		r.do(func() { asked, again = r.question(doubt) })
		if !again {
			return // it was given up
		}
		told, err := d.ask(ctx, asked)
		if err != nil {
			d.notices.Warn("whether a record of the log is what it seems cannot be told",
				slog.Any("user", r.user), slog.Any("error", err))
			r.do(func() { r.giveUp(doubt) })
			return
		}
		r.do(func() { again = r.resolve(doubt, told) })
	}
}

func (d *Delivery) ask(ctx context.Context, asked question) (told answer, err error) {
	told.question = asked
	if asked.named != nil {
		told.repeated, err = d.Repeats.Repeated(ctx, asked.pair.Blocker, asked.named)
		return told, err
	}
	told.versions, err = d.Versions.Versions(ctx, asked.pair)
	return told, err
}

// question returns what is to be asked about the first record that waits, and about as many behind it as can be; false if nothing waits.
func (r *recipient) question(doubt *doubt) (asked question, ok bool) {
	if r.doubts[doubt.other] != doubt {
		return question{}, false
	}
	asked.pair = blocks.Pair{Blocker: r.user, Target: doubt.other}
	_, aboutBlocks := doubt.waiting[0].change()
	for i := range doubt.waiting {
		w := &doubt.waiting[i]
		_, isChange := w.change()
		switch {
		case isChange:
			w.asked = aboutBlocks
		case !aboutBlocks && !w.told && r.inDoubt(*w):
			w.asked = true
			if asked.named = append(asked.named, r.named(*w)); len(asked.named) == maxNamed {
				return asked, true
			}
		}
	}
	return asked, true
}

// resolve carries out what waits, by the answer to the latest question. It tells whether something is left: what was read after the
// question was asked.
func (r *recipient) resolve(doubt *doubt, told answer) (again bool) {
	if r.doubts[doubt.other] != doubt {
		return false // it was given up
	}
	doubt.note(told)
	for len(doubt.waiting) > 0 {
		w := doubt.waiting[0]
		change, ok := w.change()
		gave := ok && (r.delivery.Versions == nil || told.versions.Gave(change.Version, w.event.ID, domain.Place{}))
		if ok && !gave && !w.asked || !ok && !w.told && r.inDoubt(w) {
			return true
		}
		// First, because what waits holds the resume tokens back.
		doubt.waiting = doubt.waiting[1:]
		doubt.bytes -= len(w.frame) + HeldBytes
		switch {
		case !ok && w.only != nil:
			w.only.attachment.showHeld(w.only.frame, w.repeated)
		case !ok:
			r.show(w.at, doubt.other, w.event, w.frame, w.repeated)
		case gave:
			r.take(change, w.at)
		default:
			r.delivery.notices.Warn("a change of a block that the database never gave out is ignored",
				slog.Int("partition", w.at.Partition), slog.Int64("offset", w.at.Offset))
		}
	}
	delete(r.doubts, doubt.other)
	return false
}

// note notes which of the events that were asked about are repeated.
func (d *doubt) note(told answer) {
	for i := range d.waiting {
		w := &d.waiting[i]
		if _, isChange := w.change(); isChange || !w.asked {
			continue
		}
		_, w.repeated = told.repeated[inPartition(w.at)]
		w.asked, w.told = false, true
	}
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
func (r *recipient) take(change domain.BlockChanged, at domain.Place) {
	for _, a := range r.attachments {
		a.blocks.Apply(change.Target, change.Blocked, change.Version)
	}
	r.changed.note(change, at)
}

// begin has records of a conversation wait for an answer about the first of them. It is called where none of it waits.
func (r *recipient) begin(other domain.UserID, waiting ...doubtful) {
	begun := &doubt{recipient: r, other: other}
	if r.doubts == nil {
		r.doubts = make(map[domain.UserID]*doubt)
	}
	r.doubts[other] = begun
	begun.add(waiting...)
	select {
	case r.delivery.doubts <- begun:
	default:
		r.giveUp(begun)
	}
}

// add has records wait behind those that do, as they are read.
func (d *doubt) add(waiting ...doubtful) {
	d.waiting = append(d.waiting, waiting...)
	for _, w := range waiting {
		d.bytes += len(w.frame) + HeldBytes
	}
	if len(d.waiting) > maxHeld || d.bytes > maxHeldBytes {
		d.recipient.giveUp(d)
	}
}

// addHeld has records wait that a login held, each in its place among those that do. They stay in the order of the log: a resume token
// and what a client confirms end before the first one.
func (d *doubt) addHeld(waiting ...doubtful) {
	d.add(waiting...)
	slices.SortStableFunc(d.waiting, func(a, b doubtful) int { return cmp.Compare(a.at.Offset, b.at.Offset) })
}

// giveUp closes the connections that need what waits. Connections that come later do not: they load the blocks, and
// begin at an end of the log that is behind all of it.
func (r *recipient) giveUp(doubt *doubt) {
	if r.doubts[doubt.other] != doubt {
		return
	}
	delete(r.doubts, doubt.other)
	doubt.waiting = nil
	for _, a := range r.attachments {
		a.ended = true
		a.conn.Close(port.CloseTryLater)
	}
}
