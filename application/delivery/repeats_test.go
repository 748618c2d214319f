package delivery_test

import (
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/delivery"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// repeating is a stage on which what may be said again is asked about, in a history that has so many records.
func repeating(t *testing.T, projected *int64) (*stage, *porttest.FirstPlaces) {
	s := newStage(t, 1)
	history := &porttest.FirstPlaces{Log: s.Log, Projected: func(int) int64 { return *projected }}
	s.Delivery.Repeats = history.NewRepeats()
	porttest.Run(t, s.Delivery.Run)
	return s, history
}

func TestWhatABlockHidIsHiddenFromThoseWhoCameAfterItWasSaid(t *testing.T) {
	const hidden, unblocked = 1, 2 // the offsets of the first record and of the end of the block
	for what, test := range map[string]struct {
		projected int64
		login     int  // behind so many records
		held      bool // what is said again is read before the login has loaded the blocks
		alone     bool // no history is kept
	}{
		"the history has it":                              {projected: 9, login: unblocked + 1},
		"the history is behind":                           {projected: 0, login: unblocked + 1},
		"it is the last that the history does not have":   {projected: hidden, login: unblocked + 1},
		"the unblock is read":                             {projected: hidden, login: unblocked},
		"no history is kept":                              {login: unblocked + 1, alone: true},
		"during a login":                                  {projected: 9, login: unblocked + 1, held: true},
		"during a login, while the history is behind":     {projected: hidden, login: unblocked + 1, held: true},
		"during a login, where no history is kept":        {login: unblocked + 1, held: true, alone: true},
		"during a login that has read the unblock itself": {projected: hidden, login: unblocked, held: true},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := repeating(t, &test.projected)
				if test.alone {
					s.Delivery.Repeats = &past.Repeats{Log: &porttest.PastLog{Log: s.Log}}
				}
				say := []func(){
					func() { s.Block(2, 1) }, func() { s.Named(1, 2, "m") }, func() { s.Unblock(2, 1) },
				}
				for _, f := range say[:test.login] {
					f()
				}
				s.Tail()
				c := &porttest.Conn{}
				a := s.Delivery.Attach(2, c)
				list, ends := s.Load(2), s.Ends()
				activate := func() {
					a.Activate(list, ends)
					a.Release()
				}
				if !test.held {
					activate()
				}
				for _, f := range say[test.login:] {
					f()
				}
				s.Named(1, 2, "m")
				behind, news, own := s.Chat(1, 2), s.Named(1, 2, "n"), s.Chat(2, 1)
				s.Tail()
				synctest.Wait()
				if test.held {
					activate()
				}
				synctest.Wait()
				s.Shown("the one who blocked", c, behind, news, own)
				after := s.Chat(1, 2)
				s.Tail()
				s.Shown("the one who blocked, afterwards", c, behind, news, own, after)
			})
		})
	}
}

// Of two connections one has loaded the blocks, and asks, while the other one still holds what came before.
func TestWhatALoginHeldComesBeforeWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		projected := int64(9)
		s, _ := repeating(t, &projected)
		gate := make(chan struct{})
		s.Delivery.Repeats = repeatsBehindGate{s.Delivery.Repeats, gate}
		s.Block(2, 1)
		s.Unblock(2, 1)
		s.Tail()
		login := func() (c *porttest.Conn, activate func()) {
			c = &porttest.Conn{}
			a := s.Delivery.Attach(2, c)
			list, ends := s.Load(2), s.Ends()
			return c, func() {
				a.Activate(list, ends)
				a.Release()
			}
		}
		c1, activate1 := login()
		c2, activate2 := login()
		want := []domain.Place{s.Named(1, 2, "m"), s.Chat(2, 1)}
		s.Tail()
		activate1()
		want = append(want, s.Named(1, 2, "n"))
		s.Tail()
		activate2()
		want = append(want, s.Chat(1, 2))
		s.Tail()
		synctest.Wait()
		close(gate)
		synctest.Wait()
		s.Shown("the one that had loaded the blocks", c1, want...)
		s.Shown("the other one", c2, want...)
	})
}

