package delivery

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
)

// RecordReader is told which events this node has read. *messaging.Echoes is one.
type RecordReader interface {
	// Read says that the event was applied: its actor's connections have what they get of it. outcome is nil, or why the event
	// takes no effect.
	Read(id domain.EventID, outcome error)
}

// InviteJudge decides, from the log, which invites are pending, ended or expired. *invites.Register is one.
type InviteJudge interface {
	// Judge takes over the next event of a partition and decides whether it happened. It has to get, in order, all events of
	// records for which ConcernsInvites is true.
	Judge(partition int, event domain.Event, at time.Time) domain.InviteVerdict
	// Restart forgets what stood in a partition, which begins anew.
	Restart(partition int)
}

// Delivery hands the records of the log to the connections of this node. Both sides of a conversation see its events, unless
// the recipient had blocked the sender by then. No connection gets an event twice.
//
// Apply and Flush are called by one goroutine, the tail; Attach and what follows it by many.
type Delivery struct {
	// Versions is asked whether a change of a block in the log is real; then Run has to run. If it is nil, every change counts.
	Versions BlockVersions
	// Repeats tells whether what a user says stands in the log before, where a block hid it; then Run has to run. If it is nil, only what
	// this node has seen is known.
	Repeats Repeats
	// Room counts the bytes that wait for answers to these questions for a user. If others need the room, cut is called, under any lock
	// and from any goroutine; it does not block. nil bounds only what waits in each conversation.
	Room func(user domain.UserID, cut func()) Room
	// Acts decides what the platform keeps back of what users say; nil if it keeps nothing back.
	Acts Acts
	// Tokens are those that clients name to take up where they stopped; nil if none does.
	Tokens *ResumeTokens
	// Verdicts remember what became of the records about invites and blocks, for past.Past. NewDelivery makes them.
	Verdicts *past.Verdicts

	reader  RecordReader
	invites InviteJudge
	notices *notice.Log
	// doubts wait for the database, and named for what stands in the log before.
	doubts, named chan *doubt

	// gathering are the attachments whose frames wait for Flush. They are the tail's own.
	gathering []*Attachment
	// announced are the announcements that were shown lately. They are the tail's own.
	announced announcements

	// deliveredAt is when frames were last delivered, in nanoseconds since began: no clock that is set changes that.
	deliveredAt atomic.Int64
	began       time.Time

	mu    sync.RWMutex
	users map[domain.UserID]*recipient
}

// NewDelivery returns a delivery without connections. reader is told of each record that has a recipient here, invites of all
// that concern it.
func NewDelivery(reader RecordReader, invites InviteJudge, notices *notice.Log) *Delivery {
	d := &Delivery{
		Verdicts: &past.Verdicts{}, reader: reader, invites: invites, notices: notices, doubts: make(chan *doubt, maxDoubts),
		named: make(chan *doubt, maxDoubts), users: make(map[domain.UserID]*recipient), began: time.Now(),
	}
	d.deliveredAt.Store(-int64(liveFor)) // nothing yet
	return d
}

// Attach makes the connection known to delivery: from now on the user's block records are followed and its frames held.
// The caller loads the user's blocks, then notes the end offsets of the log, and calls Activate and Release; or Detach.
// That order makes every record be judged by the state of its own place (invariant 3).
func (d *Delivery) Attach(user domain.UserID, conn Connection) *Attachment {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.users[user]
	if r == nil {
		r = &recipient{delivery: d, user: user}
		d.users[user] = r
	}
	a := &Attachment{recipient: r, conn: conn}
	if d.Tokens != nil && conn.Has(port.FeatureResume) {
		a.resume = &resuming{position: &d.Tokens.position, seal: d.Tokens.sealOf(user)}
	}
	r.do(func() { r.attachments = append(r.attachments, a) })
	return a
}

// detach takes an attachment out.
func (d *Delivery) detach(a *Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := a.recipient
	r.do(func() {
		a.detached = true
		r.attachments = slices.DeleteFunc(r.attachments, func(other *Attachment) bool { return other == a })
		if len(r.attachments) == 0 && d.users[r.user] == r {
			delete(d.users, r.user)
		}
	})
}

