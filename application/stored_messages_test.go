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
	"chatting/application/history"
	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestWhatIsSentToAnOfflineUserIsStoredIfTheUserIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		chat := func(to domain.UserID) error {
			return porttest.Answer(t, func(done func(error)) {
				s.send.Execute(messaging.ChatCommand{Sender: 201, Target: to}, done)
			})
		}
		system := func(to domain.UserID) error {
			_, err := s.system.Execute(t.Context(), messaging.SystemMessageCommand{Message: domain.SystemMessage{To: to}})
			return err
		}
		for what, send := range map[string]func(domain.UserID) error{"chat": chat, "system": system} {
			porttest.WantCode(t, what+" to a known user", send(202), "")
			porttest.WantCode(t, what+" to an unknown user", send(999), domain.CodeNoUserOrOffline)
		}
		invite := &invites.Invite{Invites: invites.NewRegister(), Log: s.log, Online: s.Presence, Now: time.Now, NewID: porttest.Counter()}
		porttest.WantCode(t, "an invite", porttest.Answer(t, func(done func(error)) {
			invite.Execute(invites.Command{Sender: 201, Target: 202, Status: domain.InviteOpened}, done)
		}), domain.CodeNoUserOrOffline)

		s.in(t, 203)
		s.known.Mu.Lock()
		s.known.Err = errors.New("away")
		s.known.Mu.Unlock()
		for what, send := range map[string]func(domain.UserID) error{"chat": chat, "system": system} {
			porttest.WantCode(t, what+" offline, the database away", send(202), domain.CodeUnavailable)
			porttest.WantCode(t, what+" online, the database away", send(203), "")
		}
	})
}

func TestALoginIsAnsweredThenGetsWhatWasStoredThenWhatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.in(t, 203)
		want := []string{s.chat(t, 201, 202), s.chat(t, 203, 202), s.chat(t, 201, 202), s.chat(t, 203, 202)}

		c := &porttest.Conn{}
		full := make(chan struct{})
		c.Room = func(ctx context.Context, _ int) error {
			select {
			case <-full:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		session, err := s.login.Execute(t.Context(), "202", c)
		if err != nil {
			t.Fatal(err)
		}
		live := s.chat(t, 201, 202)
		synctest.Wait()
		if got := c.All(); len(got) != 1 {
			t.Fatalf("without room in its queue the connection got %v", got)
		}
		close(full)
		synctest.Wait()
		sameFrames(t, "replayed, by time over both conversations", replayedTo(c), want)
		got := c.All()
		if _, ok := got[0].(porttest.LoggedIn); !ok {
			t.Fatalf("the first thing is %v", got[0])
		}
		if last, ok := got[len(got)-1].(porttest.DeliveredAt); !ok || last.Frame != live || len(got) != 6 {
			t.Fatalf("got %v, want the live one last", got)
		}
		session.Close()
	})
}

func TestWhatAClientConfirmedIsNotReplayedAgainAndWhatItDidNotIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frames := []string{s.chat(t, 201, 202), s.chat(t, 201, 202), s.chat(t, 201, 202)}
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "the first login", replayedTo(c), frames)
		partition := s.log.PartitionOf(domain.Between(201, 202))
		session.Received([]domain.Place{{Partition: partition, Offset: 0}})
		session.Close()

		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "once one is confirmed", replayedTo(c), frames[1:])
		live := s.chat(t, 201, 202)
		synctest.Wait()
		session.Close()
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "what was shown live is replayed, too", replayedTo(c), append(frames[1:], live))
		last := porttest.Of[porttest.Replayed](c)[2].At
		if last != live {
			t.Fatalf("the last one confirms %s, want %s", last, live)
		}
		session.Received([]domain.Place{{Partition: partition, Offset: 3}})
		second, other := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "another device", replayedTo(second), nil)
		session.Close()
		other.Close()

		s.stop()
		s.restart(t)
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "after a restart", replayedTo(c), nil)
		session.Close()
	})
}