// Two logins held different records when they loaded the blocks, and the later one has less of what waits.
func TestAClientIsNotToldThatItHasWhatWaitsBehindAnotherLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := repeating(t, new(int64))
		gate := make(chan struct{})
		s.Delivery.Repeats = repeatsBehindGate{s.Delivery.Repeats, gate}
		key := domain.ResumeKey{1}
		s.Delivery.Tokens = delivery.NewResumeTokens(1, time.Now)
		s.Delivery.Tokens.SealWith(key)
		s.Block(2, 1)
		s.Unblock(2, 1)
		s.Tail()
		login := func() (c *porttest.Conn, a *delivery.Attachment, activate func()) {
			c = &porttest.Conn{Feature: port.FeatureResume}
			a = s.Delivery.Attach(2, c)
			list, ends := s.Load(2), s.Ends()
			return c, a, func() {
				a.Handover().Stores()
				a.Handover().Activate(list, ends, nil)
				a.Handover().Resumes(ends, ends, nil)
				a.Release()
			}
		}
		c1, a1, activate1 := login()
		first := s.Named(1, 2, "m")
		s.Tail()
		_, _, activate2 := login()
		s.Named(1, 2, "n")
		s.Tail()
		activate1()
		activate2()
		other := s.Chat(3, 2)
		s.Tail()
		a1.Pong()
		point, ok := domain.NewResumeSeal(key, 2).Open(porttest.Of[porttest.Pong](c1)[0].Token, 1)
		if !ok || point.Next[0] > first.Offset {
			t.Errorf("the token says that it has everything before %v, and %d waits", point.Next, first.Offset)
		}
		got := porttest.Of[porttest.DeliveredAt](c1)
		if len(got) != 1 || got[0].Frame != string(porttest.FrameOf(other)) || got[0].At.Offset >= first.Offset {
			t.Errorf("got %v: it confirms more than what stands before %d", got, first.Offset)
		}
		close(gate)
		synctest.Wait()
	})
}

func TestAnInviteThatABlockHidIsHiddenWhenItIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := repeating(t, new(int64))
		room := domain.EventID{7}
		invite := domain.Event{ID: domain.EventID{8}, Time: porttest.SomeTime, ClientMessageID: "i", Body: domain.GameInvite{
			From: 1, To: 2, Status: domain.InviteOpened, Room: domain.RoomID(room.String()),
		}}
		s.Block(2, 1)
		s.Append(invite)
		s.Unblock(2, 1)
		s.Tail()
		c, _ := s.Login(2)
		s.Append(invite)
		s.Tail()
		synctest.Wait()
		s.Shown("the invited", c)
	})
}

// A question costs a connection its order with the database, so only what may have been hidden is asked about.
func TestOnlyWhatABlockMayHaveHiddenIsAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		projected := int64(4)
		s, history := repeating(t, &projected)
		log := &porttest.PastLog{Log: s.Log}
		s.Delivery.Repeats = &past.Repeats{Log: log, History: history, Progress: history}
		s.Block(2, 1)
		s.Unblock(2, 1)
		s.Block(2, 3)
		s.Tail()
		c, _ := s.Login(2)
		asked := func(what string, want int) {
			t.Helper()
			s.Tail()
			synctest.Wait()
			if history.Asked != want {
				t.Errorf("%s: the history was asked %d times, want %d", what, history.Asked, want)
			}
		}
		unnamed := s.Chat(1, 2)
		s.Named(2, 1, "m")
		others := s.Named(4, 2, "m")
		s.Named(3, 2, "m") // hidden
		asked("none that a block may have hidden", 0)
		named := s.Named(1, 2, "m")
		asked("a first one", 1)
		s.Named(1, 2, "m")
		asked("one that this node has seen", 1)
		if s.Shown("the user", c, unnamed, domain.Place{Offset: unnamed.Offset + 1}, others, named); len(log.Wanted) != 0 {
			t.Errorf("the log was read though the history is behind the end of the block: %v", log.Wanted)
		}
	})
}

func TestOneWhomNobodyCanTellWhetherAMessageIsRepeatedIsClosed(t *testing.T) {
	for what, spoil := range map[string]func(history *porttest.FirstPlaces, log *porttest.PastLog){
		"the database is away": func(history *porttest.FirstPlaces, _ *porttest.PastLog) { history.Err = porttest.ErrRefused },
		"the log is away":      func(_ *porttest.FirstPlaces, log *porttest.PastLog) { log.Err = porttest.ErrRefused },
		"the history is too far behind": func(_ *porttest.FirstPlaces, log *porttest.PastLog) {
			log.Records = 1
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, history := repeating(t, new(int64))
				log := &porttest.PastLog{Log: s.Log}
				spoil(history, log)
				s.Delivery.Repeats = &past.Repeats{Log: log, History: history, Progress: history}
				s.Block(2, 1)
				s.Unblock(2, 1)
				s.Tail()
				c, _ := s.Login(2)
				one, _ := s.Login(1)
				s.Named(1, 2, "m")
				s.Tail()
				synctest.Wait()
				if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseTryLater {
					t.Errorf("the user is closed with %v", got)
				}
				if len(porttest.Of[porttest.Delivered](c)) != 0 || len(porttest.Of[porttest.Delivered](one)) != 1 {
					t.Error("the user is shown the message, or its sender has no echo")
				}
			})
		})
	}
}
