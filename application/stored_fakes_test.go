package application_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"chatting/application/messaging"
	"chatting/application/past"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

// storing is a server that stores messages to users who are offline.
type storing struct {
	*server
	history *porttest.Projection
	past    *porttest.PastLog
	stored  *replay.StoredMessages
	system  *messaging.SendSystemMessage
	// stop ends the saving of cursors, and waits.
	stop func()
}

// newStoring starts one. Users up to 299 are known.
func newStoring(t *testing.T) *storing {
	s := &storing{server: newServer(t)}
	s.history, s.past = porttest.NewProjection(s.log), &porttest.PastLog{Log: s.log}
	for user := range domain.UserID(300) {
		_ = s.known.Remember(t.Context(), user)
	}
	s.send.Stored = s.known
	s.system = &messaging.SendSystemMessage{Log: s.log, Online: s.Presence, Now: time.Now, NewID: porttest.Counter(), Stored: s.known}
	s.restart(t)
	t.Cleanup(func() { s.stop() })
	return s
}

// restart is a new process, as far as stored messages go: what was not saved is gone.
func (s *storing) restart(t *testing.T) {
	t.Helper()
	s.stored = replay.NewStoredMessages(s.history, s.history, s.history.Followed(), porttest.Quiet)
	s.stored.Past = &past.Past{Log: s.past, Verdicts: s.login.Delivery.Verdicts}
	s.login.Replays.Stored = s.stored
	if err := s.stored.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	stored := s.stored
	go func() {
		defer close(done)
		stored.Run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-done
	}
}

// chat sends a message, which must be stored, and returns the frame that clients get of it.
func (s *storing) chat(t *testing.T, from, to domain.UserID) string {
	t.Helper()
	partition := s.log.PartitionOf(domain.Between(from, to))
	at := domain.Place{Partition: partition, Offset: int64(len(s.log.All(partition)))}
	if err := porttest.Answer(t, func(done func(error)) {
		s.send.Execute(messaging.ChatCommand{Sender: from, Target: to}, done)
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // the next one is later
	return string(porttest.FrameOf(at))
}

// of returns those of the frames that sender sent.
func (s *storing) of(sender domain.UserID, frames []string) (of []string) {
	for _, frame := range frames {
		if at := porttest.PositionOf(frame); s.log.All(at.Partition)[at.Offset].Body.Actor() == sender {
			of = append(of, frame)
		}
	}
	return of
}

// replayedTo returns the frames that were replayed, in order.
func replayedTo(c *porttest.Conn) []string {
	var frames []string
	for _, r := range porttest.Of[porttest.Replayed](c) {
		if r.Frame != "" {
			frames = append(frames, r.Frame)
		}
	}
	return frames
}

func sameFrames(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
