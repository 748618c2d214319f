package application_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

func TestWhatIsSentToAnOfflineUserIsStoredIfTheUserIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		chat := func(to domain.UserID) error {
			return answer(t, func(done func(error)) {
				s.send.Execute(application.ChatCommand{Sender: 201, Target: to}, done)
			})
		}
		system := func(to domain.UserID) error {
			_, err := s.system.Execute(t.Context(), application.SystemMessageCommand{Message: domain.SystemMessage{To: to}})
			return err
		}
		for what, send := range map[string]func(domain.UserID) error{"chat": chat, "system": system} {
			wantCode(t, what+" to a known user", send(202), "")
			wantCode(t, what+" to an unknown user", send(999), domain.CodeNoUserOrOffline)
		}
		invite := &application.Invite{Invites: application.NewInvites(), Log: s.log, Online: s.presence, Now: time.Now, NewID: counter()}
		wantCode(t, "an invite", answer(t, func(done func(error)) {
			invite.Execute(application.InviteCommand{Sender: 201, Target: 202, Status: domain.InviteOpened}, done)
		}), domain.CodeNoUserOrOffline)

		s.in(t, 203)
		s.known.mu.Lock()
		s.known.err = errors.New("away")
		s.known.mu.Unlock()
		for what, send := range map[string]func(domain.UserID) error{"chat": chat, "system": system} {
			wantCode(t, what+" offline, the database away", send(202), domain.CodeUnavailable)
			wantCode(t, what+" online, the database away", send(203), "")
		}
	})
}

func TestALoginIsAnsweredThenGetsWhatWasStoredThenWhatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.in(t, 203)
		want := []string{s.chat(t, 201, 202), s.chat(t, 203, 202), s.chat(t, 201, 202), s.chat(t, 203, 202)}

		c := &conn{}
		full := make(chan struct{})
		c.room = func(ctx context.Context, _ int) error {
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
		if got := c.all(); len(got) != 1 {
			t.Fatalf("without room in its queue the connection got %v", got)
		}
		close(full)
		synctest.Wait()
		sameFrames(t, "replayed, by time over both conversations", replayedTo(c), want)
		got := c.all()
		if _, ok := got[0].(loggedIn); !ok {
			t.Fatalf("the first thing is %v", got[0])
		}
		if last, ok := got[len(got)-1].(deliveredAt); !ok || last.frame != live || len(got) != 6 {
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
		partition := s.log.partitionOf(domain.Between(201, 202))
		session.Received([]application.Position{{Partition: partition, Offset: 0}})
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
		last := of[replayed](c)[2].at
		if last != live {
			t.Fatalf("the last one confirms %s, want %s", last, live)
		}
		session.Received([]application.Position{{Partition: partition, Offset: 3}})
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
		at := []application.Position{{Partition: s.log.partitionOf(domain.Between(201, 202)), Offset: 0}}
		_, session := s.in(t, 202)
		session.Received(at)
		time.Sleep(3 * time.Second)
		at[0].Offset = 1
		session.Received(at)
		s.history.mu.Lock()
		s.history.saving = errRefused // as good as dead
		s.history.mu.Unlock()
		session.Close()
		s.stop()
		s.history.saving = nil
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
		clear(s.history.cursors)
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

func TestALoginWaitsForTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		frame := s.chat(t, 201, 202)
		partition := s.log.partitionOf(domain.Between(201, 202))
		s.history.behind[partition] = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.login.Execute(ctx, "202", &conn{})
		wantCode(t, "behind the log", err, domain.CodeUnavailable)

		s.history.behind[partition] = 5 // the log ends at 1: it is another than the history knows
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.login.Execute(ctx, "202", &conn{})
		wantCode(t, "past the log", err, domain.CodeUnavailable)

		s.history.behind[partition] = 0
		time.AfterFunc(time.Second, func() {
			s.history.mu.Lock()
			defer s.history.mu.Unlock()
			clear(s.history.behind)
		})
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "once it has caught up", replayedTo(c), []string{frame})
		session.Close()
	})
}

