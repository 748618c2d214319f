package application_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

// server is one node with everything that a login needs.
type server struct {
	*porttest.Node
	login    *application.Login
	known    *porttest.Users
	blocks   *porttest.BlockStore
	friends  *porttest.FriendStore
	store    *loginStore
	log      porttest.Conversations
	sessions *porttest.SessionTopic
	block    *blocks.Block
	send     *messaging.SendMessage
}

// newServer starts one; its tails run until the test ends.
func newServer(t *testing.T) *server {
	s := &server{
		known: &porttest.Users{}, blocks: porttest.NewBlockStore(), friends: &porttest.FriendStore{},
		log: porttest.NewConversations(4), sessions: porttest.NewSessionTopic(porttest.SessionPartitions, time.Now),
	}
	s.store = &loginStore{users: s.known, blocks: s.blocks, friends: s.friends}
	lookup := application.NewLoginLookup(s.store, true)
	t.Cleanup(lookup.Wait)
	s.Node = porttest.NewNode(s.sessions, 1).Start(t)
	delivery := delivery.NewDelivery(&porttest.Readings{}, invites.NewRegister(), porttest.QuietNotices())
	s.login = &application.Login{
		Authenticate: &application.Authenticate{Tokens: tokens{}, Users: s.known},
		Lookup:       lookup, Outbox: s.blocks, Log: s.log, Ends: s.log, Delivery: delivery, Presence: s.Presence, MaxPerUser: 3,
		Notices: notice.NewLog(porttest.Quiet, time.Now), Replays: replay.Replays{Notices: porttest.QuietNotices()},
	}
	s.block = &blocks.Block{Store: s.blocks, Users: s.known, Log: s.log, Now: time.Now}
	s.send = &messaging.SendMessage{Log: s.log, Online: s.Presence, Now: time.Now, NewID: porttest.Counter()}
	for partition := range s.log.Records {
		delivery.Begin(partition, 0, 0)
	}
	stop := s.log.Follow(func(partition, offset int, event domain.Event) {
		delivery.Apply(porttest.Record{At: domain.Place{Partition: partition, Offset: int64(offset)}, Event: event})
		delivery.Passed(partition, int64(offset)+1)
	})
	t.Cleanup(stop)
	return s
}

// askFriendsElsewhere has logins ask for friends where the database does not hold them.
func (s *server) askFriendsElsewhere(hide *blocks.HidePresence) {
	s.login.Friends, s.login.Hide = s.friends, hide
	s.store.friends = &porttest.FriendStore{}
}

// in logs a connection of user in.
func (s *server) in(t *testing.T, user domain.UserID) (*porttest.Conn, *application.LoggedIn) {
	t.Helper()
	c := &porttest.Conn{}
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
		s.friends.Set(201, 205, 202)
		_, other := s.in(t, 202)
		c, session := s.in(t, 201)
		if got := porttest.Of[porttest.LoggedIn](c); len(got) != 1 || got[0].User != 201 || !slices.Equal(got[0].Online, []domain.UserID{202}) {
			t.Fatalf("the answer is %v", got)
		}
		if session.Identity.User != 201 || !s.known.Seen[201] || !s.Presence.Online(201) {
			t.Fatal("the user is not known and online")
		}
		if err := porttest.Answer(t, func(done func(error)) {
			s.send.Execute(messaging.ChatCommand{Sender: 202, Target: 201}, done)
		}); err != nil {
			t.Fatal(err)
		}
		other.Close()
		synctest.Wait()
		got := c.All()
		if len(got) != 3 || len(porttest.Of[porttest.Delivered](c)) != 1 || len(porttest.Of[porttest.Status](c)) != 1 {
			t.Fatalf("got %v, want the answer, a frame and a status", got)
		}
		session.Close()
		session.Close()
		synctest.Wait()
		if s.Presence.Online(201) {
			t.Fatal("201 is online after its last connection ended")
		}
	})
}

// endsAway is a port.LogEnds that fails.
type endsAway struct{}

func (endsAway) EndOffsets(context.Context) ([]int64, error) { return nil, porttest.ErrRefused }

