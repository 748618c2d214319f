package invites

import (
	"iter"
	"sync"
	"time"

	"chatting/domain"
)

// Register is what this node knows of game invites: what became of each by the log, and which ones it has opened itself.
type Register struct {
	mu         sync.Mutex
	partitions map[int]*domain.InviteRegister
	// own holds the invites that were opened here and have not ended, as far as this node knows, by direction and room. Some are
	// still on their way into the log.
	own    map[direction]map[domain.EventID]ownInvite
	opened int64 // how many it has opened
	// ends holds the latest endings that their senders named, by domain.InviteEndName; endNames is their order, a ring once
	// full.
	ends     map[domain.EventID]namedEnd
	endNames []domain.EventID
	nextEnd  int
}

// namedEnd is the first event in the log that its sender named so, as far as that took effect.
type namedEnd struct {
	id   domain.EventID
	room domain.RoomID // "" if it ended no invite
}

// maxNamedEnds bounds the endings that are remembered by their names. If an older one is sent again, an answer may be refused
// because the invite has ended, and a cancel may be a second one.
const maxNamedEnds = 1 << 14

// direction is who invites whom.
type direction struct{ from, to domain.UserID }

// ownInvite is an invite that this node opened.
type ownInvite struct {
	room    domain.EventID
	expires time.Time
	number  int64 // in the order of opening
}

// MaxPendingInvites bounds the pending invites of one user to another.
const MaxPendingInvites = 32

// NewRegister returns the state of an empty log.
func NewRegister() *Register {
	return &Register{
		partitions: make(map[int]*domain.InviteRegister), own: make(map[direction]map[domain.EventID]ownInvite),
		ends: make(map[domain.EventID]namedEnd),
	}
}

// Judge takes over the next record of a partition, stamped at: its records come in order. The verdict is the same on
// every node.
func (i *Register) Judge(partition int, event domain.Event, at time.Time) domain.InviteVerdict {
	i.mu.Lock()
	defer i.mu.Unlock()
	invites := i.partitions[partition]
	if invites == nil {
		invites = domain.NewInviteRegister()
		i.partitions[partition] = invites
	}
	verdict := invites.Apply(event, at)
	if body, ok := event.Body.(domain.GameInvite); ok && body.Status != domain.InviteOpened && verdict != domain.InviteVoid {
		if room, ok := domain.ParseEventID(string(body.Room)); ok {
			i.forget(direction{body.From, body.To}, room)
			i.forget(direction{body.To, body.From}, room)
		}
		i.noteEnd(event, body)
	}
	if body, ok := event.Body.(domain.GameInvite); ok {
		if room, ok := domain.ParseEventID(string(body.Room)); ok {
			invites.Learn(body.Conversation(), room, time.Now())
		}
	}
	return verdict
}

// noteEnd remembers an ending by its name.
func (i *Register) noteEnd(event domain.Event, body domain.GameInvite) {
	if event.ClientMessageID == "" {
		return
	}
	name := domain.InviteEndName(body.From, body.To, body.Status, event.ClientMessageID)
	if _, known := i.ends[name]; known {
		return
	}
	i.ends[name] = namedEnd{event.ID, body.Room}
	if len(i.endNames) < maxNamedEnds {
		i.endNames = append(i.endNames, name)
		return
	}
	delete(i.ends, i.endNames[i.nextEnd])
	i.endNames[i.nextEnd] = name
	i.nextEnd = (i.nextEnd + 1) % maxNamedEnds
}