func TestALoginFailsWhereTheDatabaseCannotTellWhatWasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.history.fail(errRefused)
		_, err := s.login.Execute(t.Context(), "202", &conn{})
		wantCode(t, "login", err, domain.CodeUnavailable)
		if s.presence.Online(202) {
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
		c := &conn{}
		session, err := s.login.Execute(t.Context(), "202", c)
		if err != nil {
			t.Fatal(err)
		}
		s.history.fail(errRefused)
		synctest.Wait()
		if got := of[closed](c); len(got) != 1 || got[0].reason != application.CloseTryLater {
			t.Fatalf("closed %v, having got %v", got, replayedTo(c))
		}
		s.chat(t, 201, 202)
		synctest.Wait()
		if len(of[deliveredAt](c)) != 0 {
			t.Fatal("a live frame came after a hole")
		}
		session.Close()
		s.history.fail(nil)
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
			s.history.window = window
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
			if longest := slices.Max(s.history.pages); longest > 20 {
				t.Fatalf("%d entries were loaded at a time", longest)
			}
			// The last one of a partition confirms all up to where the log ended.
			ends, _ := s.log.EndOffsets(t.Context())
			lasts := map[string]bool{}
			for _, r := range of[replayed](c) {
				lasts[r.at] = true
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
		partition := s.log.partitionOf(domain.Between(201, 202))
		for n := range 3 {
			s.history.earlier = append(s.history.earlier, application.HistoryEntry{
				ID: domain.DerivedID("earlier", fmt.Sprint(n)), Sender: 201, At: time.Now(), Frame: fmt.Append(nil, "earlier ", n),
				Position: application.LogPosition{Generation: 1, Partition: partition, Offset: int64(1000 + n)},
			})
		}
		s.history.generation = 2
		c, session := s.in(t, 202)
		synctest.Wait()
		want := []replayed{{"earlier 0", ""}, {"earlier 1", ""}, {"earlier 2", fmt.Sprintf("%d/-1", partition)}}
		if got := of[replayed](c); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		session.Received([]application.Position{{Partition: partition, Offset: -1}})
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
			if err := answer(t, func(done func(error)) {
				s.send.Execute(application.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "x"}, done)
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
		if got := of[deliveredAt](c); len(replayedTo(c)) != 1 || len(got) != 1 || got[0].frame != live {
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
func stuck(t *testing.T) (s *storing, c *conn, session *application.Session, hold func(n int), room chan struct{}) {
	s = newStoring(t)
	s.in(t, 201)
	s.chat(t, 201, 202)
	room = make(chan struct{})
	c = &conn{room: func(ctx context.Context, _ int) error {
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
		if hold(10_000); len(of[closed](c)) != 0 {
			t.Fatal("closed after 10,000 short frames")
		}
		if hold(10_000); len(of[closed](c)) == 0 {
			t.Fatal("there is no bound")
		}
		if got := of[closed](c)[0].reason; got != application.CloseSlow {
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
		got := of[deliveredAt](c)
		if len(replayedTo(c)) != 1 || len(got) != 15_000 {
			t.Fatalf("got %d replayed and %d live", len(replayedTo(c)), len(got))
		}
		partition := s.log.partitionOf(domain.Between(201, 202))
		for i, d := range got {
			if want := (application.Position{Partition: partition, Offset: int64(i + 1)}); d.at != want {
				t.Fatalf("number %d is from %v", i, d.at)
			}
		}
		session.Close()
	})
}

func TestWhatWasHeldWhileALoginWaitedIsHandedOverAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.chat(t, 203, 204) // for somebody else: there is nothing to replay
		s.history.behind[s.log.partitionOf(domain.Between(203, 204))] = 0
		waits := 0
		c := &conn{room: func(context.Context, int) error {
			waits++
			return nil
		}}
		done := make(chan *application.Session)
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
		s.history.mu.Lock()
		clear(s.history.behind)
		s.history.mu.Unlock()
		session := <-done
		synctest.Wait()
		if got := len(of[deliveredAt](c)); got != 1000 || waits == 0 {
			t.Fatalf("%d frames, with room asked for %d times", got, waits)
		}
		session.Close()
	})
}

// laterEnds is a LogEnds whose partition has more records than can be read.
type laterEnds struct {
	application.LogEnds

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
		partition := s.log.partitionOf(domain.Between(201, 202))
		s.login.Ends = laterEnds{LogEnds: s.log, partition: partition, unread: 2}
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "what can be read", replayedTo(c), want)
		session.Received([]application.Position{{Partition: partition, Offset: 0}})

		want = []string{s.chat(t, 201, 202)} // now it can be read
		synctest.Wait()
		if got := of[closed](c); len(got) != 1 || got[0].reason != application.CloseHole {
			t.Fatalf("the connection was closed with %v and got %v", got, c.all())
		}
		session.Close()
		s.login.Ends = s.log
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "what could not be read before", replayedTo(c), want)
		live := s.chat(t, 201, 202)
		synctest.Wait()
		if got := c.all(); got[len(got)-1].(deliveredAt).frame != live || len(of[closed](c)) > 0 {
			t.Errorf("got %v", got)
		}
		session.Close()
	})
}
