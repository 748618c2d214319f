package application_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// BlockersAmong implements application.PresenceBlocks.
func (s *blockStore) BlockersAmong(_ context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var blockers []domain.UserID
	for _, user := range users {
		if s.entries[pair{user, target}].Blocked {
			blockers = append(blockers, user)
		}
	}
	return blockers, s.err
}

func (s *blockStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// hiding is nodes that hide presence from those who are blocked, with one database.
type hiding struct {
	blocks   *blockStore
	lists    *friendStore
	sessions *sessionTopic
	log      conversations
	hide     *application.HidePresence
	block    *application.Block
}

func newHiding() *hiding {
	h := &hiding{
		blocks: newBlockStore(), lists: &friendStore{},
		sessions: newSessionTopic(sessionPartitions, time.Now), log: newConversations(4),
	}
	h.hide = &application.HidePresence{Blocks: h.blocks}
	known := &users{known: map[domain.UserID]bool{7: true, 8: true, 9: true}}
	h.block = &application.Block{Store: h.blocks, Users: known, Log: h.hide.Announcing(h.log, h.sessions), Now: time.Now}
	return h
}

// node starts a node that looks at the lists until the test ends.
func (h *hiding) node(t *testing.T, number byte) *node {
	n := newNode(h.sessions, number)
	n.presence.HidesFromBlocked = true
	n.start(t)
	refresh := &application.FriendRefresh{
		Presence: n.presence, Users: &users{}, Lists: h.lists, Hide: h.hide, Retry: 5 * time.Second,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		refresh.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return n
}

func (h *hiding) set(t *testing.T, blocker, target domain.UserID, blocked bool) {
	t.Helper()
	change := h.block.Unblock
	if blocked {
		change = h.block.Block
	}
	if err := change(t.Context(), blocker, target); err != nil {
		t.Fatal(err)
	}
}

func TestWhoIsBlockedSeesTheOneWhoBlockedGoOfflineAndNothingMoreUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7, 9)
		h.lists.set(9, 7)
		a, b := h.node(t, 1), h.node(t, 2)
		here, _ := a.login(t, 8, 7, 9)
		there, _ := b.login(t, 8, 7, 9)
		other, _ := a.login(t, 9, 7)
		_, seven := b.login(t, 7)
		synctest.Wait()
		h.set(t, 7, 8, true)
		synctest.Wait()
		seen := []status{{8, 9, true}, {8, 7, true}, {8, 7, false}}
		wantStatuses(t, "who is blocked", here, seen...)
		wantStatuses(t, "who is blocked, on another node,", there, seen...)

		seven.Leave()
		synctest.Wait()
		a.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "who is blocked, of what came after,", here, seen...)
		wantStatuses(t, "who is not blocked", other, status{9, 7, true}, status{9, 7, false}, status{9, 7, true})

		h.set(t, 7, 8, false)
		synctest.Wait()
		wantStatuses(t, "who is no longer blocked", here, append(seen, status{8, 7, true})...)
		wantStatuses(t, "who is no longer blocked, on another node,", there, append(seen, status{8, 7, true})...)
	})
}

func TestABlockByAUserWhoIsOfflineIsNotToBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7)
		n := h.node(t, 1)
		c, _ := n.login(t, 8, 7)
		h.set(t, 7, 8, true)
		synctest.Wait()
		_, seven := n.login(t, 7)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		h.set(t, 7, 8, false)
		synctest.Wait()
		wantStatuses(t, "who was blocked", c)
	})
}

func TestALoginDoesNotShowWhoBlocksItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.friends.set(201, 202, 203)
		s.presence.HidesFromBlocked, s.login.Hide = true, &application.HidePresence{Blocks: s.blocks}
		s.in(t, 203)
		_, blocker := s.in(t, 202)
		if _, err := s.blocks.SetBlocked(t.Context(), application.BlockChange{Blocker: 202, Target: 201, Blocked: true}); err != nil {
			t.Fatal(err)
		}
		c, _ := s.in(t, 201)
		if got := of[loggedIn](c); len(got) != 1 || !slices.Equal(got[0].online, []domain.UserID{203}) {
			t.Fatalf("the answer is %v", got)
		}
		blocker.Close()
		synctest.Wait()
		s.in(t, 202)
		synctest.Wait()
		wantStatuses(t, "who is blocked", c)
	})
}

// The list that a login loaded says nothing of a block that the log had by then.
func TestABlockDuringALoginHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7)
		n := h.node(t, 1)
		n.login(t, 7)
		c := &conn{}
		membership, err := n.presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		h.set(t, 7, 8, true)
		synctest.Wait()
		membership.SetFriends([]domain.UserID{7})
		if err := online(membership); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := of[loggedIn](c); len(got) != 1 || len(got[0].online) != 0 {
			t.Fatalf("the answer is %v", got)
		}
		wantStatuses(t, "who is blocked", c)
		h.set(t, 7, 8, false)
		synctest.Wait()
		wantStatuses(t, "who is no longer blocked", c, status{8, 7, true})
	})
}

