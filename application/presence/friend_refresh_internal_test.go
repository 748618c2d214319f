package presence

import (
	"bytes"
	"runtime"
	"testing"

	"chatting/domain"
)

// A user who was gone when its turn came, and comes back and is forgotten while the turn is dropped, is remembered.
func TestDroppingATurnForgetsNobodyWhoCameBack(t *testing.T) {
	p := &SetPresence{reloads: newReloads()}
	p.sessions.members = make(map[domain.UserID]*member)
	p.watchers = newWatchers(&p.sessions, nil, p.reloads)
	p.reloads.changed(7)

	p.mu.Lock() // the turn is taken, and the user not looked for yet
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		(&FriendRefresh{Presence: p}).take()
	}()
	awaitIn(t, "(*SetPresence).decide")
	p.reloads.mu.Lock() // the user is not here, and the turn not dropped yet
	p.mu.Unlock()
	awaitIn(t, "(*reloads).done")
	back := func() {
		p.sessions.member(7).memberships = []*Membership{{}}
		p.reloads.unknown[7] = struct{}{}
	}
	between := p.mu.TryLock()
	if between {
		back()
		p.mu.Unlock()
	}
	p.reloads.mu.Unlock()
	<-dropped
	if !between { // it comes once the turn is dropped
		back()
	}
	if !p.reloads.takeUnknown(7) {
		t.Error("the user is not remembered")
	}
}

// awaitIn waits until a goroutine waits for a lock in a function.
func awaitIn(t *testing.T, function string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for t.Context().Err() == nil {
		for _, stack := range bytes.Split(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if bytes.Contains(stack, []byte(function+"(")) && bytes.Contains(stack, []byte(".Lock(")) {
				return
			}
		}
		runtime.Gosched()
	}
}
