package application_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestAFriendsFirstMessageComesInTheFirstTurnOfAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		for _, sender := range []domain.UserID{201, 203, 205} { // 201 and 205 share a partition
			s.in(t, sender)
		}
		var flood []string
		for range 300 {
			flood = append(flood, s.chat(t, 201, 202))
		}
		friends := map[domain.UserID]string{203: s.chat(t, 203, 202), 205: s.chat(t, 205, 202)}
		c, session := s.in(t, 202)
		synctest.Wait()
		got := replayedTo(c)
		sameFrames(t, "the flood", s.of(201, got), flood)
		for friend, frame := range friends {
			for i := range got {
				if got[i] == frame && i > 20 {
					t.Errorf("the only message of %d comes as number %d", friend, i+1)
				}
			}
			sameFrames(t, "of a friend", s.of(friend, got), []string{frame})
		}
		session.Close()
	})
}

// A cursor holds one place a partition: what stands behind a message that was not handed over must not count as confirmed.
func TestAReplayThatIsCutOffInATurnLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.in(t, 205)
		want := map[string]bool{}
		for range 40 {
			want[s.chat(t, 201, 202)] = true
		}
		want[s.chat(t, 205, 202)] = true
		got := map[string]bool{}
		for range 20 {
			batches := 0
			c := &porttest.Conn{Room: func(ctx context.Context, _ int) error {
				if batches++; batches == 2 {
					<-ctx.Done() // the connection is lost in the second batch
				}
				return ctx.Err()
			}}
			session, err := s.login.Execute(t.Context(), "202", c)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, r := range porttest.Of[porttest.Replayed](c) {
				got[r.Frame] = true
				if r.At != "" {
					session.Received([]domain.Place{porttest.PositionOf(r.At)})
				}
			}
			session.Close()
			synctest.Wait()
		}
		for frame := range want {
			if !got[frame] {
				t.Errorf("%s is lost", frame)
			}
		}
	})
}

func TestWhatSomebodyWroteWhomTheUserHasBlockedMeanwhileIsNotReplayedEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.in(t, 205)
		for range 30 {
			s.chat(t, 201, 202) // before the block
		}
		friend := s.chat(t, 205, 202)
		s.chat(t, 201, 202)
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		s.chat(t, 201, 202) // after it
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "replayed", replayedTo(c), []string{friend})
		confirmAll(c, session)
		session.Close()
		if err := s.block.Remove(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		later := s.chat(t, 201, 202)
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "after the unblock", replayedTo(c), []string{later})
		session.Close()
	})
}

// Nobody confirms a replay in which there is nothing to see.
func TestALoginPassesOverAMailboxThatABlockHides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		s.chat(t, 201, 202)
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		c, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "replayed", replayedTo(c), nil)
		session.Close()
		if err := s.block.Remove(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		c, session = s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "after the unblock", replayedTo(c), nil)
		session.Close()
	})
}

// confirmAll confirms what a connection was replayed.
func confirmAll(c *porttest.Conn, session *application.LoggedIn) {
	for _, r := range porttest.Of[porttest.Replayed](c) {
		if r.At != "" {
			session.Received([]domain.Place{porttest.PositionOf(r.At)})
		}
	}
}

func TestABlockDuringAReplayEndsItForItsTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		for range 50 {
			s.chat(t, 201, 202)
		}
		read := make(chan struct{})
		c := &porttest.Conn{Room: func(ctx context.Context, _ int) error {
			select {
			case read <- struct{}{}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		session, err := s.login.Execute(t.Context(), "202", c)
		if err != nil {
			t.Fatal(err)
		}
		<-read
		synctest.Wait()
		if err := s.block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := len(replayedTo(c))
		go func() {
			for range read {
			}
		}()
		time.Sleep(time.Second)
		if after := len(replayedTo(c)); after != before || before == 0 {
			t.Errorf("%d messages were replayed before the block, %d in all", before, after)
		}
		confirmAll(c, session)
		session.Close()
		close(read)
		if err := s.block.Remove(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
		again, session := s.in(t, 202)
		synctest.Wait()
		sameFrames(t, "once unblocked", replayedTo(again), nil)
		session.Close()
	})
}

// A resend puts a second record into the log. The user's next connection, on whichever node, begins between the two.
func TestWhatAnEarlierConnectionShowedIsNotShownAgainWhenItsSenderRepeatsIt(t *testing.T) {
	for _, confirmed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStoring(t)
			s.in(t, 201)
			named := func() {
				if err := porttest.Answer(t, func(done func(error)) {
					s.send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "x"}, done)
				}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			first, session := s.in(t, 202)
			named()
			shown := porttest.Of[porttest.DeliveredAt](first)
			if len(shown) != 1 {
				t.Fatalf("the first connection got %v", shown)
			}
			if confirmed {
				session.Received([]domain.Place{shown[0].At})
			}
			session.Close()

			s.stop()
			s.restart(t) // as on another node
			second, session := s.in(t, 202)
			synctest.Wait()
			named()
			if got := porttest.Of[porttest.DeliveredAt](second); len(got) != 0 {
				t.Errorf("the second connection got %v, not marked", got)
			}
			if marked := len(replayedTo(second)); confirmed == (marked > 0) {
				t.Errorf("confirmed %v: %d were replayed", confirmed, marked)
			}
			live := s.chat(t, 201, 202)
			synctest.Wait()
			if got := porttest.Of[porttest.DeliveredAt](second); len(got) != 1 || got[0].Frame != live {
				t.Errorf("then got %v, want the live one", got)
			}
			session.Close()
		})
	}
}

func TestOfManyMessagesAnEarlierConnectionShowedTheFirstIsKnownStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStoring(t)
		s.in(t, 201)
		named := func(n int) {
			if err := porttest.Answer(t, func(done func(error)) {
				name := domain.ClientMessageID(fmt.Sprint(n))
				s.send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: name}, done)
			}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		first, session := s.in(t, 202)
		const messages = 128
		for n := range messages {
			named(n)
		}
		for _, shown := range porttest.Of[porttest.DeliveredAt](first) {
			session.Received([]domain.Place{shown.At})
		}
		session.Close()
		s.stop()
		s.restart(t) // as on another node
		second, session := s.in(t, 202)
		synctest.Wait()
		for n := range messages {
			named(n)
		}
		if got := porttest.Of[porttest.DeliveredAt](second); len(got) != 0 {
			t.Errorf("%d of them are shown again", len(got))
		}
		session.Close()
	})
}
