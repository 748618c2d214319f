package application_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// hiding is nodes that hide presence from those who are blocked, with one database.
type hiding struct {
	blocks   *porttest.BlockStore
	lists    *porttest.FriendStore
	sessions *porttest.SessionTopic
	log      porttest.Conversations
	hide     *blocks.HidePresence
	block    *blocks.Block
}

func newHiding() *hiding {
	h := &hiding{
		blocks: porttest.NewBlockStore(), lists: &porttest.FriendStore{},
		sessions: porttest.NewSessionTopic(porttest.SessionPartitions, time.Now), log: porttest.NewConversations(4),
	}
	h.hide = &blocks.HidePresence{Blocks: h.blocks}
	known := &porttest.Users{Seen: map[domain.UserID]bool{7: true, 8: true, 9: true}}
	h.block = &blocks.Block{Store: h.blocks, Users: known, Log: h.hide.Announcing(h.log, h.sessions), Now: time.Now}
	return h
}

// node starts a node that looks at the lists until the test ends.
func (h *hiding) node(t *testing.T, number byte) *porttest.Node {
	n := porttest.NewNode(h.sessions, number)
	n.Presence.HidesFromBlocked = true
	n.Start(t)
	refresh := &presence.FriendRefresh{
		Presence: n.Presence, Users: &porttest.Users{}, Lists: h.lists, Hide: h.hide, Retry: 5 * time.Second,
	}
	porttest.Run(t, refresh.Run)
	return n
}

func (h *hiding) set(t *testing.T, blocker, target domain.UserID, blocked bool) {
	t.Helper()
	change := h.block.Remove
	if blocked {
		change = h.block.Add
	}
	if err := change(t.Context(), blocker, target); err != nil {
		t.Fatal(err)
	}
}

func TestWhoIsBlockedSeesTheOneWhoBlockedGoOfflineAndNothingMoreUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7, 9)
		h.lists.Set(9, 7)
		a, b := h.node(t, 1), h.node(t, 2)
		here, _ := a.Login(t, 8, 7, 9)
		there, _ := b.Login(t, 8, 7, 9)
		other, _ := a.Login(t, 9, 7)
		_, seven := b.Login(t, 7)
		synctest.Wait()
		h.set(t, 7, 8, true)
		synctest.Wait()
		seen := []porttest.Status{{To: 8, User: 9, Online: true}, {To: 8, User: 7, Online: true}, {To: 8, User: 7, Online: false}}
		porttest.WantStatuses(t, "who is blocked", here, seen...)
		porttest.WantStatuses(t, "who is blocked, on another node,", there, seen...)

		seven.Leave()
		synctest.Wait()
		a.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "who is blocked, of what came after,", here, seen...)
		porttest.WantStatuses(t, "who is not blocked", other, porttest.Status{To: 9, User: 7, Online: true}, porttest.Status{To: 9, User: 7, Online: false}, porttest.Status{To: 9, User: 7, Online: true})

		h.set(t, 7, 8, false)
		synctest.Wait()
		porttest.WantStatuses(t, "who is no longer blocked", here, append(seen, porttest.Status{To: 8, User: 7, Online: true})...)
		porttest.WantStatuses(t, "who is no longer blocked, on another node,", there, append(seen, porttest.Status{To: 8, User: 7, Online: true})...)
	})
}

func TestABlockByAUserWhoIsOfflineIsNotToBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7)
		n := h.node(t, 1)
		c, _ := n.Login(t, 8, 7)
		h.set(t, 7, 8, true)
		synctest.Wait()
		_, seven := n.Login(t, 7)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		h.set(t, 7, 8, false)
		synctest.Wait()
		porttest.WantStatuses(t, "who was blocked", c)
	})
}

func TestALoginDoesNotShowWhoBlocksItsUser(t *testing.T) {
	t.Run("whose friends the database has", func(t *testing.T) { loginDoesNotShowWhoBlocks(t, func(*server) {}) })
	t.Run("whose friends are asked for elsewhere", func(t *testing.T) {
		loginDoesNotShowWhoBlocks(t, func(s *server) { s.askFriendsElsewhere(&blocks.HidePresence{Blocks: s.blocks}) })
	})
}

func loginDoesNotShowWhoBlocks(t *testing.T, prepare func(*server)) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.friends.Set(201, 202, 203)
		s.Presence.HidesFromBlocked = true
		prepare(s)
		s.in(t, 203)
		_, blocker := s.in(t, 202)
		if _, err := s.blocks.SetBlocked(t.Context(), blocks.Change{Blocker: 202, Target: 201, Blocked: true}); err != nil {
			t.Fatal(err)
		}
		c, _ := s.in(t, 201)
		if got := porttest.Of[porttest.LoggedIn](c); len(got) != 1 || !slices.Equal(got[0].Online, []domain.UserID{203}) {
			t.Fatalf("the answer is %v", got)
		}
		blocker.Close()
		synctest.Wait()
		s.in(t, 202)
		synctest.Wait()
		porttest.WantStatuses(t, "who is blocked", c)
	})
}

