package domain

import (
	"slices"
	"time"
)

// InviteVerdict is the decision on a record of the log: whether it happened, and who sees it.
type InviteVerdict int

// The verdicts.
const (
	// InviteStands: the event happened, and both sides see it. So does everything that is not about an invite.
	InviteStands InviteVerdict = iota
	// InviteVoid: the event did not happen and nobody sees it: the invite has ended, or is none of the actor's.
	InviteVoid
	// InviteUnseen: the event happened, and the invited does not see it, because it has not seen the invite.
	InviteUnseen
)

// Invite is an invite that the log holds.
type Invite struct {
	From, To UserID
	Room     EventID
	Opened   EventID   // the event that opened it
	At       time.Time // of that event
	Expires  time.Time // when it ends by itself, by the clock of the node that opened it
	// Ended is how it ended, "" while it is pending, and EndedBy the event that did it.
	Ended   InviteStatus
	EndedBy EventID
	// Unseen tells that the invited has blocked or unblocked the inviter meanwhile: the invite is out of its sight, and it
	// can no longer answer.
	Unseen bool
	// Learned is when the reader learned of the opening or, once it has ended, of the end: see InviteRegister.Learn.
	Learned time.Time

	// again is until when a record repeats the opening or the end.
	again time.Time
}

// InviteRegister is what became of the invites of one partition of the conversation log, as every node that reads it in order
// derives it: the first record that ends an invite wins, and what comes later is void. The verdict on a record depends on
// the log alone: on the records before it, and on their times, not on when it is read.
//
// An invite is pending until a record ends it, whatever the times of records say: one node with a wrong clock must not end what
// others have under way. Nodes see to it that every invite gets its end. Times only tell what is said again from what is
// new: what opened or ended an invite is repeated at most until InviteGrace past the end that it named. So a reader that
// began InviteLookback before a record judges it as those that read everything, unless the log took no records for minutes: of
// an invite from before its beginning it knows nothing, and takes a late end for void.
//
// What has ended is forgotten by the clock of the log, which no minority of wrong clocks drives ahead: it is the latest time that
// clockRecords records in a row have all reached. Behind a clock that is late it is late, too. It is not safe for concurrent use.
type InviteRegister struct {
	clock time.Time
	// latest are the times of the last clockRecords records about invites and blocks, a ring.
	latest  [clockRecords]time.Time
	read    int // how many there were
	rooms   map[roomKey]*Invite
	pending map[Conversation][]*Invite // oldest first
	// pendingWith holds the conversations of each user that have pending invites.
	pendingWith map[UserID]map[Conversation]struct{}
	// order holds the invites by their inviters, so that they can be forgotten; those that have ended, too.
	order *fairQueue[*Invite]
	// changes holds the changes of blocks that were read lately, by their blockers, and known tells until when a record repeats
	// one: one that is written again, as outboxes do after a doubt, is none.
	changes *fairQueue[changeRead]
	known   map[EventID]time.Time
}

// changeRead is a change of a block that was read, and until when a record repeats it.
type changeRead struct {
	id    EventID
	again time.Time
}

// clockRecords is of how many records in a row all have to be so late that the log's clock is. A third of the nodes, with clocks
// that are ahead, writes so many in a row once in forty million times.
const clockRecords = 16

// roomKey is a room in its conversation: a room of the same name in another one has nothing to do with it.
type roomKey struct {
	between Conversation
	room    EventID
}

// changesKnownFor is for how long a change of a block is not taken for a new one when it is written again. What it does to an
// invite so depends on the log from so long before the invite on.
const changesKnownFor = 2 * time.Minute

// InviteLookback is how much of the log before its first verdict a reader has to have read: the longest life, what is
// granted beyond it, for how long changes of blocks are known before it, and something for clocks that differ and records
// that were late.
const InviteLookback = MaxInviteLife + InviteGrace + changesKnownFor + 90*time.Second

// maxInvitesOfUser and maxInvites bound the invites that are remembered, and the changes of blocks. The oldest is forgotten
// above a bound, whatever its time says. A user who makes too many loses its own ones. Those of others are lost only if so
// many users flood one partition at once, each up to maxInvitesOfUser, that together they reach maxInvites.
const (
	maxInvitesOfUser = 1 << 8
	maxInvites       = 1 << 16
)