// Apply delivers the next record of the log. Records of one partition come in their order. Frames may wait for Flush. It tells whether
// one of the record's users is here.
func (d *Delivery) Apply(record port.Record) (here bool) {
	conversation := record.Conversation()
	d.mu.RLock()
	low, high := d.users[conversation.Low()], d.users[conversation.High()]
	d.mu.RUnlock()
	here = low != nil || high != nil
	if !here && !record.ConcernsInvites() {
		return false
	}
	d.open(record, low, high)
	if here {
		d.Tokens.reached(record.Place().Partition, record.Place().Offset+1)
	}
	return here
}

// open shows what a record says to those of its users that are here.
func (d *Delivery) open(record port.Record, low, high *recipient) {
	here := low != nil || high != nil
	conversation := record.Conversation()
	event, frame, err := record.Open()
	if err != nil {
		if here {
			position := record.Place()
			d.notices.Warn("skipped a record of the conversation log that is not ours to show",
				slog.Int("partition", position.Partition), slog.Int64("offset", position.Offset), slog.Any("error", err))
		}
		return
	}
	if d.Acts != nil {
		if refusal := d.Acts.Judge(event, record.Place(), record.Time()); refusal != nil {
			d.reader.Read(event.ID, refusal)
			return
		}
	}
	verdict := d.judge(record, event)
	if verdict == domain.InviteVoid {
		d.reader.Read(event.ID, invites.ErrInviteEnded)
		return
	}
	sees := func(user domain.UserID) bool { return verdict != domain.InviteUnseen || user == event.Body.Actor() }
	if high != nil && sees(conversation.High()) {
		high.apply(record.Place(), conversation.Low(), event, frame)
	}
	if low != nil && low != high && sees(conversation.Low()) {
		low.apply(record.Place(), conversation.High(), event, frame)
	}
	d.reader.Read(event.ID, nil)
}

// judge decides whether an event happened, and remembers that for Past.
func (d *Delivery) judge(record port.Record, event domain.Event) domain.InviteVerdict {
	place := record.Place()
	verdict := d.invites.Judge(place.Partition, event, record.Time())
	switch event.Body.(type) {
	case domain.GameInvite, domain.BlockChanged:
		d.Verdicts.Note(place, event, record.Time(), verdict)
	}
	return verdict
}

// Begin says from which offset on the node knows what became of the invites of a partition, for Past. The records from next on are
// still to come, to Recall or Apply.
func (d *Delivery) Begin(partition int, known, next int64) { d.Verdicts.Begin(partition, known, next) }

// Begins says when the first record of a partition was written, whose offset is 0.
func (d *Delivery) Begins(partition int, at time.Time) { d.Tokens.begins(partition, at) }

// Passed says that all records of a partition before next were applied or recalled, or are lost. In that case call CloseAll before:
// otherwise a client would be told that it has everything before next.
func (d *Delivery) Passed(partition int, next int64) {
	d.Verdicts.Passed(partition, next)
	d.Tokens.reached(partition, next)
}

// Flush has the frames since the last Flush written. Those of one connection leave together. The tail calls it before it waits.
func (d *Delivery) Flush() {
	if len(d.gathering) > 0 {
		d.noteDelivered()
	}
	for i, a := range d.gathering {
		a.gathers = false
		a.conn.Flush()
		d.gathering[i] = nil
	}
	d.gathering = d.gathering[:0]
}

func (d *Delivery) noteDelivered() { d.deliveredAt.Store(int64(time.Since(d.began))) }

// liveFor is for how long after a delivery chat counts as live.
const liveFor = time.Second

// Live tells whether anything was delivered to a connection here within the last second.
func (d *Delivery) Live() bool {
	return time.Since(d.began)-time.Duration(d.deliveredAt.Load()) < liveFor
}

// Recall takes over a record from before this node served anybody. Only invites are of interest.
func (d *Delivery) Recall(record port.Record) {
	if !record.ConcernsInvites() {
		return
	}
	if event, _, err := record.Open(); err == nil {
		d.judge(record, event)
	}
}

// Restart says that a partition of the log was made anew, and is read from an offset on. If connections may have missed something,
// call CloseAll before.
func (d *Delivery) Restart(partition int, next int64) {
	d.invites.Restart(partition)
	d.Verdicts.Restart(partition, next)
	d.Tokens.restart(partition)
	if d.Repeats != nil {
		d.Repeats.Restart(partition)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, r := range d.users {
		r.restart(partition)
	}
}

// CloseAll ends every connection: after a hole in the log nobody knows whom it concerned.
func (d *Delivery) CloseAll(reason port.CloseReason) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, r := range d.users {
		r.do(func() {
			for _, a := range r.attachments {
				a.conn.Close(reason)
			}
		})
	}
}