// A second login of the user loads a block whose record its node has not read yet: what the first one was shown is put right
// by the same load.
func TestTheLoginThatLearnsOfABlockFirstPutsTheOthersRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7)
		n := h.node(t, 1)
		n.login(t, 7)
		first, _ := n.login(t, 8, 7)
		second := &conn{}
		membership, err := n.presence.Enter(8, second)
		if err != nil {
			t.Fatal(err)
		}
		membership.SetFriends([]domain.UserID{7}, 7)
		if err := online(membership); err != nil {
			t.Fatal(err)
		}
		wantStatuses(t, "the first connection", first, status{8, 7, false})
		if got := of[loggedIn](second); len(got[0].online) != 0 {
			t.Fatalf("the second one was answered %v", got)
		}
	})
}

// Anybody who may write the topic may have written the record: the database decides.
func TestABlockThatIsNotInTheDatabaseHidesForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7, 9)
		n := h.node(t, 1)
		n.login(t, 7)
		n.login(t, 9)
		c, _ := n.login(t, 8, 7, 9)
		h.set(t, 9, 8, true)
		synctest.Wait()
		for _, user := range []domain.UserID{9, 7} {
			h.sessions.Append(domain.SessionRecord{Kind: domain.UserUnblocked, User: user, Target: 8}, func(error) {})
			synctest.Wait()
		}
		wantStatuses(t, "of an unblocking that is none", c, status{8, 9, false})
		h.sessions.Append(domain.SessionRecord{Kind: domain.UserBlocked, User: 7, Target: 8}, func(error) {})
		synctest.Wait()
		wantStatuses(t, "of a block that is none", c, status{8, 9, false}, status{8, 7, false}, status{8, 7, true})
	})
}

func TestWhileTheDatabaseDoesNotTellABlockStillHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7)
		n := h.node(t, 1)
		_, seven := n.login(t, 7)
		c, _ := n.login(t, 8, 7)
		h.set(t, 7, 8, true)
		h.blocks.fail(errRefused)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		n.login(t, 7)
		time.Sleep(time.Minute)
		wantStatuses(t, "who is blocked", c, status{8, 7, false})
		h.blocks.fail(nil)
		h.set(t, 7, 8, false)
		time.Sleep(6 * time.Second)
		wantStatuses(t, "who is no longer blocked", c, status{8, 7, false}, status{8, 7, true})
	})
}

func TestABlockByAStrangerLoadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		loads := 0
		h.lists.before = func(domain.UserID) { loads++ }
		n := h.node(t, 1)
		n.login(t, 8, 7)
		h.set(t, 9, 8, true)
		h.set(t, 9, 8, false)
		synctest.Wait()
		if loads != 0 {
			t.Fatalf("the list was loaded %d times", loads)
		}
	})
}

// Who blocks and unblocks all the time makes a list be loaded again and again, but does not keep it from being taken.
func TestBlocksDoNotKeepAListFromBeingTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7, 9)
		n := h.node(t, 1)
		c, _ := n.login(t, 8, 9)
		loads := 0
		h.lists.before = func(domain.UserID) {
			switch loads++; {
			case loads < 4:
				record := domain.SessionRecord{Kind: domain.UserBlocked, User: 9, Target: 8}
				n.presence.Apply(n.PartitionOf(9), record, time.Now())
			case loads == 4:
				up := domain.SessionRecord{Kind: domain.SessionUp, Incarnation: incarnation(2, 1), User: 7, Count: 1}
				n.presence.Apply(n.PartitionOf(7), up, time.Now())
			}
		}
		h.sessions.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		if loads != 4 {
			t.Errorf("the list was loaded %d times, want 4", loads)
		}
		wantStatuses(t, "the watcher", c, status{8, 7, true})
	})
}

func TestNothingIsHiddenWhereThatIsNotConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.set(8, 7)
		n := newNode(h.sessions, 1).start(t)
		_, seven := n.login(t, 7)
		c, _ := n.login(t, 8, 7)
		h.set(t, 7, 8, true)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		n.login(t, 7)
		synctest.Wait()
		wantStatuses(t, "who is blocked", c, status{8, 7, false}, status{8, 7, true})

		var off *application.HidePresence
		if log := off.Announcing(h.log, h.sessions); log != application.ConversationLog(h.log) {
			t.Errorf("changes of blocks are published to %T", log)
		}
	})
}

