package porttest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"chatting/application/blocks"
	"chatting/application/past"
	"chatting/domain"
)

// GivenChanges is a delivery.BlockVersions and a past.GivenBlocks: it knows every change that a stage committed.
type GivenChanges struct {
	mu    sync.Mutex
	ids   map[blocks.Pair][]domain.EventID // by version, from 1 on
	Asked int                              // how often it was asked
	Err   error                            // of the next answers
}

// Gave notes a change as one that the database gave out.
func (g *GivenChanges) Gave(event domain.Event) domain.Event {
	change, _ := event.Body.(domain.BlockChanged)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids == nil {
		g.ids = make(map[blocks.Pair][]domain.EventID)
	}
	g.ids[blocks.PairOf(change)] = append(g.ids[blocks.PairOf(change)], event.ID)
	return event
}

// VersionsOf implements past.GivenBlocks.
func (g *GivenChanges) VersionsOf(_ context.Context, pairs []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Asked++
	given := make(map[blocks.Pair]blocks.GivenVersions)
	for _, pair := range pairs {
		ids := slices.Clone(g.ids[pair])
		given[pair] = blocks.GivenVersions{Newest: int64(len(ids)), EventOf: func(version int64) domain.EventID { return ids[version-1] }}
	}
	return given, g.Err
}

// Versions implements delivery.BlockVersions.
func (g *GivenChanges) Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error) {
	given, err := g.VersionsOf(ctx, []blocks.Pair{pair})
	return given[pair], err
}

// PastStage is a stage with a past.
type PastStage struct {
	*Stage
	Past  *past.Past
	Read  *PastLog
	Given *GivenChanges
}

// NewPastStage returns a stage whose past is known from its beginning.
func NewPastStage(t testing.TB, partitions int) *PastStage {
	s := &PastStage{Stage: NewStage(t, partitions), Given: &GivenChanges{}}
	s.Read = &PastLog{Log: s.Log}
	s.Past = &past.Past{Log: s.Read, Versions: s.Given, Verdicts: s.Delivery.Verdicts}
	for partition := range partitions {
		s.Delivery.Begin(partition, 0, 0)
	}
	return s
}

// Tail is Stage.Tail, after which the past is known up to the end of the log.
func (s *PastStage) Tail() {
	s.Stage.Tail()
	for partition, end := range s.Ends() {
		s.Delivery.Passed(partition, end)
	}
}

// Changes commits a change of a block that the database gave out, and returns its event.
func (s *PastStage) Changes(blocker, target domain.UserID, blocked bool) domain.Event {
	return s.Given.Gave(s.Commit(blocker, target, blocked))
}