func TestWhatWasConfirmedAndNotSavedIsReplayedAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frames := []string{s.chat(t, 201, 202), s.chat(t, 201, 202)}
		at := []domain.Place{{Partition: s.log.PartitionOf(domain.Between(201, 202)), Offset: 0}}
		_, session := s.in(t, 202)
		session.Received(at)
		time.Sleep(3 * time.Second)
		at[0].Offset = 1
		session.Received(at)
		s.history.Mu.Lock()
		s.history.Saving = porttest.ErrRefused // as good as dead
		s.history.Mu.Unlock()
		session.Close()
		s.stop()
		s.history.Saving = nil
		s.restart(t)
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "after the crash", replayedTo(c), frames[1:])
		session.Close()
	})
}

func TestWhoNeverHadACursorGetsWhatWasSentSinceStoringBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.stop()
		clear(s.history.Cursors)
		s.in(t, 201)
		s.chat(t, 201, 202)
		s.restart(t)
		frame := s.chat(t, 201, 202)
		s.stop()
		s.restart(t) // begins again, which changes nothing
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "replayed", replayedTo(c), []string{frame})
		session.Close()
	})
}

func TestALoginDoesNotWaitForTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frames := []string{s.chat(t, 201, 202), s.chat(t, 201, 202), s.chat(t, 201, 202)}
		partition := s.log.PartitionOf(domain.Between(201, 202))
		for _, behind := range []int64{0, 1, 2, 3} {
			s.history.Mu.Lock()
			s.history.Behind[partition] = behind
			s.history.Mu.Unlock()
			began := time.Now()
			c, session := s.in(t, 202)
			if waited := time.Since(began); waited > 0 {
				t.Errorf("%d behind, it waited for %s", behind, waited)
			}
			synctest.Wait()
			sameFrames(t, fmt.Sprintf("if the history has %d", behind), replayedTo(c), frames)
			if last := porttest.Of[porttest.Replayed](c)[2]; last.At != frames[2] {
				t.Errorf("the last one confirms %s, want %s", last.At, frames[2])
			}
			live := s.chat(t, 201, 202)
			synctest.Wait()
			if got := porttest.Of[porttest.DeliveredAt](c); len(got) != 1 || got[0].Frame != live {
				t.Errorf("live came %v, want %s", got, live)
			}
			frames = append(frames, live)[1:]
			session.Received([]domain.Place{porttest.PositionOf(frames[0])})
			frames = frames[1:]
			frames = append(frames, s.chat(t, 201, 202))
			session.Close()
			s.past.Mu.Lock()
			if s.past.Open != 0 {
				t.Errorf("%d readers of the log are open", s.past.Open)
			}
			s.past.Mu.Unlock()
			synctest.Wait()
		}
	})
}

// What stands behind a gap is delivered, but the cursor stays before the gap.
func TestOfAHistoryThatStandsStillALoginGetsWhatIsNearestAndTheRestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.past.Records = 2
		var frames []string
		for range 6 {
			frames = append(frames, s.chat(t, 201, 202))
		}
		partition := s.log.PartitionOf(domain.Between(201, 202))
		s.history.Behind[partition] = 1
		for _, next := range []int64{2, 0} { // how far the history comes then; 0: to the end
			c, session := s.in(t, 202)
			synctest.Wait()
			sameFrames(t, "while it stands still", replayedTo(c), []string{frames[0], frames[4], frames[5]})
			for _, r := range porttest.Of[porttest.Replayed](c) {
				if r.At != "" && porttest.PositionOf(r.At) != porttest.PositionOf(frames[0]) {
					t.Errorf("with %s everything before %s is confirmed", r.Frame, r.At)
				}
			}
			live := s.chat(t, 201, 202)
			synctest.Wait()
			if got := porttest.Of[porttest.DeliveredAt](c); len(got) != 1 || got[0].Frame != live {
				t.Errorf("live came %v, want %s", got, live)
			}
			frames[4], frames[5] = frames[5], live
			session.Received([]domain.Place{porttest.PositionOf(live)})
			session.Close()
			synctest.Wait()
			s.history.Behind[partition] = next
			frames[0] = string(porttest.FrameOf(domain.Place{Partition: partition, Offset: 1}))
		}
		delete(s.history.Behind, partition)
		c, session := s.in(t, 202)
		synctest.Wait()
		var want []string
		for offset := range int64(6) {
			want = append(want, string(porttest.FrameOf(domain.Place{Partition: partition, Offset: 2 + offset})))
		}
		sameFrames(t, "once it goes on", replayedTo(c), want)
		session.Close()
	})
}

