package invites_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/invites"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// inviting is a node whose log comes back to it when the test says so.
type inviting struct {
	t       *testing.T
	log     porttest.Conversations
	invites *invites.Register
	invite  *invites.Invite
	read    int
}

func newInviting(t *testing.T, log porttest.Conversations) *inviting {
	register := invites.NewRegister()
	return &inviting{t: t, log: log, invites: register, invite: &invites.Invite{
		Log: log, Online: porttest.OnlineSet{201: true, 202: true, 203: true}, Invites: register, Now: porttest.Local, NewID: porttest.Counter(),
	}}
}

func (i *inviting) do(sender, target domain.UserID, status domain.InviteStatus, room domain.RoomID) error {
	i.t.Helper()
	return porttest.Answer(i.t, func(done func(error)) {
		i.invite.Execute(invites.Command{Sender: sender, Target: target, Status: status, Room: room}, done)
	})
}

// tail reads what is new in the log and returns the verdict on the last record.
func (i *inviting) tail() (last domain.InviteVerdict) {
	events := i.log.All(0)
	for ; i.read < len(events); i.read++ {
		last = i.invites.Judge(0, events[i.read], events[i.read].Time)
	}
	return last
}

// latest is the invite event at the end of the log.
func (i *inviting) latest() domain.GameInvite {
	events := i.log.All(0)
	body, _ := events[len(events)-1].Body.(domain.GameInvite)
	return body
}

func (i *inviting) open() domain.RoomID {
	i.t.Helper()
	if err := i.do(201, 202, domain.InviteOpened, ""); err != nil {
		i.t.Fatal(err)
	}
	return i.latest().Room
}

func TestAnInviteNamesItsEnd(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	i.open()
	if expires := i.latest().Expires; !expires.Equal(porttest.Stamped.Add(domain.DefaultInviteLife)) {
		t.Errorf("it expires at %s", expires)
	}
}

func TestOfTwoWhoEndAnInviteTheFirstInTheLogDoes(t *testing.T) {
	log := porttest.NewConversations(1)
	a, b := newInviting(t, log), newInviting(t, log)
	room := a.open()
	a.tail()
	b.tail()
	// Neither has read of the other's.
	porttest.WantCode(t, "accept", b.do(202, 201, domain.InviteAccepted, room), "")
	porttest.WantCode(t, "cancel", a.do(201, 202, domain.InviteCancelled, ""), "")
	if a.latest().Room != room {
		t.Errorf("the cancel names the room %q", a.latest().Room)
	}
	for what, node := range map[string]*inviting{"a": a, "b": b} {
		if node.tail() != domain.InviteVoid {
			t.Errorf("the later record counts on node %s", what)
		}
	}
	porttest.WantCode(t, "an answer to what has ended", b.do(202, 201, domain.InviteDeclined, room), domain.CodeInviteEnded)
	porttest.WantCode(t, "a cancel of what has ended", a.do(201, 202, domain.InviteCancelled, room), domain.CodeInviteEnded)
}

func TestOnlyTheInvitedAnswers(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	porttest.WantCode(t, "the inviter", i.do(201, 202, domain.InviteAccepted, room), domain.CodeNotInvited)
	porttest.WantCode(t, "no room", i.do(202, 201, domain.InviteAccepted, ""), domain.CodeBadFrame)
	porttest.WantCode(t, "a room that is none", i.do(202, 201, domain.InviteAccepted, "r"), domain.CodeBadFrame)
	// Somebody else's conversation has no such room: the log says so.
	porttest.WantCode(t, "a stranger", i.do(203, 201, domain.InviteAccepted, room), "")
	if i.tail() != domain.InviteVoid {
		t.Error("a stranger's answer counts")
	}
	porttest.WantCode(t, "the invited", i.do(202, 201, domain.InviteAccepted, room), "")
	if i.tail() != domain.InviteStands {
		t.Error("the answer does not count")
	}
}

