package replay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"chatting/application/history"
	"chatting/domain"
)

// keptCursors is a Cursors whose answers are given by user.
type keptCursors struct {
	cursors map[domain.UserID][]domain.Place
	errs    map[domain.UserID]error
	asked   map[domain.UserID]int
	saved   int
}

func (c *keptCursors) Cursor(_ context.Context, user domain.UserID) ([]domain.Place, error) {
	c.asked[user]++
	return c.cursors[user], c.errs[user]
}

func (c *keptCursors) SaveCursors(context.Context, map[domain.UserID][]domain.Place) error {
	c.saved++
	return nil
}

func (c *keptCursors) ForgetCursors(context.Context) error { return nil }

// fixedPlaces are history.ProjectedOffsets and port.LogEnds that stay.
type fixedPlaces []domain.Place

func (p fixedPlaces) Projected(context.Context, int) ([]domain.Place, error) { return p, nil }

func (p fixedPlaces) EndOffsets(context.Context) ([]int64, error) {
	var ends []int64
	for _, place := range p {
		ends = append(ends, place.Offset)
	}
	return ends, nil
}

func TestWhereStoringBeganIsAskedForUntilItIsKnown(t *testing.T) {
	cursors := &keptCursors{
		cursors: map[domain.UserID][]domain.Place{}, errs: map[domain.UserID]error{}, asked: map[domain.UserID]int{},
	}
	places := fixedPlaces{inPartition(0, 7), inPartition(1, 9)}
	s := NewStoredMessages(cursors, nil, history.FollowedLog{Projected: places, Ends: places, Partitions: 2}, slog.New(slog.DiscardHandler))
	cursors.errs[domain.System] = errors.New("away")
	if err := s.Begin(t.Context()); err == nil || cursors.saved != 0 {
		t.Errorf("while the database is away: %v, saved %d times", err, cursors.saved)
	}
	cursors.errs[domain.System] = nil
	if err := s.Begin(t.Context()); err != nil || cursors.saved != 1 {
		t.Errorf("the first time: %v, saved %d times", err, cursors.saved)
	}
	cursors.cursors[domain.System] = []domain.Place{inPartition(0, 3), inPartition(1, 4)}
	cursors.asked[domain.System] = 0
	for range 3 {
		if err := s.Begin(t.Context()); err != nil || cursors.saved != 1 {
			t.Errorf("again: %v, saved %d times", err, cursors.saved)
		}
		from, err := s.cursor(t.Context(), 5, places) // a user without a cursor
		if err != nil || !slices.Equal(from, cursors.cursors[domain.System]) {
			t.Errorf("it begins at %v, %v", from, err)
		}
	}
	if got := cursors.asked[domain.System]; got != 1 {
		t.Errorf("the database was asked %d times where storing began", got)
	}
	// Where a user's cursor cannot be told, nobody may think that it has none.
	cursors.errs[6] = errors.New("away")
	if from, err := s.cursor(t.Context(), 6, places); err == nil {
		t.Errorf("it begins at %v", from)
	}
	cursors.cursors[7] = []domain.Place{inPartition(0, 5)}
	s.saving.add(7, []domain.Place{inPartition(0, 6)})
	if from, err := s.cursor(t.Context(), 7, places); err != nil || !slices.Equal(from, []domain.Place{inPartition(0, 6), inPartition(1, 9)}) {
		t.Errorf("it begins at %v, %v", from, err)
	}
}