func TestALoginThatFailsLeavesNothingBehind(t *testing.T) {
	for what, test := range map[string]struct {
		token string
		fault func(*server)
		want  domain.Code
	}{
		"bad token":        {"0", func(*server) {}, domain.CodeUnauthenticated},
		"users away":       {"201", func(s *server) { s.known.Err = porttest.ErrRefused }, domain.CodeUnavailable},
		"blocks away":      {"201", func(s *server) { s.blocks.Err = porttest.ErrRefused }, domain.CodeUnavailable},
		"ends away":        {"201", func(s *server) { s.login.Ends = endsAway{} }, domain.CodeUnavailable},
		"sessions refused": {"201", func(s *server) { s.sessions.Decide(porttest.Ups(porttest.Refused)) }, domain.CodeUnavailable},
		"sessions lost":    {"201", func(s *server) { s.sessions.Decide(porttest.Ups(porttest.Lost)) }, domain.CodeUnconfirmed},
		"sessions silent":  {"201", func(s *server) { s.sessions.Decide(porttest.Ups(porttest.Delayed)) }, domain.CodeUnconfirmed},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				test.fault(s)
				c := &porttest.Conn{}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := s.login.Execute(ctx, test.token, c)
				porttest.WantCode(t, "login", err, test.want)
				s.sessions.Decide(nil)
				s.sessions.Release()
				s.log.Append(domain.Event{Body: domain.ChatMessage{From: 202, To: 201}}, func(error) {})
				time.Sleep(time.Minute)
				if len(c.All()) != 0 || s.Presence.Online(201) {
					t.Fatalf("got %v; online: %v", c.All(), s.Presence.Online(201))
				}
			})
		})
	}
}

func TestALoginSucceedsWithoutFriendsWhereNobodyCanTellThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.askFriendsElsewhere(nil)
		porttest.Refreshing(t, s.Node, s.friends, 0)
		s.friends.Set(201, 202)
		s.friends.Fail(porttest.ErrRefused)
		c, _ := s.in(t, 201)
		if got := porttest.Of[porttest.LoggedIn](c); len(got[0].Online) != 0 {
			t.Fatalf("the answer is %v", got)
		}
		s.friends.Fail(nil)
		time.Sleep(6 * time.Second)
		s.in(t, 202)
		synctest.Wait()
		porttest.WantStatuses(t, "the watcher", c, porttest.Status{To: 201, User: 202, Online: true})
	})
}

func TestTheNewestLoginWinsAndTheOldestConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.friends.Set(202, 201)
		watcher, _ := s.in(t, 202)
		var conns []*porttest.Conn
		var sessions []*application.LoggedIn
		for range 5 {
			c, session := s.in(t, 201)
			conns, sessions = append(conns, c), append(sessions, session)
		}
		for i, want := range []int{1, 1, 0, 0, 0} {
			if got := porttest.Of[porttest.Closed](conns[i]); len(got) != want || want == 1 && got[0].Reason != port.CloseReplaced {
				t.Errorf("login %d: closed by %v", i, got)
			}
		}
		sessions[0].Close()
		sessions[1].Close()
		_, stranger := s.in(t, 203)
		stranger.Close()
		synctest.Wait()
		if got := porttest.Of[porttest.Status](watcher); len(got) != 1 || !got[0].Online {
			t.Errorf("who watches the user saw %v: replacing a connection is no change of presence", got)
		}
		if !s.Presence.Online(201) {
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
		_, err := s.login.Execute(t.Context(), "201", &porttest.Conn{ClientAddress: "10.0.0.1"})
		porttest.WantCode(t, "over the rate", err, domain.CodeRateLimited)
		var failed *application.LoginError
		if !errors.As(err, &failed) || failed.User != 201 || domain.RetryAfterOf(err) != 3*time.Second {
			t.Errorf("got %v, of user %v, retry after %s", err, failed, domain.RetryAfterOf(err))
		}
		if s.Presence.Online(201) {
			t.Error("the user is online")
		}
		session, err := s.login.Execute(t.Context(), "201", &porttest.Conn{ClientAddress: "10.0.0.2"})
		if err != nil {
			t.Fatal(err)
		}
		s.login.Rate = rateOf{"10.0.0.2": time.Second}
		_, err = session.Renew(t.Context(), "201")
		porttest.WantCode(t, "a renewal over the rate", err, domain.CodeRateLimited)
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
		porttest.WantCode(t, "another user's", err, domain.CodeUnauthenticated)
		_, err = session.Renew(t.Context(), "x")
		porttest.WantCode(t, "a bad one", err, domain.CodeUnauthenticated)
	})
}

func TestABlockHoldsOnConnectionsThatComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 201)
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the tail is past the record: only the table knows
		c, _ := s.in(t, 202)
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](c); len(got) != 0 {
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
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		if _, err := s.blocks.SetBlocked(t.Context(), blocks.Change{
			Blocker: 202, Target: 201, At: time.Now(),
		}); err != nil {
			t.Fatal(err)
		}
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		c, _ := s.in(t, 202)
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](c); len(got) != 1 {
			t.Errorf("shown %v, not the one message after the unblock", got)
		}
		if left, err := s.blocks.PendingOf(t.Context(), 202, 201); err != nil || len(left) != 0 {
			t.Errorf("still in the outbox: %v, %v", left, err)
		}
	})
}

// between is called between the two steps of a login whose order counts, whichever comes first.
type between struct {
	port.LogEnds
	calls int
	do    func()
}

func (b *between) step() {
	if b.calls++; b.calls == 2 {
		b.do()
	}
}

func (b *between) EndOffsets(ctx context.Context) ([]int64, error) {
	b.step()
	return b.LogEnds.EndOffsets(ctx)
}

func TestTheBlocksAreLoadedBeforeTheEndOfTheLogIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 202)
		if err := s.block.Add(t.Context(), 201, 202); err != nil {
			t.Fatal(err)
		}
		b := &between{LogEnds: s.log, do: func() {
			s.log.Append(domain.Event{Body: domain.ChatMessage{From: 202, To: 201}}, func(error) {})
			if err := s.block.Remove(t.Context(), 201, 202); err != nil {
				t.Error(err)
			}
		}}
		s.store.before, s.login.Ends = func([]domain.UserID) { b.step() }, b
		c, _ := s.in(t, 201)
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](c); len(got) != 0 {
			t.Fatalf("shown %v, which was sent while its sender was blocked", got)
		}
	})
}

// A block that is answered after the login began to follow the log is in its lists, or comes to it through the log: the
// question that was under way by then is not this login's.
func TestALoginIsNotAnsweredByAQuestionThatWasAskedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.in(t, 202)
		var questions [][]domain.UserID
		answered := make(chan struct{})
		s.store.before = func(users []domain.UserID) {
			questions = append(questions, users)
			<-answered
		}
		var logins sync.WaitGroup
		conns := make(map[domain.UserID]*porttest.Conn)
		begin := func(user domain.UserID) {
			c := &porttest.Conn{}
			conns[user] = c
			logins.Go(func() {
				if _, err := s.login.Execute(t.Context(), user.String(), c); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		begin(203)
		begin(201)
		begin(204)
		if err := s.block.Add(t.Context(), 201, 202); err != nil {
			t.Fatal(err)
		}
		close(answered)
		logins.Wait()
		if len(questions) != 2 || !slices.Equal(questions[1], []domain.UserID{201, 204}) {
			t.Errorf("the questions were about %v", questions)
		}
		s.log.Append(domain.Event{Body: domain.ChatMessage{From: 202, To: 201}}, func(error) {})
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](conns[201]); len(got) != 0 {
			t.Errorf("shown %v of a user who is blocked", got)
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
	conns := []*porttest.Conn{staying}
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
				c := &porttest.Conn{}
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
				porttest.Eventually(t, func() bool { return logins() > before+4 })
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
		if err := s.block.Add(t.Context(), blocker, sender); err != nil {
			t.Fatal(err)
		}
		say(hidden)
		if err := s.block.Remove(t.Context(), blocker, sender); err != nil {
			t.Fatal(err)
		}
		say(visible)
	}
	cancel()
	comingAndGoing.Wait()
	porttest.Eventually(t, func() bool { return len(porttest.Of[porttest.Delivered](echoes)) == len(all) })

	partition := s.log.PartitionOf(domain.Between(blocker, sender))
	events := s.log.All(partition)
	shown := 0
	for _, c := range conns {
		last := -1
		for _, d := range porttest.Of[porttest.Delivered](c) {
			var p, offset int
			if _, err := fmt.Sscanf(d.Frame, "%d/%d", &p, &offset); err != nil {
				t.Fatal(err)
			}
			if hidden[events[offset].ID] {
				t.Fatalf("%s was sent after a block and before its unblock, and shown", d.Frame)
			}
			if offset <= last {
				t.Fatalf("%s came after offset %d", d.Frame, last)
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
			if _, err := s.blocks.SetBlocked(t.Context(), blocks.Change{Blocker: 202, Target: target, Blocked: true}); err != nil {
				t.Fatal(err)
			}
		}
		s.log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
		_, err := s.login.Execute(t.Context(), "202", &porttest.Conn{})
		porttest.WantCode(t, "a login whose blocks cannot be published", err, domain.CodeUnavailable)
		s.log.Decide(nil)
		c, session := s.in(t, 202)
		for _, sender := range []domain.UserID{201, 203} {
			s.log.Append(domain.Event{ID: domain.EventID{byte(sender)}, Body: domain.ChatMessage{From: sender, To: 202}}, func(error) {})
		}
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](c); len(got) != 0 {
			t.Errorf("who has blocked both got %v", got)
		}
		// A connection that has ended gets nothing.
		session.Close()
		s.log.Append(domain.Event{ID: domain.EventID{9}, Body: domain.ChatMessage{From: 204, To: 202}}, func(error) {})
		synctest.Wait()
		if got := porttest.Of[porttest.Delivered](c); len(got) != 0 {
			t.Errorf("after its end it got %v", got)
		}
	})
}