// slowHistory has a database that answers nothing about messages, or too late.
type slowHistory struct {
	*porttest.Projection

	recent, waiting, projected func(ctx context.Context) error
}

func fails(context.Context) error { return porttest.ErrRefused }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return domain.WrapError(domain.CodeUnavailable, "slow", ctx.Err())
}

func (h *slowHistory) Projected(ctx context.Context, partitions int) ([]domain.Place, error) {
	if h.projected != nil {
		return nil, h.projected(ctx)
	}
	return h.Projection.Projected(ctx, partitions)
}

func (h *slowHistory) Recent(
	ctx context.Context, user domain.UserID, before []domain.Place, since time.Time, limit int,
) ([]domain.EventID, error) {
	if h.recent != nil {
		return nil, h.recent(ctx)
	}
	return h.Projection.Recent(ctx, user, before, since, limit)
}

func (h *slowHistory) Waiting(
	ctx context.Context, user domain.UserID, from, to []domain.Place, limit int,
) ([]replay.WaitingSender, []domain.Place, error) {
	if h.waiting != nil {
		return nil, nil, h.waiting(ctx)
	}
	return h.Projection.Waiting(ctx, user, from, to, limit)
}

func TestALoginDoesWithoutAHistoryThatDoesNotAnswer(t *testing.T) {
	for what, slow := range map[string]slowHistory{
		"how far it is":               {projected: fails},
		"how far it is, slow":         {projected: hangs},
		"what was said lately":        {recent: fails},
		"what was said lately, slow":  {recent: hangs},
		"what waits":                  {waiting: fails},
		"what waits, slow":            {waiting: hangs},
		"everything, slow":            {projected: hangs, recent: hangs, waiting: hangs},
		"nothing: it answers at once": {},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoring(t)
				s.in(t, 201)
				partition := s.log.PartitionOf(domain.Between(201, 202))
				confirmed := s.chat(t, 201, 202)
				_, session := s.in(t, 202)
				session.Received([]domain.Place{porttest.PositionOf(confirmed)})
				session.Close()
				time.Sleep(5 * time.Second) // it is saved
				frames := []string{s.chat(t, 201, 202), s.chat(t, 201, 202)}
				slow.Projection = s.history
				followed := s.history.Followed()
				followed.Projected = &slow
				stored := replay.NewStoredMessages(s.history, &slow, followed, porttest.Quiet)
				stored.Past, s.login.Replays.Stored = s.stored.Past, stored
				s.history.Behind[partition] = 2
				for range 2 { // and nothing is confirmed by itself
					began := time.Now()
					c, session := s.in(t, 202)
					if waited := time.Since(began); waited > 5*time.Second {
						t.Errorf("it waited for %s", waited)
					}
					synctest.Wait()
					sameFrames(t, "replayed", replayedTo(c), frames)
					session.Close()
					synctest.Wait()
				}
				c, session := s.in(t, 202)
				synctest.Wait()
				session.Received([]domain.Place{porttest.PositionOf(frames[0])})
				session.Close()
				sameFrames(t, "before it is confirmed", replayedTo(c), frames)
				c, session = s.in(t, 202)
				synctest.Wait()
				sameFrames(t, "once the first is confirmed", replayedTo(c), frames[1:])
				session.Close()
				time.Sleep(10 * time.Second) // the questions under way end
			})
		})
	}
}

