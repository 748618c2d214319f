package replay

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

// savedCursors is a Cursors that asks the test about each save.
type savedCursors struct {
	Cursors
	save func(map[domain.UserID][]domain.Place) error
}

func (s savedCursors) SaveCursors(_ context.Context, cursors map[domain.UserID][]domain.Place) error {
	return s.save(cursors)
}

func inPartition(partition int, offset int64) domain.Place {
	return domain.Place{Generation: 1, Partition: partition, Offset: offset}
}

func TestWhatIsConfirmedWhileASaveIsUnderWayIsSavedLater(t *testing.T) {
	for name, failed := range map[string]error{"the save works": nil, "the save fails": errors.New("away")} {
		var saver cursorSaver
		var saves []map[domain.UserID][]domain.Place
		saver = newCursorSaver(savedCursors{save: func(cursors map[domain.UserID][]domain.Place) error {
			saves = append(saves, maps.Clone(cursors))
			if len(saves) > 1 {
				return nil
			}
			saver.add(7, []domain.Place{inPartition(1, 20), inPartition(2, 3)})
			saver.add(8, []domain.Place{inPartition(1, 4)}) // behind what is being saved
			saver.add(9, []domain.Place{inPartition(0, 1)})
			// A login meanwhile has to know all of it.
			if got, want := saver.unsaved(7), []domain.Place{inPartition(0, 2), inPartition(1, 20), inPartition(2, 3)}; !sameInAnyOrder(got, want) {
				t.Errorf("%s: meanwhile unsaved of 7 are %v", name, got)
			}
			if got, want := saver.unsaved(8), []domain.Place{inPartition(1, 5)}; !sameInAnyOrder(got, want) {
				t.Errorf("%s: meanwhile unsaved of 8 are %v", name, got)
			}
			return failed
		}}, slog.New(slog.DiscardHandler))
		saver.add(7, []domain.Place{inPartition(0, 2), inPartition(1, 10)})
		saver.add(8, []domain.Place{inPartition(1, 5)})
		if err := saver.saveAll(t.Context()); !errors.Is(err, failed) {
			t.Fatalf("%s: %v", name, err)
		}
		if failed != nil {
			if len(saves) != 1 {
				t.Errorf("%d saves, want no other after one that failed", len(saves))
			}
			if err := saver.saveAll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		saved := make(map[domain.UserID][]domain.Place)
		for i, cursors := range saves {
			if i == 0 && failed != nil {
				continue
			}
			for user, places := range cursors {
				saved[user] = advance(saved[user], places)
			}
		}
		for user, want := range map[domain.UserID][]domain.Place{
			7: {inPartition(0, 2), inPartition(1, 20), inPartition(2, 3)}, 8: {inPartition(1, 5)}, 9: {inPartition(0, 1)},
		} {
			if !sameInAnyOrder(saved[user], want) {
				t.Errorf("%s: of %d are saved %v, want %v", name, user, saved[user], want)
			}
			if left := saver.unsaved(user); len(left) != 0 {
				t.Errorf("%s: of %d are left %v", name, user, left)
			}
		}
	}
}

func sameInAnyOrder(got, want []domain.Place) bool {
	byPartition := func(a, b domain.Place) int { return a.Partition - b.Partition }
	return slices.Equal(slices.SortedFunc(slices.Values(got), byPartition), slices.SortedFunc(slices.Values(want), byPartition))
}

func TestAnOutageOfTheDatabaseIsLoggedOnceAndAgainIfTheNodeLeavesInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		var log bytes.Buffer
		saver := newCursorSaver(savedCursors{save: func(map[domain.UserID][]domain.Place) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}},
			slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		var ended bool
		go func() {
			saver.run(ctx)
			ended = true
		}()
		after := func(what string, d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := strings.Count(log.String(), "level=WARN"); got != want {
				t.Errorf("%s: %d warnings, want %d: %s", what, got, want, log.String())
			}
		}
		saver.add(7, []domain.Place{inPartition(0, 1)})
		after("while the database answers", 10*time.Second, 0)
		away.Store(true)
		saver.add(7, []domain.Place{inPartition(0, 2)})
		after("in an outage", time.Minute, 1)
		away.Store(false)
		after("after it", 10*time.Second, 1)
		away.Store(true)
		saver.add(7, []domain.Place{inPartition(0, 3)})
		after("in another one", 10*time.Second, 2)
		cancel()
		after("at the end", 0, 3)
		if !ended || !strings.Contains(log.String(), "will be delivered again") {
			t.Errorf("ended %v: %s", ended, log.String())
		}
	})
}

func TestANodeThatLeavesWhileTheDatabaseAnswersSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cursors := &slowCursors{}
		saver := newCursorSaver(cursors, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		go saver.run(ctx)
		saver.add(7, []domain.Place{inPartition(0, 1)})
		saver.saveNow(7)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if got := cursors.saves.Load(); got != 2 || log.Len() != 0 || len(saver.unsaved(7)) != 0 {
			t.Errorf("%d saves, left are %v, logged %q", got, saver.unsaved(7), log.String())
		}
	})
}

// slowCursors is a Cursors whose first save takes until its context ends, and which fails under one that has ended.
type slowCursors struct {
	Cursors
	saves atomic.Int32
}

func (c *slowCursors) SaveCursors(ctx context.Context, _ map[domain.UserID][]domain.Place) error {
	if c.saves.Add(1) == 1 {
		<-ctx.Done()
	}
	return ctx.Err()
}