func TestACancelRightBehindItsInviteEndsIt(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	first := i.open()
	room := i.open()
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.latest().Room != room {
		t.Errorf("it ends %q, not the newest", i.latest().Room)
	}
	i.tail()
	porttest.WantCode(t, "cancel by room", i.do(201, 202, domain.InviteCancelled, first), "")
	if i.tail() != domain.InviteStands || i.latest().Room != first {
		t.Errorf("it ends %q, not the one named", i.latest().Room)
	}
	porttest.WantCode(t, "cancel of nothing", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.tail() != domain.InviteStands || i.latest().Room != "" {
		t.Errorf("a cancel without an invite names %q", i.latest().Room)
	}
}

func TestACancelThatNamesARoomEndsNoOther(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	unknown := domain.RoomID(domain.DerivedID("room", "unknown").String())
	porttest.WantCode(t, "a cancel of a room that this node does not know", i.do(201, 202, domain.InviteCancelled, unknown), "")
	if i.latest().Room != unknown || i.tail() != domain.InviteVoid {
		t.Errorf("the cancel ends %q", i.latest().Room)
	}
	written := len(i.log.All(0))
	porttest.WantCode(t, "a cancel of no room", i.do(201, 202, domain.InviteCancelled, "lobby"), domain.CodeBadFrame)
	porttest.WantCode(t, "a cancel by the invited", i.do(202, 201, domain.InviteCancelled, room), domain.CodeBadFrame)
	if len(i.log.All(0)) != written {
		t.Errorf("%d records are written for cancels that were refused", len(i.log.All(0))-written)
	}
	porttest.WantCode(t, "the invite is pending still", i.do(202, 201, domain.InviteAccepted, room), "")
	if i.tail() != domain.InviteStands {
		t.Error("the answer does not count")
	}
}

func TestACancelThatIsSentAgainIsWhatItWas(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	for _, what := range []string{"cancel", "the same again"} {
		porttest.WantCode(t, what, porttest.Answer(t, func(done func(error)) {
			i.invite.Execute(invites.Command{
				Sender: 201, Target: 202, Status: domain.InviteCancelled, Room: room, ClientMessageID: "mine",
			}, done)
		}), "")
		if i.tail() != domain.InviteStands {
			t.Errorf("%s does not count", what)
		}
	}
}

func TestAPartitionThatBeginsAnewHasNoInvites(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	i.invites.Restart(0)
	porttest.WantCode(t, "accept", i.do(202, 201, domain.InviteAccepted, room), "")
	if i.tail() != domain.InviteVoid {
		t.Error("an answer to what the log has no more counts")
	}
}

func TestAnInviteThatIsNotInTheLogIsNotPending(t *testing.T) {
	log := porttest.NewConversations(1)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
	i := newInviting(t, log)
	porttest.WantCode(t, "invite", i.do(201, 202, domain.InviteOpened, ""), domain.CodeUnavailable)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Confirmed })
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.latest().Room != "" {
		t.Errorf("the cancel names %q", i.latest().Room)
	}
}

func TestPendingInvitesOfOneUserToAnotherAreBounded(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	for range invites.MaxPendingInvites {
		i.open()
		i.tail()
	}
	porttest.WantCode(t, "one more", i.do(201, 202, domain.InviteOpened, ""), domain.CodeRateLimited)
	porttest.WantCode(t, "the other way", i.do(202, 201, domain.InviteOpened, ""), "")
}

func TestAnInviteExpiresByTheNodeThatOpenedItAndLaterByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewConversations(1)
		own, other := newInviting(t, log), newInviting(t, log)
		own.invite.Now = time.Now
		room := own.open()
		own.tail()
		other.tail()
		byOwn := &invites.ExpireInvites{Invites: own.invites, Log: log, Now: time.Now}
		byOther := &invites.ExpireInvites{Invites: other.invites, Log: log, Now: time.Now}
		writes := func(e *invites.ExpireInvites) int {
			before := len(log.All(0))
			e.Round()
			return len(log.All(0)) - before
		}
		if writes(byOwn)+writes(byOther) != 0 {
			t.Error("it expires at once")
		}
		time.Sleep(domain.DefaultInviteLife - time.Millisecond)
		if writes(byOwn) != 0 {
			t.Error("it expires too early")
		}
		time.Sleep(time.Millisecond)
		if writes(byOther) != 0 {
			t.Error("another node does not leave it to the one that opened it")
		}
		time.Sleep(6 * time.Second) // the one that opened it is gone
		if writes(byOther) != 1 || own.latest().Status != domain.InviteExpired || own.latest().Room != room {
			t.Errorf("another node writes %v", own.latest())
		}
		if writes(byOther) != 0 {
			t.Error("it is written again at once")
		}
		if writes(byOwn) != 1 { // it was slow, not gone
			t.Error("the node that opened it does not write")
		}
		events := log.All(0)
		if first, second := events[len(events)-2], events[len(events)-1]; first.ID != second.ID {
			t.Errorf("two nodes say so under %s and %s", first.ID, second.ID)
		}
		if own.tail() != domain.InviteVoid {
			t.Error("it expires twice")
		}
		if writes(byOwn)+writes(byOther) != 0 {
			t.Error("it expires again")
		}
	})
}

