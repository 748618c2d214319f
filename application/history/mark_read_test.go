package history_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

// markingRead is reading with a log of marks, in which user 1 blocks user 3.
func markingRead() (*history.ReadHistory, *toldHistory, *porttest.BlockStore) {
	read, told := reading()
	store := porttest.NewBlockStore()
	store.Entries[porttest.Pair{Blocker: 1, Target: 3}] = blocks.Entry{Target: 3, Blocked: true, Version: 1}
	read.Events = &history.MarkEvents{Log: told.Log, Blocks: store, Now: porttest.Local}
	return read, told, store
}

// marksInLog returns the read marks in the log.
func (h *toldHistory) marksInLog() (marks []domain.ReadMark) {
	for _, event := range h.Log.All(0) {
		if mark, ok := event.Body.(domain.ReadMark); ok {
			marks = append(marks, mark)
		}
	}
	return marks
}

func TestAMarkThatMovesIsAnEventBeforeItMoves(t *testing.T) {
	read, told, _ := markingRead()
	a := told.chat(t, 2, 1, "a")
	told.chat(t, 2, 1, "b")
	atAppend := -1
	told.Log.Decide(func(domain.Event) porttest.Fate {
		atAppend = told.readUpTo[2]
		return porttest.Confirmed
	})
	if unread, err := read.MarkRead(t.Context(), 1, 2, &a); err != nil || unread != 1 {
		t.Fatalf("%d, %v", unread, err)
	}
	events := told.Log.All(0)
	event := events[len(events)-1]
	want := domain.ReadMark{Reader: 1, Partner: 2, Message: a, Unread: 1, Receipt: true}
	if len(events) != 3 || event.Body != want || event.ID != domain.ReadMarkID(1, 2, a) || !event.Time.Equal(porttest.Stamped) {
		t.Errorf("the log has %+v", events)
	}
	if atAppend != 0 || told.readUpTo[2] != 1 {
		t.Errorf("the mark stood at %d at the append, and stands at %d", atAppend, told.readUpTo[2])
	}
}

func TestAMarkThatDoesNotMoveIsNoEvent(t *testing.T) {
	read, told, _ := markingRead()
	if unread, err := read.MarkRead(t.Context(), 1, 2, nil); err != nil || unread != 0 {
		t.Errorf("nothing was said: %d, %v", unread, err)
	}
	a := told.chat(t, 2, 1, "a")
	b := told.chat(t, 2, 1, "b")
	for _, message := range []*domain.EventID{&b, &b, &a, nil} {
		if unread, err := read.MarkRead(t.Context(), 1, 2, message); err != nil || unread != 0 {
			t.Errorf("%d, %v", unread, err)
		}
	}
	if marks := told.marksInLog(); len(marks) != 1 || marks[0].Message != b {
		t.Errorf("%+v", marks)
	}
}

func TestThePartnerIsNotToldOfEveryMark(t *testing.T) {
	read, told, _ := markingRead()
	unseen := told.chat(t, 1, 4, "unseen")
	told.hidden = map[domain.EventID]bool{unseen: true}
	for partner, want := range map[domain.UserID]bool{
		2: true,
		3: false, // whom the reader blocks
		4: false, // who does not see the message
		1: false, // the reader
		0: false, // the platform
	} {
		if partner != 4 {
			told.chat(t, partner, 1, "of "+partner.String())
		}
		before := len(told.marksInLog())
		if _, err := read.MarkRead(t.Context(), 1, partner, nil); err != nil {
			t.Fatal(err)
		}
		marks := told.marksInLog()
		if len(marks) != before+1 || marks[before].Receipt != want || marks[before].Partner != partner {
			t.Errorf("with %d: %+v, want a receipt: %t", partner, marks[before:], want)
		}
	}
}

// heldBlocks answers nobody before it is released.
type heldBlocks struct {
	history.MarkBlocks
	release chan struct{}
}

func (b heldBlocks) IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error) {
	<-b.release
	return b.MarkBlocks.IsBlocked(ctx, blocker, target)
}

func TestAMarkThatManyAskForAtOnceIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told, store := markingRead()
		a := told.chat(t, 2, 1, "a")
		told.chat(t, 3, 1, "of another conversation")
		blocks := heldBlocks{store, make(chan struct{})}
		read.Events.Blocks = blocks
		var all sync.WaitGroup
		mark := func(partner domain.UserID, message *domain.EventID) {
			all.Go(func() {
				if unread, err := read.MarkRead(t.Context(), 1, partner, message); err != nil || unread != 0 {
					t.Errorf("%d, %v", unread, err)
				}
			})
		}
		for range 4 {
			mark(2, &a)
			mark(2, nil)
		}
		mark(3, nil)
		synctest.Wait() // all have come as far as they can
		close(blocks.release)
		all.Wait()
		marks := told.marksInLog()
		of := map[domain.UserID]int{}
		for _, mark := range marks {
			of[mark.Partner]++
		}
		if of[2] != 1 || of[3] != 1 || len(marks) != 2 {
			t.Errorf("%+v", marks)
		}
	})
}

func TestWhoeverWaitsForAnotherMarkGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told, store := markingRead()
		told.chat(t, 2, 1, "a")
		blocks := heldBlocks{store, make(chan struct{})}
		read.Events.Blocks = blocks
		var first sync.WaitGroup
		first.Go(func() {
			if _, err := read.MarkRead(t.Context(), 1, 2, nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := read.MarkRead(ctx, 1, 2, nil)
		porttest.WantCode(t, "a mark that waited", err, domain.CodeUnavailable)
		close(blocks.release)
		first.Wait()
		if marks := told.marksInLog(); len(marks) != 1 {
			t.Errorf("%+v", marks)
		}
	})
}

// Whoever has no answer asks again.
func TestAMarkThatIsNotInTheLogDoesNotMove(t *testing.T) {
	for fate, code := range map[porttest.Fate]domain.Code{
		porttest.Refused: domain.CodeUnavailable, porttest.Late: domain.CodeUnconfirmed,
	} {
		read, told, _ := markingRead()
		a := told.chat(t, 2, 1, "a")
		told.Log.Decide(func(domain.Event) porttest.Fate { return fate })
		_, err := read.MarkRead(t.Context(), 1, 2, nil)
		porttest.WantCode(t, "a mark", err, code)
		if told.readUpTo[2] != 0 {
			t.Error("the mark has moved")
		}
		told.Log.Release()
		told.Log.Decide(nil)
		if unread, err := read.MarkRead(t.Context(), 1, 2, nil); err != nil || unread != 0 || told.readUpTo[2] != 1 {
			t.Errorf("again: %d, %v", unread, err)
		}
		for _, event := range told.Log.All(0) {
			if _, isMark := event.Body.(domain.ReadMark); isMark && event.ID != domain.ReadMarkID(1, 2, a) {
				t.Errorf("the event has another id: %+v", event)
			}
		}
	}
}

func TestWithoutKnowingTheBlocksNothingIsMarked(t *testing.T) {
	read, told, store := markingRead()
	told.chat(t, 2, 1, "a")
	store.Fail(porttest.ErrRefused)
	_, err := read.MarkRead(t.Context(), 1, 2, nil)
	porttest.WantCode(t, "a mark", err, domain.CodeUnavailable)
	if len(told.marksInLog()) != 0 || told.readUpTo[2] != 0 {
		t.Errorf("%+v", told.marksInLog())
	}
}

func TestAMessageThatIsNotKnownYetIsMarkedOnceItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told, _ := markingRead()
		told.chat(t, 2, 1, "a")
		told.stop()
		b := told.chat(t, 2, 1, "b")
		told.Flushed = told.resume
		if unread, err := read.MarkRead(t.Context(), 1, 2, &b); err != nil || unread != 0 {
			t.Errorf("%d, %v", unread, err)
		}
		if marks := told.marksInLog(); len(marks) != 1 || marks[0].Message != b {
			t.Errorf("%+v", marks)
		}
	})
}
