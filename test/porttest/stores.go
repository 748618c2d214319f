package porttest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"chatting/application/blocks"
	"chatting/domain"
)

// OnlineSet has the users who are online: everybody, nobody, or some.
type OnlineSet map[domain.UserID]bool

func (o OnlineSet) Online(user domain.UserID) bool { return o[user] }

// Users is a port.KnownUsers.
type Users struct {
	Mu   sync.Mutex
	Seen map[domain.UserID]bool
	Err  error
}

func (u *Users) Fail(err error) {
	u.Mu.Lock()
	defer u.Mu.Unlock()
	u.Err = err
}

func (u *Users) Remember(_ context.Context, user domain.UserID) error {
	u.Mu.Lock()
	defer u.Mu.Unlock()
	if u.Err != nil {
		return u.Err
	}
	if u.Seen == nil {
		u.Seen = make(map[domain.UserID]bool)
	}
	u.Seen[user] = true
	return nil
}

func (u *Users) Known(_ context.Context, user domain.UserID) (bool, error) {
	u.Mu.Lock()
	defer u.Mu.Unlock()
	return u.Seen[user], u.Err
}

// Pair is a directed pair of users.
type Pair struct{ Blocker, Target domain.UserID }

// BlockStore is a blocks.Store.
type BlockStore struct {
	Mu      sync.Mutex
	Entries map[Pair]blocks.Entry
	Outbox  []domain.Event
	Err     error // of every call
	Marking error // of MarkPublished
}

func NewBlockStore() *BlockStore { return &BlockStore{Entries: make(map[Pair]blocks.Entry)} }

func (s *BlockStore) SetBlocked(_ context.Context, change blocks.Change) (bool, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	key := Pair{change.Blocker, change.Target}
	entry := s.Entries[key]
	if s.Err != nil || entry.Blocked == change.Blocked {
		return false, s.Err
	}
	entry = blocks.Entry{Target: change.Target, Blocked: change.Blocked, Version: entry.Version + 1}
	s.Entries[key] = entry
	event := domain.Event{ID: domain.BlockEventID(nil, change.Blocker, change.Target, entry.Version), Time: change.At}
	event.Body = domain.BlockChanged{Blocker: change.Blocker, Target: change.Target, Blocked: change.Blocked, Version: entry.Version}
	s.Outbox = append(s.Outbox, event)
	return true, nil
}

func (s *BlockStore) Blocks(_ context.Context, blocker domain.UserID) ([]blocks.Entry, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var entries []blocks.Entry
	for key, entry := range s.Entries {
		if key.Blocker == blocker {
			entry.Pending = slices.ContainsFunc(s.Outbox, func(event domain.Event) bool {
				change := event.Body.(domain.BlockChanged)
				return change.Blocker == key.Blocker && change.Target == key.Target
			})
			entries = append(entries, entry)
		}
	}
	slices.SortFunc(entries, func(a, b blocks.Entry) int { return int(a.Target - b.Target) })
	return entries, s.Err
}

func (s *BlockStore) IsBlocked(_ context.Context, blocker, target domain.UserID) (bool, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Entries[Pair{blocker, target}].Blocked, s.Err
}

func (s *BlockStore) PendingOf(_ context.Context, blocker, target domain.UserID) ([]domain.Event, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var events []domain.Event
	for _, event := range s.Outbox {
		if change := event.Body.(domain.BlockChanged); change.Blocker == blocker && change.Target == target {
			events = append(events, event)
		}
	}
	return events, s.Err
}

func (s *BlockStore) Pending(_ context.Context, before time.Time, limit int) ([]domain.Event, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var events []domain.Event
	for _, event := range s.Outbox {
		if event.Time.Before(before) && len(events) < limit {
			events = append(events, event)
		}
	}
	return events, s.Err
}

func (s *BlockStore) MarkPublished(_ context.Context, ids []domain.EventID) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.Marking != nil {
		return s.Marking
	}
	s.Outbox = slices.DeleteFunc(s.Outbox, func(event domain.Event) bool { return slices.Contains(ids, event.ID) })
	return s.Err
}

// FriendStore is a presence.FriendStore. Before, where set, is called before each list is read.
type FriendStore struct {
	Mu     sync.Mutex
	lists  map[domain.UserID][]domain.UserID
	err    error
	Before func(user domain.UserID)
}

func (s *FriendStore) Set(user domain.UserID, friends ...domain.UserID) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.lists == nil {
		s.lists = make(map[domain.UserID][]domain.UserID)
	}
	s.lists[user] = friends
}

func (s *FriendStore) Fail(err error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.err = err
}

func (s *FriendStore) Friends(_ context.Context, user domain.UserID) ([]domain.UserID, error) {
	s.Mu.Lock()
	before := s.Before
	s.Mu.Unlock()
	if before != nil {
		before(user)
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return slices.Clone(s.lists[user]), s.err
}

func (s *FriendStore) AddFriend(_ context.Context, user, friend domain.UserID, limit int) (bool, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.err != nil || slices.Contains(s.lists[user], friend) {
		return false, s.err
	}
	if len(s.lists[user]) >= limit {
		return false, domain.NewError(domain.CodeLimit, "full")
	}
	if s.lists == nil {
		s.lists = make(map[domain.UserID][]domain.UserID)
	}
	s.lists[user] = append(s.lists[user], friend)
	return true, nil
}

func (s *FriendStore) RemoveFriend(_ context.Context, user, friend domain.UserID) (bool, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	i := slices.Index(s.lists[user], friend)
	if s.err != nil || i < 0 {
		return false, s.err
	}
	s.lists[user] = slices.Delete(slices.Clone(s.lists[user]), i, i+1)
	return true, nil
}

// BlockersAmong implements blocks.PresenceBlocks.
func (s *BlockStore) BlockersAmong(_ context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	var blockers []domain.UserID
	for _, user := range users {
		if s.Entries[Pair{user, target}].Blocked {
			blockers = append(blockers, user)
		}
	}
	return blockers, s.Err
}

func (s *BlockStore) Fail(err error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Err = err
}

// Blocking returns a blocks.Block beside its store and log, where 201 and 202 are known.
func Blocking() (*blocks.Block, *BlockStore, Conversations) {
	store, log := NewBlockStore(), NewConversations(2)
	known := &Users{Seen: map[domain.UserID]bool{201: true, 202: true, 203: true}}
	return &blocks.Block{Store: store, Users: known, Log: log, Now: Local}, store, log
}

// Changes returns the block changes in the log, in short: "+1" for a block of version 1, "-2" for an unblock of version 2.
func Changes(log Conversations) string {
	var text []string
	for partition := range log.Records {
		for _, event := range log.All(partition) {
			change := event.Body.(domain.BlockChanged)
			sign := "-"
			if change.Blocked {
				sign = "+"
			}
			text = append(text, fmt.Sprint(sign, change.Version))
		}
	}
	return strings.Join(text, " ")
}