// Whichever clock is wrong, that of the node that opened an invite or that of one that ends it, an invite is pending for its life.
func TestAClockThatLeapsEndsNoInviteAndKeepsNone(t *testing.T) {
	for what, leaps := range map[string]struct{ opener, ender time.Duration }{
		"the opener's clock is ahead":               {10 * time.Minute, 0},
		"the opener's clock is late":                {-time.Hour, 0},
		"the ender's clock leaps ahead":             {0, 100 * 24 * time.Hour},
		"the ender's clock leaps ahead by a moment": {0, 45 * time.Second},
		"the ender's clock leaps back":              {0, -time.Hour},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leap := time.Duration(0)
				wrong := func() time.Time { return time.Now().Add(leap).Round(0) }
				log := porttest.NewConversations(1)
				own := newInviting(t, log)
				own.invite.Now = wrong
				leap = leaps.opener
				own.open()
				own.tail()
				leap = 0
				expire := &invites.ExpireInvites{Invites: own.invites, Log: log, Now: wrong}
				expire.Round()
				leap = leaps.ender
				for _, step := range []struct {
					sleep time.Duration
					ends  int
				}{{0, 0}, {domain.DefaultInviteLife - 1, 0}, {1, 1}} {
					time.Sleep(step.sleep)
					before := len(log.All(0))
					expire.Round()
					if ends := len(log.All(0)) - before; ends != step.ends {
						t.Errorf("%s later %d invites end, want %d", step.sleep, ends, step.ends)
					}
				}
				if own.tail() != domain.InviteStands {
					t.Error("its end is void")
				}
			})
		})
	}
}

// A client that lost its connection says again what it said. The node that takes it has a wrong clock, and knows that the invite has
// ended.
func TestAnInviteThatIsSentAgainToANodeWithAWrongClockIsNoNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewConversations(1)
		i := newInviting(t, log)
		i.invite.Now = time.Now
		send := func() domain.GameInvite {
			porttest.WantCode(t, "invite", porttest.Answer(t, func(done func(error)) {
				i.invite.Execute(invites.Command{Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: "i-1"}, done)
			}), "")
			return i.latest()
		}
		first := send()
		i.tail()
		porttest.WantCode(t, "decline", i.do(202, 201, domain.InviteDeclined, first.Room), "")
		i.tail()
		i.invite.Now = func() time.Time { return time.Now().Add(time.Hour) }
		time.Sleep(2 * time.Minute)
		if again := send(); again != first || i.tail() != domain.InviteStands {
			t.Errorf("it is %+v, sent again %+v", first, again)
		}
		porttest.WantCode(t, "an answer", i.do(202, 201, domain.InviteAccepted, first.Room), domain.CodeInviteEnded)
		i.invite.Now = time.Now
		time.Sleep(time.Millisecond)
		if other := send(); other.Room != first.Room || !other.Expires.After(first.Expires) || i.tail() != domain.InviteStands {
			t.Errorf("long after, the name is of %+v", other)
		}
		porttest.WantCode(t, "an answer to the new one", i.do(202, 201, domain.InviteAccepted, first.Room), "")
		if i.tail() != domain.InviteStands {
			t.Error("the new one is not pending")
		}
	})
}

// echoing is the log as senders know it: what it has is judged at once, and they are told.
type echoing struct{ *inviting }

func (e echoing) Append(event domain.Event, done func(error)) {
	e.log.Append(event, func(err error) {
		if err == nil && e.tail() == domain.InviteVoid {
			err = domain.NewError(domain.CodeInviteEnded, "ended")
		}
		done(err)
	})
}

