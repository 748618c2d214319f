package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/history"
	"chatting/application/notice"
	"chatting/domain"
)

// waitingMessages is an Undelivered of one user: messages by sender, each at a time of its own.
type waitingMessages struct {
	entries []history.Entry // in the order of their times
	asked   []string        // for the stretches: "sender from-to", per question
	err     error
	window  int // of a partition; 0 for all
	windows int // questions
}

func (w *waitingMessages) add(sender domain.UserID, partition int, offset int64, bytes int) {
	w.entries = append(w.entries, history.Entry{
		ID: domain.DerivedID("test", fmt.Sprint(partition, offset)), Sender: sender, Frame: make([]byte, bytes),
		At: time.Unix(int64(1000+len(w.entries)), 0), Place: inPartition(partition, offset),
	})
}

func (w *waitingMessages) within(entry history.Entry, from, to domain.Place) bool {
	at := entry.Place
	return at.Partition == from.Partition && !at.Before(from) && at.Before(to)
}

func (w *waitingMessages) Waiting(
	_ context.Context, _ domain.UserID, from, to []domain.Place, limit int,
) (senders []WaitingSender, ends []domain.Place, err error) {
	if w.err != nil {
		return nil, nil, w.err
	}
	w.windows++
	if w.window > 0 {
		limit = w.window
	}
	ends = slices.Clone(to)
	seen := make(map[domain.UserID]bool)
	for p := range from {
		looked := 0
		for _, entry := range w.entries {
			if !w.within(entry, from[p], ends[p]) {
				continue
			}
			if !seen[entry.Sender] {
				seen[entry.Sender] = true
				senders = append(senders, WaitingSender{Sender: entry.Sender, Place: entry.Place})
			}
			if looked++; looked == limit {
				ends[p].Offset = entry.Place.Offset + 1
			}
		}
	}
	return senders, ends, nil
}

func (w *waitingMessages) Stretches(_ context.Context, _ domain.UserID, stretches []ConversationStretch, limit int) ([][]history.Entry, error) {
	var lists [][]history.Entry
	text := ""
	for _, stretch := range stretches {
		text += fmt.Sprintf("%d ", stretch.Sender)
		var list []history.Entry
		for _, entry := range w.entries {
			if entry.Sender == stretch.Sender && w.within(entry, stretch.From, stretch.To) && len(list) < limit {
				list = append(list, entry)
			}
		}
		lists = append(lists, list)
	}
	w.asked = append(w.asked, text)
	return lists, w.err
}

func (w *waitingMessages) Recent(context.Context, domain.UserID, []domain.Place, time.Time, int) ([]domain.EventID, error) {
	return nil, w.err
}

// backlogOf is the backlog of user 2 in so many partitions, from their beginning to offset 100,000.
func backlogOf(t *testing.T, waiting *waitingMessages, partitions int) *backlog {
	t.Helper()
	b := &backlog{undelivered: waiting, user: 2}
	for p := range partitions {
		b.from = append(b.from, inPartition(p, 0))
		b.to = append(b.to, inPartition(p, 100_000))
	}
	b.passed = slices.Clone(b.from)
	if err := b.nextWindow(t.Context(), nobody); err != nil {
		t.Fatal(err)
	}
	return b
}

func nobody(domain.UserID) bool { return false }

