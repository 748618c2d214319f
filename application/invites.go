package application

import (
	"sync"
	"time"

	"chatting/domain"
)

// Invites is what this node knows of game invites: what became of each according to the log, of all conversations, and
// which of them it has opened itself.
type Invites struct {
	mu         sync.Mutex
	partitions map[int]*domain.Invites
	// own holds what was opened here and, as far as this node knows, has not ended: those still on their way into the log,
	// too.
	own    map[domain.EventID]ownInvite
	opened int64 // how many it has opened
}

// ownInvite is an invite that this node opened.
type ownInvite struct {
	from, to domain.UserID
	room     domain.EventID
	expires  time.Time
	number   int64 // in the order of opening
}

// MaxPendingInvites bounds the pending invites of one user to another.
const MaxPendingInvites = 32

// NewInvites returns the state of an empty log.
func NewInvites() *Invites {
	return &Invites{partitions: make(map[int]*domain.Invites), own: make(map[domain.EventID]ownInvite)}
}

// Judge takes over the next record of a partition, stamped at: its records come in order. The verdict is the same on
// every node.
func (i *Invites) Judge(partition int, event domain.Event, at time.Time) domain.InviteVerdict {
	i.mu.Lock()
	defer i.mu.Unlock()
	invites := i.partitions[partition]
	if invites == nil {
		invites = domain.NewInvites()
		i.partitions[partition] = invites
	}
	verdict := invites.Apply(event, at)
	if body, ok := event.Body.(domain.GameInvite); ok && body.Status != domain.InviteOpened && verdict != domain.InviteVoid {
		if room, ok := domain.ParseEventID(string(body.Room)); ok {
			delete(i.own, room)
		}
	}
	return verdict
}

// opening notes an invite that is about to be appended by this node. False where its sender has too many pending.
func (i *Invites) opening(invite ownInvite) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	pending := 0
	i.eachPending(domain.Between(invite.from, invite.to), func(known domain.Invite) {
		if known.From == invite.from {
			pending++
		}
	})
	if pending >= MaxPendingInvites {
		return false
	}
	i.opened++
	invite.number = i.opened
	i.own[invite.room] = invite
	return true
}

// gaveUp notes that an own invite is not in the log.
func (i *Invites) gaveUp(room domain.EventID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.own, room)
}

// find returns the invite to a room; false where the log, as far as it is read, holds none.
func (i *Invites) find(between domain.Conversation, room domain.EventID) (domain.Invite, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, invites := range i.partitions {
		if invite, known := invites.Find(between, room); known {
			return invite, true
		}
	}
	return domain.Invite{}, false
}

// newest returns the room of sender's newest pending invite to target, one that is still on its way included.
func (i *Invites) newest(sender, target domain.UserID) (room domain.EventID, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var latest ownInvite
	note := func(invite ownInvite) {
		later := invite.expires.Compare(latest.expires)
		if !ok || later > 0 || later == 0 && invite.number > latest.number {
			room, latest, ok = invite.room, invite, true
		}
	}
	i.eachPending(domain.Between(sender, target), func(invite domain.Invite) {
		if invite.From == sender && invite.To == target {
			note(ownInvite{room: invite.Room, expires: invite.Expires})
		}
	})
	for _, invite := range i.own {
		if invite.from == sender && invite.to == target {
			note(invite)
		}
	}
	return room, ok
}

func (i *Invites) eachPending(between domain.Conversation, f func(domain.Invite)) {
	for _, invites := range i.partitions {
		for _, invite := range invites.Pending(between) {
			f(invite)
		}
	}
}

// due returns the pending invites that have expired by now, each with whether this node opened it, and forgets own ones
// that are long past.
func (i *Invites) due(now time.Time) (expired []dueInvite) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, invites := range i.partitions {
		invites.EachPending(func(invite domain.Invite) {
			if !now.Before(invite.Expires) {
				_, own := i.own[invite.Room]
				expired = append(expired, dueInvite{Invite: invite, own: own})
			}
		})
	}
	for room, invite := range i.own {
		if now.Sub(invite.expires) > domain.MaxInviteLife {
			delete(i.own, room)
		}
	}
	return expired
}

type dueInvite struct {
	domain.Invite
	own bool
}