func TestACancelWithoutRoomIsShownAlsoWhereItsInviteHadEnded(t *testing.T) {
	log := porttest.NewConversations(1)
	here, elsewhere := newInviting(t, log), newInviting(t, log)
	room := here.open()
	here.tail()
	elsewhere.tail()
	here.invite.Log = echoing{here}
	porttest.WantCode(t, "accept", elsewhere.do(202, 201, domain.InviteAccepted, room), "")
	porttest.WantCode(t, "cancel", here.do(201, 202, domain.InviteCancelled, ""), "")
	if here.latest().Status != domain.InviteCancelled || here.latest().Room != "" {
		t.Errorf("the log ends with %+v", here.latest())
	}
	elsewhere.open()
	elsewhere.tail()
	here.tail()
	room = elsewhere.latest().Room
	porttest.WantCode(t, "decline", elsewhere.do(202, 201, domain.InviteDeclined, room), "")
	before := len(log.All(0))
	porttest.WantCode(t, "cancel of the one named", here.do(201, 202, domain.InviteCancelled, room), domain.CodeInviteEnded)
	if written := len(log.All(0)) - before; written != 1 {
		t.Errorf("%d cancels are written for the one that named its room", written)
	}
}

func TestTwoCancelsBehindOneInviteAreBothShown(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	porttest.WantCode(t, "first", i.do(201, 202, domain.InviteCancelled, ""), "") // not read yet
	if i.latest().Room != room {
		t.Errorf("the first names %q", i.latest().Room)
	}
	i.invite.Log = echoing{i}
	porttest.WantCode(t, "second", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.latest().Room != "" {
		t.Errorf("the second names %q", i.latest().Room)
	}
}

func TestAnInviteThatNeverCameIntoTheLogIsNotCancelledLongAfter(t *testing.T) {
	log := porttest.NewConversations(1)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Lost })
	i := newInviting(t, log)
	porttest.WantCode(t, "invite", i.do(201, 202, domain.InviteOpened, ""), domain.CodeUnconfirmed)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Confirmed })
	i.invite.Now = func() time.Time { return porttest.Local().Add(domain.DefaultInviteLife) }
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.latest().Room != "" {
		t.Errorf("the cancel names %q", i.latest().Room)
	}
}

func TestPendingInvitesAreBoundedAlsoOnTheirWay(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	for range invites.MaxPendingInvites {
		i.open()
	}
	porttest.WantCode(t, "one more", i.do(201, 202, domain.InviteOpened, ""), domain.CodeRateLimited)
	porttest.WantCode(t, "the other way", i.do(202, 201, domain.InviteOpened, ""), "")
	i.tail()
	i.invite.Log = echoing{i}
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, ""), "")
	porttest.WantCode(t, "in its place", i.do(201, 202, domain.InviteOpened, ""), "")
}

func TestAnInviteThatIsSentAgainKeepsItsEnd(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	send := func() domain.GameInvite {
		i.t.Helper()
		porttest.WantCode(t, "invite", porttest.Answer(t, func(done func(error)) {
			i.invite.Execute(invites.Command{
				Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: "i-1",
			}, done)
		}), "")
		return i.latest()
	}
	first := send()
	i.invite.Now = func() time.Time { return porttest.Local().Add(10 * time.Second) }
	if onItsWay := send(); onItsWay != first {
		t.Errorf("it is %+v, sent again %+v", first, onItsWay)
	}
	i.tail()
	if again := send(); again != first {
		t.Errorf("it is %+v, sent again %+v", first, again)
	}
	i.tail()
	porttest.WantCode(t, "decline", i.do(202, 201, domain.InviteDeclined, first.Room), "")
	i.tail()
	send() // its sender does not know yet that it has ended
	i.tail()
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, ""), "")
	if i.latest().Room != "" {
		t.Errorf("the cancel of what has ended names %q", i.latest().Room)
	}
}

func TestAnAnswerToAnInviteThatIsOverIsRefusedUnlessItMayHaveBeenSentBefore(t *testing.T) {
	block := domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 1}
	for what, end := range map[string]func(i *inviting, room domain.RoomID){
		"cancelled": func(i *inviting, room domain.RoomID) {
			porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, room), "")
			i.tail()
		},
		"out of sight": func(i *inviting, _ domain.RoomID) {
			i.invites.Judge(0, domain.Event{Time: porttest.Stamped, Body: block}, porttest.Stamped)
		},
	} {
		i := newInviting(t, porttest.NewConversations(1))
		room := i.open()
		i.tail()
		end(i, room)
		written := len(i.log.All(0))
		porttest.WantCode(t, what, i.do(202, 201, domain.InviteAccepted, room), domain.CodeInviteEnded)
		porttest.WantCode(t, what, i.do(202, 201, domain.InviteDeclined, room), domain.CodeInviteEnded)
		if got := len(i.log.All(0)); got != written {
			t.Errorf("%s: %d answers are written", what, got-written)
		}
		// One with a name may be a repetition of one that this node does not remember: the log tells.
		porttest.WantCode(t, what, i.named("mine", 202, 201, domain.InviteAccepted, room), "")
		if i.tail() != domain.InviteVoid {
			t.Errorf("%s: the answer counts", what)
		}
	}
}