// NewInviteRegister returns the state of an empty partition.
func NewInviteRegister() *InviteRegister {
	return &InviteRegister{
		rooms: make(map[roomKey]*Invite), pending: make(map[Conversation][]*Invite), known: make(map[EventID]time.Time),
		pendingWith: make(map[UserID]map[Conversation]struct{}),
		order:       newFairQueue[*Invite](maxInvitesOfUser, maxInvites), changes: newFairQueue[changeRead](maxInvitesOfUser, maxInvites),
	}
}

// Apply takes over the next event, whose record is stamped at, and judges it. Events that are about no invite and no block
// change nothing and may be left out.
func (i *InviteRegister) Apply(event Event, at time.Time) InviteVerdict {
	switch body := event.Body.(type) {
	case GameInvite:
		i.advance(at)
		room, ok := ParseEventID(string(body.Room))
		switch {
		case !ok && (body.Status == InviteOpened || body.Status == InviteCancelled && body.Room == ""):
			return InviteStands
		case !ok:
			return InviteVoid
		case body.Status == InviteOpened:
			return i.open(event, body, room, at)
		default:
			return i.end(event, body, room, at)
		}
	case BlockChanged:
		i.advance(at)
		if !i.noteChange(body.Blocker, event.ID, at) {
			return InviteStands
		}
		for _, invite := range i.pending[body.Conversation()] {
			if invite.From == body.Target {
				invite.Unseen = true
			}
		}
	}
	return InviteStands
}

// noteChange notes a change of a block by blocker, whose record is stamped at; false for one that was read lately.
func (i *InviteRegister) noteChange(blocker UserID, change EventID, at time.Time) bool {
	if again, known := i.known[change]; known && !later(at, i.clock).After(again) {
		return false
	}
	read := changeRead{change, later(at, i.clock).Add(changesKnownFor)}
	i.known[change] = read.again
	i.changes.add(blocker, read, i.dropChange)
	return true
}

// dropChange forgets a change of a block, unless it was read once more since.
func (i *InviteRegister) dropChange(read changeRead) {
	if i.known[read.id].Equal(read.again) {
		delete(i.known, read.id)
	}
}

// later returns the later of two times: a record whose node's clock is late was written after those before it.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (i *InviteRegister) open(event Event, body GameInvite, room EventID, at time.Time) InviteVerdict {
	key := roomKey{body.Conversation(), room}
	if known := i.find(key); known != nil && (known.Ended == "" || !body.end(event.Time).After(known.again)) {
		// The same event again, which its sender repeated, is what it was. What repeats it names the same end.
		if known.Opened == event.ID && known.From == body.From {
			return InviteStands
		}
		return InviteVoid
	}
	life := body.life(event.Time)
	invite := &Invite{
		From: body.From, To: body.To, Room: room, Opened: event.ID, At: event.Time, Expires: event.Time.Add(life),
		again: later(at, i.clock).Add(life + InviteGrace),
	}
	i.rooms[key] = invite
	i.pending[key.between] = append(i.pending[key.between], invite)
	i.notePending(invite.From, key.between)
	i.notePending(invite.To, key.between)
	i.order.add(invite.From, invite, i.drop)
	return InviteStands
}

func (i *InviteRegister) end(event Event, body GameInvite, room EventID, at time.Time) InviteVerdict {
	invite := i.find(roomKey{body.Conversation(), room})
	if invite == nil || !invite.allows(body) {
		return InviteVoid
	}
	answer := body.Status == InviteAccepted || body.Status == InviteDeclined
	switch {
	case invite.Ended != "":
		// As with opening: what a client repeats is what it was. Nodes repeat only the expiry.
		if body.Status != InviteExpired && invite.Ended == body.Status && invite.EndedBy == event.ID && !at.After(invite.again) {
			return InviteStands
		}
		return InviteVoid
	case answer && invite.Unseen:
		return InviteVoid
	}
	invite.Ended, invite.EndedBy, invite.Learned = body.Status, event.ID, time.Time{}
	i.settle(invite)
	if body.Status == InviteExpired && invite.Unseen {
		return InviteUnseen
	}
	return InviteStands
}