// The list that a login loaded says nothing of a block that the log had by then.
func TestABlockDuringALoginHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7)
		n := h.node(t, 1)
		n.Login(t, 7)
		c := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, c)
		if err != nil {
			t.Fatal(err)
		}
		h.set(t, 7, 8, true)
		synctest.Wait()
		membership.SetFriends([]domain.UserID{7})
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := porttest.Of[porttest.LoggedIn](c); len(got) != 1 || len(got[0].Online) != 0 {
			t.Fatalf("the answer is %v", got)
		}
		porttest.WantStatuses(t, "who is blocked", c)
		h.set(t, 7, 8, false)
		synctest.Wait()
		porttest.WantStatuses(t, "who is no longer blocked", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

// A second login of the user loads a block whose record its node has not read yet: what the first one was shown is put right
// by the same load.
func TestTheLoginThatLearnsOfABlockFirstPutsTheOthersRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7)
		n := h.node(t, 1)
		n.Login(t, 7)
		first, _ := n.Login(t, 8, 7)
		second := &porttest.Conn{}
		membership, err := n.Presence.Enter(8, second)
		if err != nil {
			t.Fatal(err)
		}
		membership.SetFriends([]domain.UserID{7}, 7)
		if err := porttest.Online(membership); err != nil {
			t.Fatal(err)
		}
		porttest.WantStatuses(t, "the first connection", first, porttest.Status{To: 8, User: 7, Online: false})
		if got := porttest.Of[porttest.LoggedIn](second); len(got[0].Online) != 0 {
			t.Fatalf("the second one was answered %v", got)
		}
	})
}

// Anybody who may write the topic may have written the record: the database decides.
func TestABlockThatIsNotInTheDatabaseHidesForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7, 9)
		n := h.node(t, 1)
		n.Login(t, 7)
		n.Login(t, 9)
		c, _ := n.Login(t, 8, 7, 9)
		h.set(t, 9, 8, true)
		synctest.Wait()
		for _, user := range []domain.UserID{9, 7} {
			h.sessions.Append(domain.SessionRecord{Kind: domain.UserUnblocked, User: user, Target: 8}, func(error) {})
			synctest.Wait()
		}
		porttest.WantStatuses(t, "of an unblocking that is none", c, porttest.Status{To: 8, User: 9, Online: false})
		h.sessions.Append(domain.SessionRecord{Kind: domain.UserBlocked, User: 7, Target: 8}, func(error) {})
		synctest.Wait()
		porttest.WantStatuses(t, "of a block that is none", c, porttest.Status{To: 8, User: 9, Online: false}, porttest.Status{To: 8, User: 7, Online: false}, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestWhileTheDatabaseDoesNotTellABlockStillHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7)
		n := h.node(t, 1)
		_, seven := n.Login(t, 7)
		c, _ := n.Login(t, 8, 7)
		h.set(t, 7, 8, true)
		h.blocks.Fail(porttest.ErrRefused)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		n.Login(t, 7)
		time.Sleep(time.Minute)
		porttest.WantStatuses(t, "who is blocked", c, porttest.Status{To: 8, User: 7, Online: false})
		h.blocks.Fail(nil)
		h.set(t, 7, 8, false)
		time.Sleep(6 * time.Second)
		porttest.WantStatuses(t, "who is no longer blocked", c, porttest.Status{To: 8, User: 7, Online: false}, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestABlockByAStrangerLoadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		loads := 0
		h.lists.Before = func(domain.UserID) { loads++ }
		n := h.node(t, 1)
		n.Login(t, 8, 7)
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
		h.lists.Set(8, 7, 9)
		n := h.node(t, 1)
		c, _ := n.Login(t, 8, 9)
		loads := 0
		h.lists.Before = func(domain.UserID) {
			switch loads++; {
			case loads < 4:
				record := domain.SessionRecord{Kind: domain.UserBlocked, User: 9, Target: 8}
				n.Presence.Apply(n.PartitionOf(9), record, time.Now())
			case loads == 4:
				up := domain.SessionRecord{Kind: domain.SessionUp, Incarnation: porttest.Incarnation(2, 1), User: 7, Count: 1}
				n.Presence.Apply(n.PartitionOf(7), up, time.Now())
			}
		}
		h.sessions.Append(domain.SessionRecord{Kind: domain.FriendsChanged, User: 8}, func(error) {})
		synctest.Wait()
		if loads != 4 {
			t.Errorf("the list was loaded %d times, want 4", loads)
		}
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 8, User: 7, Online: true})
	})
}

