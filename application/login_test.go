package application_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// server is one node with everything that a login needs.
type server struct {
	*node
	login    *application.Login
	known    *users
	blocks   *blockStore
	friends  *friendStore
	log      conversations
	sessions *sessionTopic
	block    *application.Block
	send     *application.SendMessage
}

// newServer starts one; its tails run until the test ends.
func newServer(t *testing.T) *server {
	s := &server{
		known: &users{}, blocks: newBlockStore(), friends: &friendStore{},
		log: newConversations(4), sessions: newSessionTopic(sessionPartitions, time.Now),
	}
	s.node = newNode(s.sessions, 1).start(t)
	delivery := application.NewDelivery(&readings{}, application.NewInvites(), quietNotices())
	s.login = &application.Login{
		Authenticate: &application.Authenticate{Tokens: tokens{}, Users: s.known},
		Blocks:       s.blocks, Log: s.log, Friends: s.friends, Ends: s.log, Delivery: delivery, Presence: s.presence, MaxPerUser: 3,
		Notices: application.NewNotices(quiet, time.Now),
	}
	s.block = &application.Block{Store: s.blocks, Users: s.known, Log: s.log, Now: time.Now}
	s.send = &application.SendMessage{Log: s.log, Online: s.presence, Now: time.Now, NewID: counter()}
	stop := s.log.follow(func(partition, offset int, event domain.Event) {
		delivery.Apply(record{at: application.Position{Partition: partition, Offset: int64(offset)}, event: event})
	})
	t.Cleanup(stop)
	return s
}

// in logs a connection of user in.
func (s *server) in(t *testing.T, user domain.UserID) (*conn, *application.Session) {
	t.Helper()
	c := &conn{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	session, err := s.login.Execute(ctx, user.String(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c, session
}

func TestALoginMakesItsUserKnownOnlineAndServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.friends.set(201, 205, 202)
		_, other := s.in(t, 202)
		c, session := s.in(t, 201)
		if got := of[loggedIn](c); len(got) != 1 || got[0].user != 201 || !slices.Equal(got[0].online, []domain.UserID{202}) {
			t.Fatalf("the answer is %v", got)
		}
		if session.Identity.User != 201 || !s.known.known[201] || !s.presence.Online(201) {
			t.Fatal("the user is not known and online")
		}
		if err := answer(t, func(done func(error)) {
			s.send.Execute(application.ChatCommand{Sender: 202, Target: 201}, done)
		}); err != nil {
			t.Fatal(err)
		}
		other.Close()
		synctest.Wait()
		got := c.all()
		if len(got) != 3 || len(of[delivered](c)) != 1 || len(of[status](c)) != 1 {
			t.Fatalf("got %v, want the answer, a frame and a status", got)
		}
		session.Close()
		session.Close()
		synctest.Wait()
		if s.presence.Online(201) {
			t.Fatal("201 is online after its last connection ended")
		}
	})
}

// ends is a LogEnds that fails.
type endsAway struct{}

func (endsAway) EndOffsets(context.Context) ([]int64, error) { return nil, errRefused }

func TestALoginThatFailsLeavesNothingBehind(t *testing.T) {
	for what, test := range map[string]struct {
		token string
		fault func(*server)
		want  domain.Code
	}{
		"bad token":        {"0", func(*server) {}, domain.CodeUnauthenticated},
		"users away":       {"201", func(s *server) { s.known.err = errRefused }, domain.CodeUnavailable},
		"blocks away":      {"201", func(s *server) { s.blocks.err = errRefused }, domain.CodeUnavailable},
		"ends away":        {"201", func(s *server) { s.login.Ends = endsAway{} }, domain.CodeUnavailable},
		"sessions refused": {"201", func(s *server) { s.sessions.decide(ups(refused)) }, domain.CodeUnavailable},
		"sessions lost":    {"201", func(s *server) { s.sessions.decide(ups(lost)) }, domain.CodeUnconfirmed},
		"sessions silent":  {"201", func(s *server) { s.sessions.decide(ups(delayed)) }, domain.CodeUnconfirmed},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				test.fault(s)
				c := &conn{}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := s.login.Execute(ctx, test.token, c)
				wantCode(t, "login", err, test.want)
				s.sessions.decide(nil)
				s.sessions.release()
				s.log.Append(domain.Event{Body: domain.ChatMessage{From: 202, To: 201}}, func(error) {})
				time.Sleep(time.Minute)
				if len(c.all()) != 0 || s.presence.Online(201) {
					t.Fatalf("got %v; online: %v", c.all(), s.presence.Online(201))
				}
			})
		})
	}
}

func TestALoginSucceedsWithoutFriendsWhereNobodyCanTellThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		refreshing(t, s.node, s.friends, 0)
		s.friends.set(201, 202)
		s.friends.fail(errRefused)
		c, _ := s.in(t, 201)
		if got := of[loggedIn](c); len(got[0].online) != 0 {
			t.Fatalf("the answer is %v", got)
		}
		s.friends.fail(nil)
		time.Sleep(6 * time.Second)
		s.in(t, 202)
		synctest.Wait()
		wantStatuses(t, "the watcher", c, status{201, 202, true})
	})
}

