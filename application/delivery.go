package application

import (
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// Position is the place of a record in the conversation log.
type Position struct {
	Partition int
	Offset    int64
}

// Record is one record of the conversation log as the tail hands it over: its place and key at once, its value only for
// whoever has a receiver here.
type Record interface {
	InviteRecord
	Position() Position
	Conversation() domain.Conversation
	// Open checks the envelope and returns the event and the frame that clients get of it (nil for events that clients
	// do not see). An error means that the record is not one of ours, or harmful: it is counted and skipped.
	Open() (event domain.Event, frame []byte, err error)
}

// InviteRecord is what of a record decides about invites.
type InviteRecord interface {
	// Time is the record's own.
	Time() time.Time
	// ConcernsInvites tells, at little cost, whether the record may be about an invite, or a block that decides what of one
	// is seen.
	ConcernsInvites() bool
}

// RecordReader is told which events this node has read. *Echoes is one.
type RecordReader interface {
	// Read says that the event was applied: its actor's connections have what they get of it. outcome is for whoever waits
	// for it: nil, or why it takes no effect.
	Read(id domain.EventID, outcome error)
}

// InviteJudge says what the log comes to about invites. *Invites is one.
type InviteJudge interface {
	// Judge takes over the next event of a partition and says whether it happened. Events that Record.ConcernsInvites is
	// true of have to be told, in order.
	Judge(partition int, event domain.Event, at time.Time) domain.InviteVerdict
	// Restart forgets what stood in a partition, which begins anew.
	Restart(partition int)
}

// Delivery hands the records of the log to the connections of this node. It decides who sees what: both sides of a
// conversation see its events, save what the receiver had blocked by then; nobody sees one event twice on a connection.
//
// Apply is called by one goroutine, the tail; Attach and what follows it by many.
type Delivery struct {
	// Versions is asked whether a change of a block in the log is real: then Run has to run. nil: every change is believed.
	Versions BlockVersions

	reader  RecordReader
	invites InviteJudge
	notices *Notices
	doubts  chan *blockDoubt

	mu    sync.RWMutex
	users map[domain.UserID]*recipient
}

// recipient is what the node keeps for a user with at least one connection here.
type recipient struct {
	delivery *Delivery
	user     domain.UserID

	mu          sync.Mutex
	attachments []*Attachment
	seen        seenEvents
	// doubts are the conversations in which a change of a block is not confirmed, by the other user.
	doubts map[domain.UserID]*blockDoubt
}

// Attachment is a connection's place in delivery.
type Attachment struct {
	delivery *Delivery
	user     domain.UserID
	conn     Connection

	// What follows is guarded by the recipient's lock.

	// blocks is the user's list as of the last record applied: what the log said since Attach and, from Activate on, what
	// the database said. Each connection has its own: two logins load at different times while the tail is behind both, and
	// the newer list must not judge what is still to come for the older login.
	blocks domain.BlockList
	from   []int64 // first offset to serve, a partition; nil before Activate
	// replayEnd is up to where the replay goes, a partition: not past from. nil if nothing is replayed.
	replayEnd []int64
	released  bool
	ended     bool // the connection is closing, and gets nothing more
	held      []heldFrame
	waiting   int // bytes of held, where messages are not stored
	// stored is nil where messages to users who are offline are not stored.
	stored *storedDelivery
}

// heldFrame is a frame that waits until its connection's login is answered.
type heldFrame struct {
	id domain.EventID
	at Position
	// earlier is where the same event stood before.
	earlier []Position
	sender  domain.UserID
	// hidden is what was known of sender by this record, and known the version of that: where the database's list, which is
	// loaded meanwhile, is newer, it decides instead.
	hidden bool
	known  int64
	frame  []byte
	echoOf domain.ClientMessageID
	// kept tells that the event would have been stored for its receiver.
	kept bool
}

// maxHeld bounds the frames that wait for the end of a login, beside maxHeldBytes. A connection that exceeds it is closed as slow.
const maxHeld = 1024

// NewDelivery returns a delivery without connections. reader is told of each record that has a receiver here, and
// invites of all that concern it. notices take the log lines about records, of which one batch may hold very many.
func NewDelivery(reader RecordReader, invites InviteJudge, notices *Notices) *Delivery {
	return &Delivery{
		reader: reader, invites: invites, notices: notices, doubts: make(chan *blockDoubt, maxDoubts),
		users: make(map[domain.UserID]*recipient),
	}
}

// Attach makes the connection known to delivery: from now on the user's block records are followed and its frames held.
// The caller loads the user's blocks, then notes the end offsets of the log, and calls Activate and Release; or Detach.
// That order makes every record be judged by the state of its own place (invariant 3).
func (d *Delivery) Attach(user domain.UserID, conn Connection) *Attachment {
	attachment := &Attachment{delivery: d, user: user, conn: conn}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.users[user]
	if r == nil {
		r = &recipient{delivery: d, user: user}
		d.users[user] = r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attachments = append(r.attachments, attachment)
	return attachment
}

// replays names, for each partition, the offset up to which the connection gets a replay. It is called before Activate. What
// stands from there to where the connection is served could not be read at the time of the login; the connection cannot
// be shown it in its place, and is closed when it comes, so that the next login replays it.
func (a *Attachment) replays(upTo []int64) {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.replayEnd = upTo
}

// misses tells whether the frame is neither for the replay nor served.
func (a *Attachment) misses(h heldFrame) bool {
	return a.from != nil && h.at.Partition < len(a.replayEnd) && h.at.Offset >= a.replayEnd[h.at.Partition] && !a.covers(h.at)
}

// Activate names the blocks that the database held and, after that, the first offset of each partition to serve.
func (a *Attachment) Activate(blocks []BlockEntry, from []int64) {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.from = from
	stored := make(map[domain.UserID]BlockEntry, len(blocks))
	for _, entry := range blocks {
		stored[entry.Target] = entry
		a.blocks.Apply(entry.Target, entry.Blocked, entry.Version)
	}
	a.held = slices.DeleteFunc(a.held, func(h heldFrame) bool {
		hidden := h.hidden
		if entry := stored[h.sender]; entry.Version > h.known {
			hidden = entry.Blocked
		}
		if a.misses(h) {
			a.conn.Close(CloseHole)
		}
		return hidden || !a.serves(h)
	})
}

// Release hands over what was held; from now on frames go straight to the connection. Call it after LoggedIn.
func (a *Attachment) Release() {
	r := a.delivery.recipient(a.user)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range a.held {
		a.hand(h)
	}
	a.held = nil
	a.released = true
}

// Detach ends the connection's delivery. It may be called at any time after Attach, and again.
func (a *Attachment) Detach() {
	d := a.delivery
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.users[a.user]
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attachments = slices.DeleteFunc(r.attachments, func(other *Attachment) bool { return other == a })
	if len(r.attachments) == 0 {
		delete(d.users, a.user)
	}
}

// Apply delivers the next record of the log. Records of one partition come in their order.
func (d *Delivery) Apply(record Record) {
	conversation := record.Conversation()
	d.mu.RLock()
	low, high := d.users[conversation.Low()], d.users[conversation.High()]
	d.mu.RUnlock()
	here := low != nil || high != nil
	if !here && !record.ConcernsInvites() {
		return
	}
	event, frame, err := record.Open()
	if err != nil {
		if here {
			position := record.Position()
			d.notices.Warn("skipped a record of the conversation log that is not ours to show",
				slog.Int("partition", position.Partition), slog.Int64("offset", position.Offset), slog.Any("error", err))
		}
		return
	}
	verdict := d.invites.Judge(record.Position().Partition, event, record.Time())
	if verdict == domain.InviteVoid {
		d.reader.Read(event.ID, errInviteEnded)
		return
	}
	sees := func(user domain.UserID) bool { return verdict != domain.InviteUnseen || user == event.Body.Actor() }
	if high != nil && sees(conversation.High()) {
		high.apply(record.Position(), conversation.Low(), event, frame)
	}
	if low != nil && low != high && sees(conversation.Low()) {
		low.apply(record.Position(), conversation.High(), event, frame)
	}
	d.reader.Read(event.ID, nil)
}

// Recall takes over a record from before this node served anybody: only what becomes of invites is of interest.
func (d *Delivery) Recall(record Record) {
	if !record.ConcernsInvites() {
		return
	}
	if event, _, err := record.Open(); err == nil {
		d.invites.Judge(record.Position().Partition, event, record.Time())
	}
}

// Restart tells that a partition of the log begins anew, without what stood there. Who may have missed something is for
// CloseAll to tell.
func (d *Delivery) Restart(partition int) { d.invites.Restart(partition) }

// CloseAll ends every connection: after a hole in the log, whom it concerned is not known.
func (d *Delivery) CloseAll(reason CloseReason) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, r := range d.users {
		r.mu.Lock()
		for _, a := range r.attachments {
			a.conn.Close(reason)
		}
		r.mu.Unlock()
	}
}

func (d *Delivery) recipient(user domain.UserID) *recipient {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

// apply shows an event of the conversation with other to the user's connections, or takes over the block that it reports:
// at once, or in its turn behind a change that is not confirmed.
func (r *recipient) apply(at Position, other domain.UserID, event domain.Event, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change, isChange := event.Body.(domain.BlockChanged)
	doubt := r.doubts[other]
	switch {
	case isChange && change.Blocker != r.user:
	case doubt != nil:
		doubt.addLocked(at, event, frame)
	case !isChange:
		r.show(at, event, frame)
	case r.delivery.Versions == nil:
		r.take(change)
	case r.isNews(change):
		r.doubt(at, event, change)
	}
}

// show shows an event to the user's connections.
func (r *recipient) show(at Position, event domain.Event, frame []byte) {
	if frame == nil {
		return
	}
	sender := event.Body.Actor()
	h := heldFrame{id: event.ID, at: at, sender: sender, frame: frame, kept: isKept(event.Body)}
	// Only an event that its sender named can be in the log twice, and what the platform says: its requests may be
	// repeated under one id.
	if event.ClientMessageID != "" || sender == domain.System {
		h.earlier = r.seen.note(event.ID, at)
	}
	if sender == r.user {
		h.echoOf = event.ClientMessageID
	}
	invite, _ := event.Body.(domain.GameInvite)
	for _, a := range r.attachments {
		// Clients of the original server know nothing of how an invite may end.
		if !invite.Status.IsNew() || a.conn.Has(FeatureInvites) {
			a.show(h)
		}
	}
}

// serves tells whether the frame is one for this connection: its record stands at or past the offsets noted at login, and
// no earlier record of the same event does. Before Activate that is not known: the frame may be.
func (a *Attachment) serves(h heldFrame) bool {
	return a.from == nil || (a.covers(h.at) && !slices.ContainsFunc(h.earlier, a.covers))
}

func (a *Attachment) covers(at Position) bool {
	return at.Partition < len(a.from) && at.Offset >= a.from[at.Partition]
}

// show hands the frame over, or holds it while the login is not answered.
func (a *Attachment) show(h heldFrame) {
	h.known = math.MaxInt64 // nobody hides from itself
	if h.sender != a.user {
		h.hidden, h.known = a.blocks.Hides(h.sender), a.blocks.Version(h.sender)
	}
	switch {
	case a.ended:
	case a.misses(h):
		a.conn.Close(CloseHole)
	case h.hidden && a.from != nil, !a.serves(h):
	case a.released:
		a.hand(h)
	case !a.holds(h):
		a.conn.Close(CloseSlow)
	default:
		a.held = append(a.held, h)
	}
}

// hand gives a frame to the connection.
func (a *Attachment) hand(h heldFrame) {
	switch {
	case a.stored == nil || !h.kept || h.sender == a.user:
		a.conn.Deliver(h.frame, h.echoOf)
	case !a.stored.hadBefore(h.id):
		a.conn.DeliverAt(h.frame, h.at)
	}
}

// holds tells whether there is room to hold one more.
func (a *Attachment) holds(h heldFrame) bool {
	if a.stored != nil {
		return a.stored.holds(h)
	}
	a.waiting += len(h.frame)
	return len(a.held) < maxHeld && a.waiting <= maxHeldBytes
}
