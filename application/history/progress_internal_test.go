package history

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"chatting/domain"
)

func TestAnEndIsReachedOnceEveryPartitionHasItInTheSameTopic(t *testing.T) {
	at := func(generation, offset int64) domain.Place {
		return domain.Place{Generation: generation, Offset: offset}
	}
	for what, test := range map[string]struct {
		end         int64
		before, now domain.Place
		want        bool
	}{
		"behind it":                    {9, at(1, 3), at(1, 8), false},
		"at it":                        {9, at(1, 3), at(1, 9), true},
		"past it":                      {9, at(1, 3), at(1, 10), true},
		"at it from the beginning":     {9, at(1, 9), at(1, 9), true},
		"past it, of an older topic":   {9, at(1, 20), at(1, 20), false},
		"noticed that it is another":   {9, at(1, 20), at(2, 3), false},
		"has the other one, up to it":  {9, at(1, 20), at(2, 9), true},
		"another one since, past that": {9, at(1, 20), at(2, 30), true},
	} {
		end := LogEnd{Offsets: []int64{0, test.end}, Before: []domain.Place{at(1, 0), test.before}}
		want := []int{1}
		if test.want {
			want = nil
		}
		if got := end.missing([]domain.Place{at(1, 0), test.now}); !slices.Equal(got, want) {
			t.Errorf("%s: missing is %v", what, got)
		}
	}
	end := LogEnd{Offsets: []int64{5, 5}, Before: []domain.Place{at(1, 0), at(1, 0)}}
	for _, c := range []struct {
		now  []domain.Place
		want []int
	}{
		{[]domain.Place{at(1, 4), at(1, 5)}, []int{0}}, {[]domain.Place{at(1, 5), at(1, 4)}, []int{1}},
		{[]domain.Place{at(1, 4), at(1, 4)}, []int{0, 1}}, {[]domain.Place{at(1, 5), at(1, 5)}, nil},
	} {
		if got := end.missing(c.now); !slices.Equal(got, c.want) {
			t.Errorf("at %v, missing is %v", c.now, got)
		}
	}
}

// gatedOffsets is a ProjectedOffsets that answers when the test says so.
type gatedOffsets struct {
	gate             chan struct{}
	asked, now, most atomic.Int32
}

func (o *gatedOffsets) Projected(_ context.Context, partitions int) ([]domain.Place, error) {
	o.asked.Add(1)
	if now := o.now.Add(1); now > o.most.Load() {
		o.most.Store(now)
	}
	<-o.gate
	o.now.Add(-1)
	return make([]domain.Place, partitions), nil
}

func TestTheDatabaseIsAskedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offsets := &gatedOffsets{gate: make(chan struct{})}
		progress := NewProgress(FollowedLog{Projected: offsets, Partitions: 2})
		var answers atomic.Int32
		ask := func(n int) {
			for range n {
				go func() {
					if places, err := progress.Now(t.Context()); err != nil || len(places) != 2 {
						t.Errorf("%v, %v", places, err)
					}
					answers.Add(1)
				}()
				synctest.Wait()
			}
		}
		ask(1)
		ask(9) // they came while the first question was under way: an answer to it may be too old for them
		if offsets.asked.Load() != 1 {
			t.Errorf("%d questions at once", offsets.asked.Load())
		}
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 1 || offsets.asked.Load() != 2 {
			t.Errorf("%d answers, %d questions", answers.Load(), offsets.asked.Load())
		}
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 10 || offsets.asked.Load() != 2 || offsets.most.Load() != 1 {
			t.Errorf("%d answers, %d questions, %d at once", answers.Load(), offsets.asked.Load(), offsets.most.Load())
		}
		ask(1)
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 11 || offsets.asked.Load() != 3 {
			t.Errorf("%d answers, %d questions", answers.Load(), offsets.asked.Load())
		}
	})
}