func TestOfAUserWhoHidesIsSaidWhatIsSaidOfOneWhoIsOffline(t *testing.T) {
	h := newHiding()
	known := &users{known: map[domain.UserID]bool{7: true, 9: true}}
	query := &application.IsOnline{Users: known, Presence: onlineSet{7: true, 10: true}, Hide: h.hide}
	is := func(asker, user domain.UserID) string {
		online, err := query.Execute(t.Context(), asker, user)
		switch {
		case err != nil && online:
			t.Errorf("online in spite of %v", err)
		case err != nil:
			return string(domain.CodeOf(err))
		case online:
			return "online"
		}
		return "offline"
	}
	h.set(t, 7, 8, true)
	if _, err := h.blocks.SetBlocked(t.Context(), application.BlockChange{Blocker: 10, Target: 8, Blocked: true}); err != nil {
		t.Fatal(err)
	}
	for _, asked := range []struct {
		asker, user domain.UserID
		want        string
	}{{8, 7, "offline"}, {9, 7, "online"}, {7, 8, "unknown_user"}, {8, 9, "offline"}, {8, 10, "unknown_user"}, {9, 10, "online"}} {
		if got := is(asked.asker, asked.user); got != asked.want {
			t.Errorf("%d asks about %d: %s, want %s", asked.asker, asked.user, got, asked.want)
		}
	}
	h.blocks.fail(errRefused)
	if got := is(9, 7); got != string(domain.CodeUnavailable) {
		t.Errorf("without a database: %s", got)
	}
}

func TestWhatIsSentToTheOneWhoBlocksIsEchoedOnlineOrNot(t *testing.T) {
	h := newHiding()
	send := &application.SendMessage{Log: h.log, Online: onlineSet{9: true}, Now: time.Now, NewID: counter(), Hide: h.hide}
	storing := &application.SendMessage{
		Log: h.log, Online: onlineSet{9: true}, Now: time.Now, NewID: counter(), Hide: h.hide,
		Stored: &users{known: map[domain.UserID]bool{7: true}},
	}
	invite := &application.Invite{
		Invites: application.NewInvites(), Log: h.log, Online: onlineSet{9: true}, Now: time.Now, NewID: counter(), Hide: h.hide,
	}
	h.set(t, 7, 8, true)
	h.set(t, 9, 8, true)
	outcome := func(sender, target domain.UserID) string {
		var codes []string
		for _, execute := range []func(func(error)){
			func(done func(error)) {
				send.Execute(application.ChatCommand{Sender: sender, Target: target, Text: words(t, "x")}, done)
			},
			func(done func(error)) {
				storing.Execute(application.ChatCommand{Sender: sender, Target: target, Text: words(t, "x")}, done)
			},
			func(done func(error)) {
				invite.Execute(application.InviteCommand{Sender: sender, Target: target, Status: domain.InviteOpened}, done)
			},
		} {
			execute(func(err error) { codes = append(codes, string(domain.CodeOf(err))) })
		}
		return strings.Join(codes, " ")
	}
	for _, sent := range []struct {
		sender, target domain.UserID
		want           string
	}{
		{8, 7, "  "}, {8, 9, "  "}, // offline and online
		{9, 7, "no_user_or_offline  no_user_or_offline"},                   // not blocked
		{7, 8, "no_user_or_offline no_user_or_offline no_user_or_offline"}, // the other way round
	} {
		if got := outcome(sent.sender, sent.target); got != sent.want {
			t.Errorf("%d to %d: %q, want %q", sent.sender, sent.target, got, sent.want)
		}
	}
	h.blocks.fail(errRefused)
	if got := outcome(8, 7); got != "unavailable unavailable unavailable" {
		t.Errorf("to one who is offline, without a database: %q", got)
	}
	if got := outcome(8, 9); got != "  " {
		t.Errorf("to one who is online, without a database: %q", got)
	}
}

// The record that hides comes before the event that the request waits for; without it there is no event, and the relay tries
// both again.
func TestTheNodesKnowFromWhomToHideBeforeTheBlockIsAnswered(t *testing.T) {
	h := newHiding()
	h.sessions.decide(func(sessionEntry) fate { return refused })
	wantCode(t, "a block", h.block.Block(t.Context(), 7, 8), domain.CodeUnavailable)
	if events := h.events(); len(events) != 0 {
		t.Fatalf("the log has %v", events)
	}
	h.sessions.decide(func(sessionEntry) fate {
		if events := h.events(); len(events) != 0 {
			t.Errorf("the log had %v before", events)
		}
		return confirmed
	})
	relay := &application.RelayBlocks{
		Outbox: h.blocks, Log: h.block.Log, Now: func() time.Time { return time.Now().Add(time.Hour) }, Every: time.Hour, Logger: quiet,
	}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	go func() {
		defer close(running)
		relay.Run(ctx)
	}()
	eventually(t, func() bool { return len(h.events()) == 1 })
	cancel()
	<-running
	want := domain.SessionRecord{Kind: domain.UserBlocked, User: 7, Target: 8}
	if got := h.sessions.all(h.sessions.PartitionOf(7)); len(got) != 1 || got[0].record != want {
		t.Errorf("the nodes were told %v", got)
	}
}

func (h *hiding) events() []domain.Event {
	var events []domain.Event
	for partition := range 4 {
		events = append(events, h.log.all(partition)...)
	}
	return events
}
