package history_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

// readingOfTwo is reading with a log of two partitions: the conversation of 1 and 2 stands in one, that of 1 and 3 in the other.
func readingOfTwo(t *testing.T) (*history.ReadHistory, *toldHistory) {
	t.Helper()
	told := &toldHistory{Projection: porttest.NewProjection(porttest.NewConversations(2)), readUpTo: map[domain.UserID]int{}}
	if told.Log.PartitionOf(domain.Between(1, 2)) != 1 || told.Log.PartitionOf(domain.Between(1, 3)) != 0 {
		t.Fatal("the conversations stand elsewhere")
	}
	return history.NewReadHistory(told, told, told.Followed(), told.Log), told
}

// rests leaves the history of both partitions where it is until somebody asks it to follow the log.
func (h *toldHistory) rests() {
	h.Mu.Lock()
	defer h.Mu.Unlock()
	h.Behind = map[int]int64{0: int64(len(h.Log.All(0))), 1: int64(len(h.Log.All(1)))}
	h.Flushes = nil
	h.Flushed = func() {
		h.Mu.Lock()
		defer h.Mu.Unlock()
		clear(h.Behind)
	}
}

// A client that reloads the page it got a message on finds the message.
func TestWhatThisNodeHasSeenIsInAFirstPageAndInNumbers(t *testing.T) {
	for what, c := range map[string]struct {
		ask     func(ctx context.Context, read *history.ReadHistory) (newest any, err error)
		want    any
		flushed []int
	}{
		"a page": {func(ctx context.Context, read *history.ReadHistory) (any, error) {
			page, err := read.Messages(ctx, 1, 3, nil, atMost(10))
			if page.Behind {
				t.Error("a page that has everything says that it is behind")
			}
			return len(page.Entries), err
		}, 2, []int{0}},
		"the conversations": {func(ctx context.Context, read *history.ReadHistory) (any, error) {
			page, err := read.Conversations(ctx, 1, nil, atMost(10))
			return len(page.Conversations), err
		}, 2, []int{0, 1}},
		"a mark": {func(ctx context.Context, read *history.ReadHistory) (any, error) {
			return read.MarkRead(ctx, 1, 3, nil)
		}, 0, []int{0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			read, told := readingOfTwo(t)
			told.chat(t, 3, 1, "a")
			told.rests()
			told.chat(t, 3, 1, "b")
			told.chat(t, 2, 1, "c")
			began := time.Now()
			if got, err := c.ask(t.Context(), read); err != nil || got != c.want {
				t.Errorf("%s: %v, %v, want %v", what, got, err, c.want)
			}
			if len(told.Flushes) != 1 || !slices.Equal(told.Flushes[0], c.flushed) {
				t.Errorf("%s: asks for the partitions %v, want %v once", what, told.Flushes, c.flushed)
			}
			if took := time.Since(began); took > 10*time.Millisecond {
				t.Errorf("%s: it took %s", what, took)
			}
		})
	}
}

// What other conversations have, and what stands behind a later page, nobody waits for.
func TestAHistoryThatHasWhatIsAskedForIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := readingOfTwo(t)
		a := told.chat(t, 1, 2, "a")
		b := told.chat(t, 1, 3, "b")
		told.rests()
		told.chat(t, 1, 3, "c")
		began := time.Now()
		if page, err := read.Messages(t.Context(), 1, 2, nil, atMost(10)); err != nil || !slices.Equal(idsOf(page), []domain.EventID{a}) || page.Behind {
			t.Errorf("a page: %v, %v", page, err)
		}
		if unread, err := read.MarkRead(t.Context(), 1, 2, nil); err != nil || unread != 0 {
			t.Errorf("a mark: %d, %v", unread, err)
		}
		if page, err := read.Messages(t.Context(), 1, 3, &b, atMost(10)); err != nil || len(page.Entries) != 0 {
			t.Errorf("a later page: %v, %v", page, err)
		}
		if _, err := read.Conversations(t.Context(), 1, &history.ConversationCursor{Partner: 3}, atMost(10)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 || len(told.Flushes) != 0 {
			t.Errorf("it took %s, and the history was asked to hurry for %v", took, told.Flushes)
		}
	})
}

func TestAHistoryThatDoesNotComeSoonIsShownAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := readingOfTwo(t)
		a := told.chat(t, 2, 1, "a")
		told.rests()
		told.Flushed = nil
		told.chat(t, 2, 1, "b")
		began := time.Now()
		if page, err := read.Messages(t.Context(), 1, 2, nil, atMost(10)); err != nil || !slices.Equal(idsOf(page), []domain.EventID{a}) || !page.Behind {
			t.Errorf("a page: %v, %v", page, err)
		}
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		if page, err := read.MessagesAfter(t.Context(), 1, 2, a, atMost(10)); err != nil || !page.Behind {
			t.Errorf("what comes after a message: %v, %v", page, err)
		}
		if page, err := read.Conversations(t.Context(), 1, nil, atMost(10)); err != nil || !page.Behind {
			t.Errorf("the conversations: %v, %v", page, err)
		}
		// What is older is there.
		if page, err := read.Messages(t.Context(), 1, 2, &a, atMost(10)); err != nil || page.Behind {
			t.Errorf("what comes before a message: %v, %v", page, err)
		}
		// How far it is may not be known either.
		failing := told.Followed()
		failing.Projected = refusing{}
		read = history.NewReadHistory(told, told, failing, told.Log)
		if page, err := read.Messages(t.Context(), 1, 2, nil, atMost(10)); err != nil || !slices.Equal(idsOf(page), []domain.EventID{a}) || !page.Behind {
			t.Errorf("where it is not known how far the history is: %v, %v", page, err)
		}
	})
}

// refusing is a ProjectedOffsets.
type refusing struct{}

func (refusing) Projected(context.Context, int) ([]domain.Place, error) {
	return nil, porttest.ErrRefused
}

// A wish may get lost, or come to a node that does not project the partition yet.
func TestWhoStillWaitsAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := readingOfTwo(t)
		told.rests()
		told.Flushed = nil
		a := told.chat(t, 2, 1, "a")
		began := time.Now()
		var asked []time.Duration
		told.Flushed = func() { asked = append(asked, time.Since(began)) }
		_, err := read.Messages(t.Context(), 1, 2, &a, atMost(10))
		porttest.WantCode(t, "the page", err, domain.CodeUnavailable)
		if len(asked) != 4 || asked[0] != 0 {
			t.Errorf("in two seconds it is asked for after %v", asked)
		}
		for i, at := range asked[1:] {
			if since := at - asked[i]; since < 500*time.Millisecond || since > 800*time.Millisecond {
				t.Errorf("it is asked for after %v", asked)
			}
		}
	})
}