func TestWhileTheHistoryDoesNotKnowThatTheLogWasMadeAnewNothingOfItIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frame := s.chat(t, 201, 202)
		partition := s.log.PartitionOf(domain.Between(201, 202))
		s.history.Behind[partition] = 5 // the log ends at 1: it is another than the history knows
		c, session := s.in(t, 202)
		synctest.Wait()
		for _, r := range porttest.Of[porttest.Replayed](c) {
			if r.At != "" && porttest.PositionOf(r.At).Partition == partition {
				t.Errorf("a place of the earlier topic is confirmed: %v", r)
			}
		}
		live := s.chat(t, 201, 202)
		synctest.Wait()
		if got := porttest.Of[porttest.DeliveredAt](c); len(got) != 1 || got[0].Frame != live {
			t.Errorf("live came %v, want %s", got, live)
		}
		session.Received([]domain.Place{porttest.PositionOf(live)})
		session.Close()
		synctest.Wait()
		s.history.Mu.Lock()
		s.history.Generation = 2
		clear(s.history.Behind)
		s.history.Mu.Unlock()
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "once it knows", replayedTo(c), []string{frame, live})
		session.Close()
	})
}

func TestAMessageThatTheHistoryAndTheLogHaveIsReplayedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		named := func(name domain.ClientMessageID) {
			if err := porttest.Answer(t, func(done func(error)) {
				s.send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: name}, done)
			}); err != nil {
				t.Fatal(err)
			}
		}
		named("x")
		named("y")
		named("x") // again, behind the seam
		named("y")
		named("z")
		named("z") // both behind it
		partition := s.log.PartitionOf(domain.Between(201, 202))
		place := func(offset int64) string {
			return string(porttest.FrameOf(domain.Place{Partition: partition, Offset: offset}))
		}
		s.history.Behind[partition] = 2
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "the first time", replayedTo(c), []string{place(0), place(1), place(4)})
		named("z") // live, once more
		synctest.Wait()
		if got := porttest.Of[porttest.DeliveredAt](c); len(got) != 0 {
			t.Errorf("what was replayed came live: %v", got)
		}
		session.Received([]domain.Place{{Partition: partition, Offset: 1}})
		session.Close()
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "once the first two are confirmed", replayedTo(c), []string{place(4)})
		session.Close()
	})
}

func TestTheLogIsReadInPartsUnlessTheHistoryCatchesUp(t *testing.T) {
	for what, catchesUp := range map[string]bool{"the history stands still": false, "the history catches up": true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStoring(t)
			for _, sender := range []domain.UserID{201, 203} {
				s.in(t, sender)
			}
			s.past.AtOnce = 3
			var frames []string
			for n := range domain.UserID(20) {
				frames = append(frames, s.chat(t, 201+n%2*2, 202))
			}
			for partition := range s.log.Records {
				s.history.Behind[partition] = 0
			}
			flushed := make(chan struct{})
			s.history.Flushed = sync.OnceFunc(func() { close(flushed) })
			room := make(chan struct{})
			c := &porttest.Conn{Room: func(context.Context, int) error {
				<-room
				return nil
			}}
			session, err := s.login.Execute(t.Context(), "202", c)
			if err != nil {
				t.Fatal(err)
			}
			<-flushed // it is asked to hurry
			if catchesUp {
				s.history.Mu.Lock()
				clear(s.history.Behind)
				s.history.Mu.Unlock()
			}
			close(room)
			synctest.Wait()
			for _, sender := range []domain.UserID{201, 203} {
				sameFrames(t, what, s.of(sender, replayedTo(c)), s.of(sender, frames))
			}
			ends, _ := s.log.EndOffsets(t.Context())
			partition := s.log.PartitionOf(domain.Between(201, 202))
			last := string(porttest.FrameOf(domain.Place{Partition: partition, Offset: ends[partition] - 1}))
			if !slices.ContainsFunc(porttest.Of[porttest.Replayed](c), func(r porttest.Replayed) bool { return r.At == last }) {
				t.Errorf("%s: the end is not confirmed with anything", what)
			}
			if parts := len(s.past.Wanted); (parts == 3) != catchesUp || s.past.Open != 0 {
				t.Errorf("%s: the log was read %d times, %d readers are open", what, parts, s.past.Open)
			}
			session.Close()
		})
	}
}