func TestTheNewestLoginWinsAndTheOldestConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.friends.set(202, 201)
		watcher, _ := s.in(t, 202)
		var conns []*conn
		var sessions []*application.Session
		for range 5 {
			c, session := s.in(t, 201)
			conns, sessions = append(conns, c), append(sessions, session)
		}
		for i, want := range []int{1, 1, 0, 0, 0} {
			if got := of[closed](conns[i]); len(got) != want || want == 1 && got[0].reason != application.CloseReplaced {
				t.Errorf("login %d: closed by %v", i, got)
			}
		}
		sessions[0].Close()
		sessions[1].Close()
		_, stranger := s.in(t, 203)
		stranger.Close()
		synctest.Wait()
		if got := of[status](watcher); len(got) != 1 || !got[0].online {
			t.Errorf("who watches the user saw %v: replacing a connection is no change of presence", got)
		}
		if !s.presence.Online(201) {
			t.Error("the user is offline")
		}
	})
}

// rateOf is a LoginRate that refuses the addresses in it.
type rateOf map[string]time.Duration

func (r rateOf) Take(_ domain.UserID, address string) time.Duration { return r[address] }

func TestALoginOverTheRateIsRefusedAndNamesItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.login.Rate = rateOf{"10.0.0.1": 3 * time.Second}
		_, err := s.login.Execute(t.Context(), "201", &conn{address: "10.0.0.1"})
		wantCode(t, "over the rate", err, domain.CodeRateLimited)
		var failed *application.LoginError
		if !errors.As(err, &failed) || failed.User != 201 || domain.RetryAfterOf(err) != 3*time.Second {
			t.Errorf("got %v, of user %v, retry after %s", err, failed, domain.RetryAfterOf(err))
		}
		if s.presence.Online(201) {
			t.Error("the user is online")
		}
		session, err := s.login.Execute(t.Context(), "201", &conn{address: "10.0.0.2"})
		if err != nil {
			t.Fatal(err)
		}
		s.login.Rate = rateOf{"10.0.0.2": time.Second}
		_, err = session.Renew(t.Context(), "201")
		wantCode(t, "a renewal over the rate", err, domain.CodeRateLimited)
	})
}

func TestATokenIsRenewedByOneOfTheSameUserOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		_, session := s.in(t, 201)
		if identity, err := session.Renew(t.Context(), "201"); err != nil || identity.User != 201 {
			t.Fatalf("got %v, %v", identity, err)
		}
		_, err := session.Renew(t.Context(), "202")
		wantCode(t, "another user's", err, domain.CodeUnauthenticated)
		_, err = session.Renew(t.Context(), "x")
		wantCode(t, "a bad one", err, domain.CodeUnauthenticated)
	})
}

func TestABlockHoldsOnConnectionsThatComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 201)
		if err := s.block.Block(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the tail is past the record: only the table knows
		c, _ := s.in(t, 202)
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		synctest.Wait()
		if got := of[delivered](c); len(got) != 0 {
			t.Fatalf("the blocker was shown %v", got)
		}
	})
}

// An unblock that died between its commit and its append is in the table and not in the log. A login publishes it first:
// what was sent before is judged by the block that the log still had then.
func TestALoginPublishesWhatTheOutboxHoldsOfItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 201)
		s.in(t, 202)
		if err := s.block.Block(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		if _, err := s.blocks.SetBlocked(t.Context(), application.BlockChange{
			Blocker: 202, Target: 201, At: time.Now(),
		}); err != nil {
			t.Fatal(err)
		}
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		c, _ := s.in(t, 202)
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		synctest.Wait()
		if got := of[delivered](c); len(got) != 1 {
			t.Errorf("shown %v, not the one message after the unblock", got)
		}
		if left, err := s.blocks.PendingOf(t.Context(), 202, 201); err != nil || len(left) != 0 {
			t.Errorf("still in the outbox: %v, %v", left, err)
		}
	})
}

// between is called between the two steps of a login whose order counts, whichever comes first.
type between struct {
	application.BlockStore
	application.LogEnds
	calls int
	do    func()
}

func (b *between) step() {
	if b.calls++; b.calls == 2 {
		b.do()
	}
}

func (b *between) Blocks(ctx context.Context, blocker domain.UserID) ([]application.BlockEntry, error) {
	b.step()
	return b.BlockStore.Blocks(ctx, blocker)
}

func (b *between) EndOffsets(ctx context.Context) ([]int64, error) {
	b.step()
	return b.LogEnds.EndOffsets(ctx)
}