func TestLoginsWaitForTheirTurn(t *testing.T) {
	s := newServer(t)
	var asked atomic.Bool
	s.login.Turns = application.NewLoginTurns(func() bool { asked.Store(true); return false })
	if _, err := s.login.Execute(t.Context(), "1", &porttest.Conn{}); err != nil {
		t.Fatal(err)
	}
	if !asked.Load() {
		t.Error("the login did not ask for its turn")
	}
}

func TestALoginThatHasNoTurnInTimeIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.login.Turns = application.NewLoginTurns(func() bool { return true })
		if err := s.login.Turns.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := s.login.Execute(ctx, "1", &porttest.Conn{})
		if domain.CodeOf(err) != domain.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s.login.Turns.Wait()
	})
}

// loginStore is a LoginStore over what others hold. before, where set, is called before each question.
type loginStore struct {
	users   *porttest.Users
	blocks  *porttest.BlockStore
	friends *porttest.FriendStore
	before  func(users []domain.UserID)
}

func (s *loginStore) LoginFacts(ctx context.Context, users []domain.UserID, hiding bool) ([]application.LoginFacts, error) {
	if s.before != nil {
		s.before(users)
	}
	var all []application.LoginFacts
	for _, user := range users {
		var facts application.LoginFacts
		var errs [3]error
		facts.Known, errs[0] = s.users.Known(ctx, user)
		facts.Blocks, errs[1] = s.blocks.Blocks(ctx, user)
		facts.Friends, errs[2] = s.friends.Friends(ctx, user)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		for _, friend := range facts.Friends {
			if blocked, _ := s.blocks.IsBlocked(ctx, friend, user); blocked && hiding {
				facts.Hiding = append(facts.Hiding, friend)
			}
		}
		all = append(all, facts)
	}
	return all, nil
}

func (s *loginStore) RememberAll(ctx context.Context, users []domain.UserID) error {
	for _, user := range users {
		if err := s.users.Remember(ctx, user); err != nil {
			return err
		}
	}
	return nil
}

// tokens takes a user's decimal id for its token.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (application.Identity, error) {
	user, err := domain.ParseUserID(token)
	if err != nil {
		return application.Identity{}, domain.WrapError(domain.CodeUnauthenticated, "bad token", err)
	}
	return application.Identity{User: user}, nil
}