func TestEachPartOfTheLogIsJudgedByTheBlocksAtItsPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.past.AtOnce = 1
		partition := s.log.PartitionOf(domain.Between(201, 202))
		s.history.Behind[partition] = 0
		want := []string{s.chat(t, 201, 202)}
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		s.chat(t, 201, 202)
		if err := s.block.Remove(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		want = append(want, s.chat(t, 201, 202))
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "without what a block hides", replayedTo(c), want)
		session.Close()
	})
}

// Nobody can tell whether a block hid what somebody says again: the history stands still. The login gets what can be told.
func TestWhatMayHaveBeenHiddenComesAtALaterLogin(t *testing.T) {
	for what, away := range map[string]bool{"the history is too far behind": false, "the history does not answer": true} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStoring(t)
				s.in(t, 201)
				s.in(t, 203)
				partition := s.log.PartitionOf(domain.Between(201, 202))
				_, session := s.in(t, 202)
				session.Close()
				time.Sleep(5 * time.Second) // where storing begins for it is saved
				for _, change := range []func(context.Context, domain.UserID, domain.UserID) error{s.block.Add, s.block.Remove} {
					if err := change(t.Context(), 202, 201); err != nil {
						t.Fatal(err)
					}
				}
				projected := int64(0)
				first := &porttest.FirstPlaces{Log: s.log, Projected: func(int) int64 { return projected }}
				if away {
					first.Err = porttest.ErrRefused
				}
				repeats := &past.Repeats{Log: &porttest.PastLog{Log: s.log, Records: 1}, History: first, Progress: first}
				s.stored.Past.Repeats = repeats
				s.history.Behind[partition] = int64(len(s.log.All(partition)))
				before := s.chat(t, 201, 202)
				doubtful := string(porttest.FrameOf(domain.Place{Partition: partition, Offset: int64(len(s.log.All(partition)))}))
				if err := porttest.Answer(t, func(done func(error)) {
					s.send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "x"}, done)
				}); err != nil {
					t.Fatal(err)
				}
				behind := s.chat(t, 201, 202)
				for range 2 {
					c, session := s.in(t, 202)
					synctest.Wait()
					sameFrames(t, "while that cannot be told", replayedTo(c), []string{before, behind})
					session.Received([]domain.Place{porttest.PositionOf(behind)})
					session.Close()
					time.Sleep(5 * time.Second) // it is saved
					before, behind = behind, s.chat(t, 201, 202)
				}
				projected, first.Err = int64(len(s.log.All(partition))), nil
				c, session := s.in(t, 202)
				synctest.Wait()
				if got := replayedTo(c); len(got) != 4 || got[0] != doubtful {
					t.Errorf("once it can be told: %v, want %s first", got, doubtful)
				}
				session.Close()
			})
		})
	}
}

func TestAReplayMakesRoomIfOthersNeedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frame := s.chat(t, 201, 202)
		s.history.Behind[s.log.PartitionOf(domain.Between(201, 202))] = 0
		c := &porttest.Conn{Room: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		session, err := s.login.Execute(t.Context(), "202", c)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.past.Cuts[len(s.past.Cuts)-1]()
		synctest.Wait()
		porttest.WantClosed(t, "who does not read", c, port.CloseTryLater)
		if s.past.Open != 0 {
			t.Error("it has not made room")
		}
		session.Close()
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "the next time", replayedTo(c), []string{frame})
		session.Close()
	})
}

func TestALoginFailsWhereTheDatabaseCannotTellWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.history.Fail(porttest.ErrRefused)
		_, err := s.login.Execute(t.Context(), "202", &porttest.Conn{})
		porttest.WantCode(t, "login", err, domain.CodeUnavailable)
		if s.Presence.Online(202) {
			t.Fatal("the user is online")
		}
	})
}

func TestAReplayThatCannotGoOnClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		var frames []string
		for range 40 {
			frames = append(frames, s.chat(t, 201, 202))
		}
		c := &porttest.Conn{}
		session, err := s.login.Execute(t.Context(), "202", c)
		if err != nil {
			t.Fatal(err)
		}
		s.history.Fail(porttest.ErrRefused)
		synctest.Wait()
		if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseTryLater {
			t.Fatalf("closed %v, having got %v", got, replayedTo(c))
		}
		s.chat(t, 201, 202)
		synctest.Wait()
		if len(porttest.Of[porttest.DeliveredAt](c)) != 0 {
			t.Fatal("a live frame came after a hole")
		}
		session.Close()
		s.history.Fail(nil)
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "the next time", replayedTo(c)[:40], frames)
		session.Close()
	})
}