// Learn notes, by the reader's own clock, when it learned of an invite's opening or, once it has ended, of its end. What was noted
// before stays. No verdict depends on it.
func (i *InviteRegister) Learn(between Conversation, room EventID, now time.Time) {
	if invite := i.find(roomKey{between, room}); invite != nil && invite.Learned.IsZero() {
		invite.Learned = now
	}
}

// Event returns the event that opened the invite, with the end that counts.
func (v *Invite) Event() Event {
	return Event{ID: v.Opened, Time: v.At, Body: GameInvite{
		From: v.From, To: v.To, Status: InviteOpened, Room: RoomID(v.Room.String()), Expires: v.Expires,
	}}
}

// allows tells whether the one who acts, in the conversation of the invite, may end it so.
func (v *Invite) allows(body GameInvite) bool {
	if body.Status == InviteAccepted || body.Status == InviteDeclined {
		return body.From == v.To
	}
	return body.From == v.From
}

// Find returns the invite to a room, pending or ended; false for one that the log does not hold or has forgotten.
func (i *InviteRegister) Find(between Conversation, room EventID) (Invite, bool) {
	if invite := i.find(roomKey{between, room}); invite != nil {
		return *invite, true
	}
	return Invite{}, false
}

// Pending returns the pending invites of a conversation, both ways, oldest first.
func (i *InviteRegister) Pending(between Conversation) []Invite {
	var pending []Invite
	for _, invite := range i.pending[between] {
		pending = append(pending, *invite)
	}
	return pending
}

// PendingOf returns the pending invites from a user and to it, in no order.
func (i *InviteRegister) PendingOf(user UserID) []Invite {
	var pending []Invite
	for between := range i.pendingWith[user] {
		pending = append(pending, i.Pending(between)...)
	}
	return pending
}

// EachPending calls f with every pending invite.
func (i *InviteRegister) EachPending(f func(Invite)) {
	for _, pending := range i.pending {
		for _, invite := range pending {
			f(*invite)
		}
	}
}

func (i *InviteRegister) find(key roomKey) *Invite {
	invite := i.rooms[key]
	if invite == nil || i.isForgotten(invite) {
		return nil
	}
	return invite
}

// advance takes over the time of a record, and forgets what the log's clock, which never goes back, has left behind.
func (i *InviteRegister) advance(at time.Time) {
	i.latest[i.read%clockRecords] = at
	if i.read++; i.read < clockRecords {
		return
	}
	i.clock = later(slices.MinFunc(i.latest[:], time.Time.Compare), i.clock)
	for change, ok := i.changes.oldest(); ok && i.clock.After(change.again); change, ok = i.changes.oldest() {
		i.dropChange(change)
		i.changes.removeOldest()
	}
	for invite, ok := i.order.oldest(); ok && i.isForgotten(invite); invite, ok = i.order.oldest() {
		i.drop(invite)
		i.order.removeOldest()
	}
}

// isForgotten tells whether an invite has ended, and nothing repeats it any more.
func (i *InviteRegister) isForgotten(invite *Invite) bool {
	return invite.Ended != "" && i.clock.After(invite.again)
}

// drop takes an invite out of the rooms, unless another one has its place.
func (i *InviteRegister) drop(invite *Invite) {
	key := roomKey{Between(invite.From, invite.To), invite.Room}
	if i.rooms[key] == invite {
		delete(i.rooms, key)
	}
	i.settle(invite)
}

// notePending notes that a conversation of the user has a pending invite.
func (i *InviteRegister) notePending(user UserID, between Conversation) {
	if i.pendingWith[user] == nil {
		i.pendingWith[user] = make(map[Conversation]struct{})
	}
	i.pendingWith[user][between] = struct{}{}
}

// noteNonePending notes that a conversation of the user has none any more.
func (i *InviteRegister) noteNonePending(user UserID, between Conversation) {
	if delete(i.pendingWith[user], between); len(i.pendingWith[user]) == 0 {
		delete(i.pendingWith, user)
	}
}

// settle takes an invite out of the pending ones.
func (i *InviteRegister) settle(invite *Invite) {
	between := Between(invite.From, invite.To)
	pending := i.pending[between]
	at := slices.Index(pending, invite)
	switch {
	case at < 0:
	case len(pending) == 1:
		delete(i.pending, between)
		i.noteNonePending(invite.From, between)
		i.noteNonePending(invite.To, between)
	default:
		i.pending[between] = slices.Delete(pending, at, at+1)
	}
}