func TestTheBlocksAreLoadedBeforeTheEndOfTheLogIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 202)
		if err := s.block.Block(t.Context(), 201, 202); err != nil {
			t.Fatal(err)
		}
		b := &between{BlockStore: s.blocks, LogEnds: s.log, do: func() {
			s.log.Append(domain.Event{Body: domain.ChatMessage{From: 202, To: 201}}, func(error) {})
			if err := s.block.Unblock(t.Context(), 201, 202); err != nil {
				t.Error(err)
			}
		}}
		s.login.Blocks, s.login.Ends = b, b
		c, _ := s.in(t, 201)
		synctest.Wait()
		if got := of[delivered](c); len(got) != 0 {
			t.Fatalf("shown %v, which was sent while its sender was blocked", got)
		}
	})
}

// Everything at once, with real concurrency: chats, blocks and logins; a message sent after a block was answered never
// reaches the blocker, whichever of its connections, and the sender always gets its echo.
func TestNothingSentAfterABlockWasAnsweredReachesTheBlocker(t *testing.T) {
	s := newServer(t)
	const blocker, sender = 1, 2
	s.login.MaxPerUser = 0
	echoes, _ := s.in(t, sender)
	staying, keeper := s.in(t, blocker)
	defer keeper.Close()

	var mu sync.Mutex
	hidden := make(map[domain.EventID]bool) // sent while the block was on, by what its request was told
	visible := make(map[domain.EventID]bool)
	all := make(map[domain.EventID]bool)
	conns := []*conn{staying}
	logins := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(conns)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var comingAndGoing sync.WaitGroup
	for range 4 {
		comingAndGoing.Go(func() {
			for ctx.Err() == nil {
				c := &conn{}
				session, err := s.login.Execute(context.Background(), "1", c)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				session.Close()
			}
		})
	}
	say := func(set map[domain.EventID]bool) {
		before := logins()
		for i := range 20 {
			if i == 10 { // somebody logs in between
				eventually(t, func() bool { return logins() > before+4 })
			}
			id := domain.DerivedID("test", fmt.Sprint(len(all)))
			all[id] = true
			set[id] = true
			s.log.Append(domain.Event{ID: id, Body: domain.ChatMessage{From: sender, To: blocker}}, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	for range 25 {
		if err := s.block.Block(t.Context(), blocker, sender); err != nil {
			t.Fatal(err)
		}
		say(hidden)
		if err := s.block.Unblock(t.Context(), blocker, sender); err != nil {
			t.Fatal(err)
		}
		say(visible)
	}
	cancel()
	comingAndGoing.Wait()
	eventually(t, func() bool { return len(of[delivered](echoes)) == len(all) })

	partition := s.log.partitionOf(domain.Between(blocker, sender))
	events := s.log.all(partition)
	shown := 0
	for _, c := range conns {
		last := -1
		for _, d := range of[delivered](c) {
			var p, offset int
			if _, err := fmt.Sscanf(d.frame, "%d/%d", &p, &offset); err != nil {
				t.Fatal(err)
			}
			if hidden[events[offset].ID] {
				t.Fatalf("%s was sent after a block and before its unblock, and shown", d.frame)
			}
			if offset <= last {
				t.Fatalf("%s came after offset %d", d.frame, last)
			}
			for between := last + 1; last >= 0 && between < offset; between++ {
				if visible[events[between].ID] {
					t.Fatalf("a hole at offset %d", between)
				}
			}
			last = offset
			shown++
		}
	}
	if shown == 0 {
		t.Fatal("no connection was shown anything: the test tests nothing")
	}
}

func TestALoginThatPublishesItsOutboxKnowsItsUsersBlocksAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 201)
		s.in(t, 203)
		for _, target := range []domain.UserID{201, 203} { // committed, and not in the log
			if _, err := s.blocks.SetBlocked(t.Context(), application.BlockChange{Blocker: 202, Target: target, Blocked: true}); err != nil {
				t.Fatal(err)
			}
		}
		s.log.decide(func(domain.Event) fate { return refused })
		_, err := s.login.Execute(t.Context(), "202", &conn{})
		wantCode(t, "a login whose blocks cannot be published", err, domain.CodeUnavailable)
		s.log.decide(nil)
		c, session := s.in(t, 202)
		for _, sender := range []domain.UserID{201, 203} {
			s.log.Append(domain.Event{ID: domain.EventID{byte(sender)}, Body: domain.ChatMessage{From: sender, To: 202}}, func(error) {})
		}
		synctest.Wait()
		if got := of[delivered](c); len(got) != 0 {
			t.Errorf("who has blocked both got %v", got)
		}
		// A connection that has ended gets nothing.
		session.Close()
		s.log.Append(domain.Event{ID: domain.EventID{9}, Body: domain.ChatMessage{From: 204, To: 202}}, func(error) {})
		synctest.Wait()
		if got := of[delivered](c); len(got) != 0 {
			t.Errorf("after its end it got %v", got)
		}
	})
}