func TestALongBacklogIsReadInPagesAndEachConversationInOrder(t *testing.T) {
	for _, window := range []int{0, 1, 7, 100} {
		synctest.Test(t, func(t *testing.T) {
			s := newStoring(t)
			s.history.Window = window
			want := map[domain.UserID][]string{}
			for sender := domain.UserID(210); sender < 215; sender++ {
				s.in(t, sender)
			}
			for n := range domain.UserID(500) {
				sender := 210 + (n*n)%5
				want[sender] = append(want[sender], s.chat(t, sender, 202))
			}
			c, session := s.in(t, 202)
			synctest.Wait()
			for sender, frames := range want {
				sameFrames(t, fmt.Sprintf("replayed of %d, with windows of %d", sender, window), s.of(sender, replayedTo(c)), frames)
			}
			if longest := slices.Max(s.history.Pages); longest > 20 {
				t.Fatalf("%d entries were loaded at a time", longest)
			}
			// The last one of a partition confirms all up to where the log ended.
			ends, _ := s.log.EndOffsets(t.Context())
			lasts := map[string]bool{}
			for _, r := range porttest.Of[porttest.Replayed](c) {
				lasts[r.At] = true
			}
			for partition, end := range ends {
				if end > 0 && !lasts[fmt.Sprintf("%d/%d", partition, end-1)] {
					t.Fatalf("the end of partition %d is not confirmed with anything", partition)
				}
			}
			session.Close()
		})
	}
}

func TestEntriesOfAnEarlierTopicConfirmNothingButTheirLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		partition := s.log.PartitionOf(domain.Between(201, 202))
		for n := range 3 {
			s.history.Earlier = append(s.history.Earlier, history.Entry{
				ID: domain.DerivedID("earlier", fmt.Sprint(n)), Sender: 201, At: time.Now(), Frame: fmt.Append(nil, "earlier ", n),
				Place: domain.Place{Generation: 1, Partition: partition, Offset: int64(1000 + n)},
			})
		}
		s.history.Generation = 2
		c, session := s.in(t, 202)
		synctest.Wait()
		want := []porttest.Replayed{{Frame: "earlier 0", At: ""}, {Frame: "earlier 1", At: ""}, {Frame: "earlier 2", At: fmt.Sprintf("%d/-1", partition)}}
		if got := porttest.Of[porttest.Replayed](c); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		session.Received([]domain.Place{{Partition: partition, Offset: -1}})
		session.Close()
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "confirmed", replayedTo(c), nil)
		session.Close()
	})
}

func TestAMessageThatWasReplayedIsNotShownAgainWhenItsSenderRepeatsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		named := func() {
			if err := porttest.Answer(t, func(done func(error)) {
				s.send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "x"}, done)
			}); err != nil {
				t.Fatal(err)
			}
		}
		named()
		c, session := s.in(t, 202)
		synctest.Wait()
		named()
		live := s.chat(t, 201, 202)
		synctest.Wait()
		if got := porttest.Of[porttest.DeliveredAt](c); len(replayedTo(c)) != 1 || len(got) != 1 || got[0].Frame != live {
			t.Fatalf("replayed %v, then live %v", replayedTo(c), got)
		}
		session.Close()
	})
}

func TestATalkToOneselfIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.log.Append(domain.Event{ID: domain.DerivedID("own", ""), Body: domain.ChatMessage{From: 202, To: 202}}, func(error) {})
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "replayed", replayedTo(c), nil)
		session.Close()
	})
}