func TestACancelOfWhatHasEndedIsRefusedUnlessItMayHaveBeenSentBefore(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	porttest.WantCode(t, "accept", i.do(202, 201, domain.InviteAccepted, room), "")
	i.tail()
	written := len(i.log.All(0))
	porttest.WantCode(t, "cancel", i.do(201, 202, domain.InviteCancelled, room), domain.CodeInviteEnded)
	if got := len(i.log.All(0)); got != written {
		t.Error("the cancel is written")
	}
	porttest.WantCode(t, "a named cancel", i.named("mine", 201, 202, domain.InviteCancelled, room), "")
	if i.latest().Room != room || i.tail() != domain.InviteVoid {
		t.Error("the log does not tell")
	}
}

func TestANodeExpiresItsOwnInvitesAtOnceAndThoseOfOthersByTheirRooms(t *testing.T) {
	for salt, rooms := range map[int][]byte{0: {0, 1, 128, 255}, 100: {0, 155, 156, 255}} {
		for _, first := range rooms {
			log := porttest.NewConversations(1)
			own, other := newInviting(t, log), newInviting(t, log)
			room := domain.EventID{first, 1}
			own.invite.NewID = func() domain.EventID { return room }
			own.open()
			own.tail()
			other.tail()
			// What does not count does not make it another node's.
			own.invites.Judge(0, domain.Event{Time: porttest.Stamped, Body: domain.GameInvite{
				From: 202, To: 201, Status: domain.InviteCancelled, Room: domain.RoomID(room.String()),
			}}, porttest.Stamped)
			due := porttest.Stamped.Add(domain.DefaultInviteLife)
			writes := func(register *invites.Register, now time.Time) bool {
				before := len(log.All(0))
				(&invites.ExpireInvites{Invites: register, Log: log, Now: func() time.Time { return now }, Salt: salt}).Round()
				return len(log.All(0)) > before
			}
			if writes(own.invites, due.Add(-1)) || !writes(own.invites, due) {
				t.Errorf("room %d: the node that opened it does not write when it is due", first)
			}
			left := 2*time.Second + time.Duration((int(first)+salt)%256)*3*time.Second/256
			if writes(other.invites, due.Add(left-1)) || !writes(other.invites, due.Add(left)) {
				t.Errorf("room %d, salt %d: another node does not write after %v", first, salt, left)
			}
		}
	}
}

func TestAnExpiryThatDoesNotComeBackIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewConversations(1)
		i := newInviting(t, log)
		i.invite.Now = time.Now
		i.open()
		i.tail()
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Lost })
		var tried []time.Duration
		began := time.Now()
		log.Decide(func(domain.Event) porttest.Fate {
			tried = append(tried, time.Since(began))
			return porttest.Lost
		})
		expire := &invites.ExpireInvites{Invites: i.invites, Log: log, Now: time.Now}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			expire.Run(ctx)
		}()
		time.Sleep(domain.DefaultInviteLife + 16*time.Second)
		synctest.Wait()
		if len(tried) < 3 || len(tried) > 4 || tried[0] < domain.DefaultInviteLife || tried[0] > domain.DefaultInviteLife+time.Second {
			t.Errorf("it was written after %v, want every five seconds or so once it was due", tried)
		}
		for n := 1; n < len(tried); n++ {
			if pause := tried[n] - tried[n-1]; pause < 5*time.Second || pause > 6*time.Second {
				t.Errorf("it was written again after %v", pause)
			}
		}
		cancel()
		<-done
	})
}

// Clients and their developers were told these numbers.
func TestTheBoundsAreThoseOfTheContract(t *testing.T) {
	for what, bound := range map[string][2]int{
		"pending invites of one user to another": {invites.MaxPendingInvites, 32},
		"friends":                                {presence.MaxFriends, 5000},
		"pairs that a user ever blocked":         {blocks.MaxBlocks, 10_000},
		"unread messages that are shown":         {history.MaxUnread, 1000},
	} {
		if bound[0] != bound[1] {
			t.Errorf("%s: %d, want %d", what, bound[0], bound[1])
		}
	}
}