// firstOf returns what the log has of an ending that its sender named; false if it has none, or that is not known here.
func (i *Register) firstOf(command Command) (namedEnd, bool) {
	if command.ClientMessageID == "" {
		return namedEnd{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	first, known := i.ends[command.endName()]
	return first, known
}

// Restart forgets what became of the invites of a partition whose log begins anew.
func (i *Register) Restart(partition int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.partitions, partition)
}

// forget takes an invite out of the own ones.
func (i *Register) forget(way direction, room domain.EventID) {
	if delete(i.own[way], room); len(i.own[way]) == 0 {
		delete(i.own, way)
	}
}

// opening notes an invite that this node is about to append, and returns when it expires. One that is sent again keeps its
// first end, so a node that has read only the second record judges alike. ok is false if its sender has too many pending ones,
// those on their way included.
func (i *Register) opening(way direction, invite ownInvite, now time.Time) (expires time.Time, isNew, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	between := domain.Between(way.from, way.to)
	if known, ok := i.findLocked(between, invite.room); ok && !isLongOver(known, now) {
		return known.Expires, false, true
	}
	if known, ok := i.own[way][invite.room]; ok {
		return known.expires, false, true
	}
	pending := 0
	i.eachPending(between, func(known domain.Invite) {
		if known.From == way.from {
			pending++
		}
	})
	for range i.underWay(way, now) {
		pending++
	}
	if pending >= MaxPendingInvites {
		return time.Time{}, false, false
	}
	i.opened++
	invite.number = i.opened
	if i.own[way] == nil {
		i.own[way] = make(map[domain.EventID]ownInvite)
	}
	i.own[way][invite.room] = invite
	return invite.expires, true, true
}

// namesKept is for how long after an invite has ended its sender's name for it names no other one.
const namesKept = 2 * time.Minute

// isLongOver tells whether what names an invite once more is a new one. The clock of the invite's node may be wrong, or this one's,
// so it asks how long ago this node learned of the end, too.
func isLongOver(known domain.Invite, now time.Time) bool {
	return known.Ended != "" && now.Sub(known.Expires) > domain.InviteGrace && time.Since(known.Learned) > namesKept
}

// underWay goes over the own invites that the log, as far as it is read, does not hold, and that have not expired since.
func (i *Register) underWay(way direction, now time.Time) iter.Seq[ownInvite] {
	return func(yield func(ownInvite) bool) {
		for room, invite := range i.own[way] {
			if !i.isPending(way, room) && now.Before(invite.expires) && !yield(invite) {
				return
			}
		}
	}
}

// isPending tells whether the log, as far as it is read, has the invite as pending.
func (i *Register) isPending(way direction, room domain.EventID) bool {
	known, read := i.findLocked(domain.Between(way.from, way.to), room)
	return read && known.Ended == ""
}

// gaveUp notes that an own invite is not in the log.
func (i *Register) gaveUp(way direction, room domain.EventID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forget(way, room)
}

// find returns the invite to a room; false if the log, as far as it is read, holds none.
func (i *Register) find(between domain.Conversation, room domain.EventID) (domain.Invite, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.findLocked(between, room)
}

func (i *Register) findLocked(between domain.Conversation, room domain.EventID) (domain.Invite, bool) {
	for _, invites := range i.partitions {
		if invite, known := invites.Find(between, room); known {
			return invite, true
		}
	}
	return domain.Invite{}, false
}

// pendingOf returns the pending invites from a user and to it, as far as the log is read.
func (i *Register) pendingOf(user domain.UserID) (pending []domain.Invite) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, invites := range i.partitions {
		pending = append(pending, invites.PendingOf(user)...)
	}
	return pending
}

// again returns what became of an invite since it was returned. One that is forgotten has ended.
func (i *Register) again(invite domain.Invite) domain.Invite {
	known, ok := i.find(domain.Between(invite.From, invite.To), invite.Room)
	if !ok {
		invite.Ended = domain.InviteExpired
		return invite
	}
	return known
}

// newest returns the room of sender's newest pending invite to target, one that is still on its way included.
func (i *Register) newest(sender, target domain.UserID, now time.Time) (room domain.EventID, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var latest ownInvite
	note := func(invite ownInvite) {
		later := invite.expires.Compare(latest.expires)
		if later > 0 || later == 0 && invite.number > latest.number {
			room, latest, ok = invite.room, invite, true
		}
	}
	i.eachPending(domain.Between(sender, target), func(invite domain.Invite) {
		if invite.From == sender {
			note(ownInvite{room: invite.Room, expires: invite.Expires, number: i.own[direction{sender, target}][invite.Room].number})
		}
	})
	for invite := range i.underWay(direction{sender, target}, now) {
		note(invite)
	}
	return room, ok
}

func (i *Register) eachPending(between domain.Conversation, f func(domain.Invite)) {
	for _, invites := range i.partitions {
		for _, invite := range invites.Pending(between) {
			f(invite)
		}
	}
}

// eachPendingInvite calls f with every pending invite, and with whether this node opened it. f must not call back.
func (i *Register) eachPendingInvite(f func(invite domain.Invite, own bool)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, invites := range i.partitions {
		invites.EachPending(func(invite domain.Invite) {
			_, own := i.own[direction{invite.From, invite.To}][invite.Room]
			f(invite, own)
		})
	}
}

// forgetOwn forgets own invites that never came into the log and are long past. Those that are pending stay: clocks may be wrong.
func (i *Register) forgetOwn(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for way, invites := range i.own {
		for room, invite := range invites {
			if !i.isPending(way, room) && now.Sub(invite.expires) > domain.MaxInviteLife {
				i.forget(way, room)
			}
		}
	}
}