// stuck logs a connection of 202 in whose replay does not come on before room is closed. hold appends live messages.
func stuck(t *testing.T) (s *storing, c *porttest.Conn, session *application.LoggedIn, hold func(n int), room chan struct{}) {
	s = newStoring(t)
	s.in(t, 201)
	s.chat(t, 201, 202)
	room = make(chan struct{})
	c = &porttest.Conn{Room: func(ctx context.Context, _ int) error {
		select {
		case <-room:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	session, err := s.login.Execute(t.Context(), "202", c)
	if err != nil {
		t.Fatal(err)
	}
	hold = func(n int) {
		for range n {
			s.log.Append(domain.Event{ID: s.send.NewID(), Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		}
		synctest.Wait()
	}
	return s, c, session, hold, room
}

func TestWhatIsHeldDuringALongReplayIsBoundedByItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, session, hold, _ := stuck(t)
		if hold(10_000); len(porttest.Of[porttest.Closed](c)) != 0 {
			t.Fatal("closed after 10,000 short frames")
		}
		if hold(10_000); len(porttest.Of[porttest.Closed](c)) == 0 {
			t.Fatal("there is no bound")
		}
		if got := porttest.Of[porttest.Closed](c)[0].Reason; got != port.CloseSlow {
			t.Fatalf("closed as %s", got)
		}
		session.Close()
	})
}

func TestWhatWasHeldFollowsTheReplayAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, session, hold, room := stuck(t)
		hold(10_000) // more than is handed over at a time; with what follows less than may wait
		close(room)
		hold(5_000)
		synctest.Wait() // until everything is handed over
		got := porttest.Of[porttest.DeliveredAt](c)
		if len(replayedTo(c)) != 1 || len(got) != 15_000 {
			t.Fatalf("got %d replayed and %d live", len(replayedTo(c)), len(got))
		}
		partition := s.log.PartitionOf(domain.Between(201, 202))
		for i, d := range got {
			if want := (domain.Place{Partition: partition, Offset: int64(i + 1)}); d.At != want {
				t.Fatalf("number %d is from %v", i, d.At)
			}
		}
		session.Close()
	})
}

func TestWhatWasHeldWhileALoginWaitedIsHandedOverAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.past.Gate = make(chan struct{})
		waits := 0
		c := &porttest.Conn{Room: func(context.Context, int) error {
			waits++
			return nil
		}}
		done := make(chan *application.LoggedIn)
		go func() {
			session, err := s.login.Execute(t.Context(), "202", c)
			if err != nil {
				t.Error(err)
			}
			done <- session
		}()
		synctest.Wait()
		for range 1000 {
			s.log.Append(domain.Event{ID: s.send.NewID(), Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
		}
		synctest.Wait()
		close(s.past.Gate)
		session := <-done
		synctest.Wait()
		if got := len(porttest.Of[porttest.DeliveredAt](c)); got != 1000 || waits == 0 {
			t.Fatalf("%d frames, with room asked for %d times", got, waits)
		}
		session.Close()
	})
}

// laterEnds is a port.LogEnds whose partition has more records than can be read.
type laterEnds struct {
	port.LogEnds

	partition int
	unread    int64
}

func (e laterEnds) EndOffsets(ctx context.Context) ([]int64, error) {
	ends, err := e.LogEnds.EndOffsets(ctx)
	ends[e.partition] += e.unread
	return ends, err
}

// A transaction that is open in the log holds back what was appended behind it.
func TestALoginDoesNotWaitForWhatCannotBeReadAndIsRepeatedWhenThatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		want := []string{s.chat(t, 201, 202)}
		partition := s.log.PartitionOf(domain.Between(201, 202))
		s.login.Ends = laterEnds{LogEnds: s.log, partition: partition, unread: 2}
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "what can be read", replayedTo(c), want)
		session.Received([]domain.Place{{Partition: partition, Offset: 0}})

		want = []string{s.chat(t, 201, 202)} // now it can be read
		synctest.Wait()
		if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseHole {
			t.Fatalf("the connection was closed with %v and got %v", got, c.All())
		}
		session.Close()
		s.login.Ends = s.log
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "what could not be read before", replayedTo(c), want)
		live := s.chat(t, 201, 202)
		synctest.Wait()
		if got := c.All(); got[len(got)-1].(porttest.DeliveredAt).Frame != live || len(porttest.Of[porttest.Closed](c)) > 0 {
			t.Errorf("got %v", got)
		}
		session.Close()
	})
}