// replayed runs a replay, and returns what its connection was given.
func replayed(t *testing.T, b *backlog, hides func(domain.UserID) bool) *givenConn {
	t.Helper()
	c := &givenConn{}
	to := handoverTo(b.user, c)
	if err := b.replay(t.Context(), to, hides); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConversationsTakeTurnsOfEight(t *testing.T) {
	waiting := &waitingMessages{}
	for n := range 17 { // of each of 18 senders, one after the other
		for sender := range domain.UserID(18) {
			if sender < 17 || n < 2 {
				waiting.add(10+sender, 0, int64(18*n)+int64(sender), 1)
			}
		}
	}
	replayed(t, backlogOf(t, waiting, 1), nobody)
	turns := make(map[string]int)
	for n, turn := range waiting.asked {
		senders := strings.Fields(turn)
		if n < 2 && len(senders) != 8 || len(senders) > 8 {
			t.Errorf("turn %d is of %v", n, senders)
		}
		for i, sender := range senders {
			if want := strconv.Itoa(10 + 8*n + i); 8*n+i < 18 && sender != want {
				t.Errorf("in turn %d number %d is %s, want %s: the earliest first message first", n, i, sender, want)
			}
			turns[sender]++
		}
		for sender := range domain.UserID(17) { // the last one has only one turn
			if got, most := turns[(10+sender).String()], turns[senders[0]]; got < most-1 {
				t.Errorf("after turn %d, %d has had %d turns and %s %d", n, 10+sender, got, senders[0], most)
			}
		}
	}
	// 17 messages are two turns of eight and a last one.
	for sender := range domain.UserID(18) {
		want := 3
		if sender == 17 {
			want = 1
		}
		if got := turns[(10 + sender).String()]; got != want {
			t.Errorf("%d has had %d turns, want %d", 10+sender, got, want)
		}
	}
}

// Those that are done make room for the next, in their order.
func TestConversationsOfOneMessageAreReplayedInTheOrderOfTheirTimes(t *testing.T) {
	waiting := &waitingMessages{}
	for n := range 50 {
		waiting.add(domain.UserID(10+n), 0, int64(n), 1+n)
	}
	c := replayed(t, backlogOf(t, waiting, 1), nobody)
	next := 1
	for _, given := range c.given {
		for _, frame := range strings.Fields(given)[1:] {
			if size, _, _ := strings.Cut(frame, "@"); size != strconv.Itoa(next) {
				t.Fatalf("message %s comes where number %d should: %q", size, next, c.given)
			}
			next++
		}
	}
	if next != 51 {
		t.Errorf("%d messages were replayed", next-1)
	}
}

func TestATurnOfAConversationIsBoundedInBytes(t *testing.T) {
	for _, test := range []struct {
		frames []int
		want   []int // how many messages a turn has
	}{
		{[]int{1, 1, 1}, []int{3}},
		{[]int{100_000, 1, 100_000}, []int{1, 1, 1}},
		{[]int{32 << 10, 32 << 10, 1}, []int{2, 1}},
		{[]int{32 << 10, 32<<10 + 1, 1}, []int{1, 2}},
		{[]int{1, 1, 1, 1, 1, 1, 1, 1, 1}, []int{8, 1}},
		{[]int{20 << 10, 20 << 10, 20 << 10, 20 << 10, 20 << 10}, []int{3, 2}},
	} {
		waiting := &waitingMessages{}
		for n, frame := range test.frames {
			waiting.add(10, 0, int64(n), frame)
		}
		b := backlogOf(t, waiting, 1)
		var got []int
		for {
			turn, err := b.take(t.Context(), nobody)
			if err != nil {
				t.Fatal(err)
			}
			if turn == nil {
				break
			}
			n := 0
			for batch, _ := nextBatch(turn); len(batch) > 0; batch, _ = nextBatch(turn) {
				n += len(batch)
			}
			got = append(got, n)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: turns of %v messages, want %v", test.frames, got, test.want)
		}
	}
}

func TestAReplayIsHandedOverInPartsByBytes(t *testing.T) {
	waiting := &waitingMessages{}
	for n, frame := range []int{32 << 10, 32 << 10, 1, 70_000, 3} { // of five senders
		waiting.add(domain.UserID(10+n), 0, int64(n), frame)
	}
	c := replayed(t, backlogOf(t, waiting, 1), nobody)
	c.want(t, "the replay", "replay 32768 32768@0:1", "replay 1@0:2", "replay 70000@0:3", "replay 3@0:99999")
	if want := []int{64 << 10, 1, 70_000, 3}; !slices.Equal(c.rooms, want) {
		t.Errorf("room was awaited for %v, want %v", c.rooms, want)
	}
}

func TestOnlyWhatIsBeforeAllThatWaitsIsConfirmed(t *testing.T) {
	waiting := &waitingMessages{}
	waiting.add(10, 0, 7, 1)
	waiting.add(11, 1, 3, 2)
	for n := range 8 {
		waiting.add(10, 0, int64(20+n), 3)
	}
	waiting.add(12, 0, 30, 4)
	c := replayed(t, backlogOf(t, waiting, 2), nobody)
	// The second conversation of partition 0 begins at 30, but the first one has a message left, at 27.
	c.want(t, "the replay", "replay 1 2@1:99999 3 3 3 3 3 3 3 4@0:26", "replay 3@0:99999")
}

func TestPlacesOfAnEarlierTopicAreNotConfirmed(t *testing.T) {
	b := &backlog{
		passed: []domain.Place{inPartition(0, 5)},
		from:   []domain.Place{inPartition(0, 9)},
		to:     []domain.Place{{Generation: 2, Partition: 0, Offset: 4}},
	}
	if got := b.advance(nil); len(got) != 0 {
		t.Errorf("confirmed %+v", got)
	}
	b.from[0] = b.to[0]
	if got := b.advance(nil); len(got) != 1 || *got[0].At != (domain.Place{Partition: 0, Offset: 3}) {
		t.Errorf("at the end is confirmed %+v", got)
	}
	if got := b.advance(nil); len(got) != 0 {
		t.Errorf("confirmed once more %+v", got)
	}
}

func TestAReplayWithoutMessagesGivesNothing(t *testing.T) {
	b := backlogOf(t, &waitingMessages{}, 1)
	b.passed = slices.Clone(b.to)
	replayed(t, b, nobody).want(t, "the replay")
}

func TestWhomTheUserBlockedMeanwhileHasNoTurnAnyMore(t *testing.T) {
	waiting := &waitingMessages{}
	for n := range 9 {
		waiting.add(10, 0, int64(2*n), 1)
		waiting.add(11, 0, int64(2*n+1), 2)
	}
	b := backlogOf(t, waiting, 1)
	first := true
	hides := func(sender domain.UserID) bool { return !first && sender == 10 }
	c := &givenConn{}
	to := handoverTo(2, c)
	c.room = func(context.Context) error {
		first = false
		return nil
	}
	if err := b.replay(t.Context(), to, hides); err != nil {
		t.Fatal(err)
	}
	if want := []string{"10 11 ", "11 "}; !slices.Equal(waiting.asked, want) {
		t.Errorf("the turns were %q, want %q", waiting.asked, want)
	}
	// What of the first turn had not been handed over was hidden, too.
	c.want(t, "the replay", "replay 2 2 2 2 2 2 2 2@0:15", "replay 2@0:99999")
	for _, entry := range waiting.entries {
		if to.WasReplayed(entry.ID) != (entry.Sender == 11) {
			t.Errorf("of %d is noted as replayed the message at %v", entry.Sender, entry.Place)
		}
	}
}

func TestAReplayGoesThroughTheLogInWindows(t *testing.T) {
	waiting := &waitingMessages{window: 2}
	for n := range 5 {
		waiting.add(10, 0, int64(n), 1+n)
	}
	c := replayed(t, backlogOf(t, waiting, 1), nobody)
	c.want(t, "the replay", "replay 1 2@0:1", "replay 3 4@0:3", "replay 5@0:99999")
	if waiting.windows != 3 {
		t.Errorf("%d windows were looked at, want 3", waiting.windows)
	}
}

func TestAReplayEndsWithTheErrorOfWhatItNeeds(t *testing.T) {
	away := errors.New("away")
	for what, test := range map[string]struct {
		windows bool
		room    error
	}{"the messages": {}, "the next window": {windows: true}, "room": {room: away}} {
		waiting := &waitingMessages{}
		waiting.add(10, 0, 1, 1)
		if test.windows {
			waiting.window = 1
			waiting.add(10, 0, 2, 1)
		}
		b := backlogOf(t, waiting, 1)
		c := &givenConn{room: func(context.Context) error {
			if test.windows {
				waiting.err = away
			}
			return test.room
		}}
		to := handoverTo(2, c)
		if what == "the messages" {
			waiting.err = away
		}
		if err := b.replay(t.Context(), to, nobody); !errors.Is(err, away) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAnEmptyTurnEndsItsConversation(t *testing.T) {
	waiting := &waitingMessages{}
	waiting.add(10, 0, 1, 1)
	b := backlogOf(t, waiting, 1)
	waiting.entries = nil // erased meanwhile
	replayed(t, b, nobody).want(t, "the replay", "replay 0@0:99999")
}

// A session that ends waits for its replay, which must not touch the connection any more, and is no fault.
func TestASessionThatEndsWaitsForItsReplayAndSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := &waitingMessages{}
		waiting.add(10, 0, 1, 1)
		b := backlogOf(t, waiting, 1)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		leave := make(chan struct{})
		c := &givenConn{room: func(ctx context.Context) error {
			<-ctx.Done()
			<-leave
			return ctx.Err()
		}}
		replays := Replays{
			Stored:  NewStoredMessages(nil, waiting, history.FollowedLog{Partitions: 1}, logger),
			Notices: notice.NewLog(logger, time.Now),
		}
		replay := replays.Of(attach(2, c))
		replay.backlog = b
		replay.Start()
		synctest.Wait()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			replay.Close()
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("it has not waited")
		default:
		}
		close(leave)
		<-closed
		if c.want(t, "a session that has ended"); log.Len() != 0 {
			t.Errorf("the log says %s", log.String())
		}
	})
}
