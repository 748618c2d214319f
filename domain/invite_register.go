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

	forgotten time.Time // by the clock of the log: after it the invite counts as never made
}

// InviteRegister is what became of the invites of one partition of the conversation log, as every node that reads it in order
// derives it: the first record that ends an invite wins, and what comes later is void. The verdict on a record depends on
// the log alone: on the records before it, and on their times, not on when it is read.
//
// Time is that of the log, the latest of the records about invites and blocks so far. An invite is forgotten once the log is
// InviteGrace past its end, which is at most MaxInviteLife past its opening; so a reader that began InviteLookback
// before a record judges it as those that read everything. It is not safe for concurrent use.
type InviteRegister struct {
	clock   time.Time
	rooms   map[roomKey]*Invite
	pending map[Conversation][]*Invite // oldest first
	// pendingWith holds the conversations of each user that have pending invites.
	pendingWith map[UserID]map[Conversation]struct{}
	// order holds the invites by their inviters, so that they can be forgotten; those that have ended, too.
	order *fairQueue[*Invite]
	// changes holds the changes of blocks that were read lately, by their blockers, and known tells which: one that is written
	// again, as outboxes do after a doubt, is none.
	changes *fairQueue[changeRead]
	known   map[EventID]struct{}
}

// changeRead is a change of a block that was read, and when that is forgotten.
type changeRead struct {
	id        EventID
	forgotten time.Time
}

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
		rooms: make(map[roomKey]*Invite), pending: make(map[Conversation][]*Invite), known: make(map[EventID]struct{}),
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
			return i.open(event, body, room)
		default:
			return i.end(event, body, room)
		}
	case BlockChanged:
		i.advance(at)
		if !i.noteChange(body.Blocker, event.ID) {
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

// noteChange notes a change of a block by blocker; false for one that was read lately.
func (i *InviteRegister) noteChange(blocker UserID, change EventID) bool {
	if _, known := i.known[change]; known {
		return false
	}
	i.known[change] = struct{}{}
	i.changes.add(blocker, changeRead{change, i.clock.Add(changesKnownFor)}, func(old changeRead) { delete(i.known, old.id) })
	return true
}

func (i *InviteRegister) open(event Event, body GameInvite, room EventID) InviteVerdict {
	key := roomKey{body.Conversation(), room}
	if known := i.find(key); known != nil {
		// The same event again, which its sender repeated, is what it was.
		if known.Opened == event.ID && known.From == body.From {
			return InviteStands
		}
		return InviteVoid
	}
	life := body.life(event.Time)
	invite := &Invite{
		From: body.From, To: body.To, Room: room, Opened: event.ID, At: event.Time, Expires: event.Time.Add(life),
		forgotten: i.clock.Add(life + InviteGrace),
	}
	i.rooms[key] = invite
	i.pending[key.between] = append(i.pending[key.between], invite)
	i.notePending(invite.From, key.between)
	i.notePending(invite.To, key.between)
	i.order.add(invite.From, invite, i.drop)
	return InviteStands
}

func (i *InviteRegister) end(event Event, body GameInvite, room EventID) InviteVerdict {
	invite := i.find(roomKey{body.Conversation(), room})
	if invite == nil || !invite.allows(body) {
		return InviteVoid
	}
	answer := body.Status == InviteAccepted || body.Status == InviteDeclined
	switch {
	case invite.Ended != "":
		// As with opening: what a client repeats is what it was. Nodes repeat only the expiry.
		if body.Status != InviteExpired && invite.Ended == body.Status && invite.EndedBy == event.ID {
			return InviteStands
		}
		return InviteVoid
	case answer && invite.Unseen:
		return InviteVoid
	}
	invite.Ended, invite.EndedBy = body.Status, event.ID
	i.settle(invite)
	if body.Status == InviteExpired && invite.Unseen {
		return InviteUnseen
	}
	return InviteStands
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
		if !i.isForgotten(invite) {
			pending = append(pending, *invite)
		}
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
			if !i.isForgotten(invite) {
				f(*invite)
			}
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

func (i *InviteRegister) isForgotten(invite *Invite) bool { return i.clock.After(invite.forgotten) }

// advance moves the log's time, never back.
func (i *InviteRegister) advance(at time.Time) {
	if at.After(i.clock) {
		i.clock = at
	}
	i.forget()
}

// forget drops the invites at the head of the order that are forgotten; the changes of blocks alike.
func (i *InviteRegister) forget() {
	for change, ok := i.changes.oldest(); ok && i.clock.After(change.forgotten); change, ok = i.changes.oldest() {
		delete(i.known, change.id)
		i.changes.removeOldest()
	}
	for invite, ok := i.order.oldest(); ok && i.isForgotten(invite); invite, ok = i.order.oldest() {
		i.drop(invite)
		i.order.removeOldest()
	}
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