func TestNothingIsHiddenWhereThatIsNotConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHiding()
		h.lists.Set(8, 7)
		n := porttest.NewNode(h.sessions, 1).Start(t)
		_, seven := n.Login(t, 7)
		c, _ := n.Login(t, 8, 7)
		h.set(t, 7, 8, true)
		synctest.Wait()
		seven.Leave()
		synctest.Wait()
		n.Login(t, 7)
		synctest.Wait()
		porttest.WantStatuses(t, "who is blocked", c, porttest.Status{To: 8, User: 7, Online: false}, porttest.Status{To: 8, User: 7, Online: true})

		var off *blocks.HidePresence
		if log := off.Announcing(h.log, h.sessions); log != port.ConversationLog(h.log) {
			t.Errorf("changes of blocks are published to %T", log)
		}
	})
}

func TestOfAUserWhoHidesIsSaidWhatIsSaidOfOneWhoIsOffline(t *testing.T) {
	h := newHiding()
	known := &porttest.Users{Seen: map[domain.UserID]bool{7: true, 9: true}}
	query := &presence.IsOnline{Users: known, Presence: porttest.OnlineSet{7: true, 10: true}, Hide: h.hide}
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
	if _, err := h.blocks.SetBlocked(t.Context(), blocks.Change{Blocker: 10, Target: 8, Blocked: true}); err != nil {
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
	h.blocks.Fail(porttest.ErrRefused)
	if got := is(9, 7); got != string(domain.CodeUnavailable) {
		t.Errorf("without a database: %s", got)
	}
}

func TestWhatIsSentToTheOneWhoBlocksIsEchoedOnlineOrNot(t *testing.T) {
	h := newHiding()
	send := &messaging.SendMessage{Log: h.log, Online: porttest.OnlineSet{9: true}, Now: time.Now, NewID: porttest.Counter(), Hide: h.hide}
	storing := &messaging.SendMessage{
		Log: h.log, Online: porttest.OnlineSet{9: true}, Now: time.Now, NewID: porttest.Counter(), Hide: h.hide,
		Stored: &porttest.Users{Seen: map[domain.UserID]bool{7: true}},
	}
	invite := &invites.Invite{
		Invites: invites.NewRegister(), Log: h.log, Online: porttest.OnlineSet{9: true}, Now: time.Now, NewID: porttest.Counter(), Hide: h.hide,
	}
	h.set(t, 7, 8, true)
	h.set(t, 9, 8, true)
	outcome := func(sender, target domain.UserID) string {
		var codes []string
		for _, execute := range []func(func(error)){
			func(done func(error)) {
				send.Execute(messaging.ChatCommand{Sender: sender, Target: target, Text: porttest.Words(t, "x")}, done)
			},
			func(done func(error)) {
				storing.Execute(messaging.ChatCommand{Sender: sender, Target: target, Text: porttest.Words(t, "x")}, done)
			},
			func(done func(error)) {
				invite.Execute(invites.Command{Sender: sender, Target: target, Status: domain.InviteOpened}, done)
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
	h.blocks.Fail(porttest.ErrRefused)
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
	h.sessions.Decide(func(porttest.SessionEntry) porttest.Fate { return porttest.Refused })
	porttest.WantCode(t, "a block", h.block.Add(t.Context(), 7, 8), domain.CodeUnavailable)
	if events := h.events(); len(events) != 0 {
		t.Fatalf("the log has %v", events)
	}
	h.sessions.Decide(func(porttest.SessionEntry) porttest.Fate {
		if events := h.events(); len(events) != 0 {
			t.Errorf("the log had %v before", events)
		}
		return porttest.Confirmed
	})
	relay := &blocks.RelayBlocks{
		Outbox: h.blocks, Log: h.block.Log, Now: func() time.Time { return time.Now().Add(time.Hour) }, Every: time.Hour, Logger: porttest.Quiet,
	}
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	go func() {
		defer close(running)
		relay.Run(ctx)
	}()
	porttest.Eventually(t, func() bool { return len(h.events()) == 1 })
	cancel()
	<-running
	want := domain.SessionRecord{Kind: domain.UserBlocked, User: 7, Target: 8}
	if got := h.sessions.All(h.sessions.PartitionOf(7)); len(got) != 1 || got[0].Record != want {
		t.Errorf("the nodes were told %v", got)
	}
}

func (h *hiding) events() []domain.Event {
	var events []domain.Event
	for partition := range 4 {
		events = append(events, h.log.All(partition)...)
	}
	return events
}
