package installation

import (
	"testing"

	"chatting/adapters/kafka/projector"
	"chatting/application/history"
	"chatting/domain"
)

func TestWhatIsLeftToRebuildIsWhatTheServersHaveNotPassed(t *testing.T) {
	at := func(generation int64, partition int, offset int64) domain.Place {
		return domain.Place{Generation: generation, Partition: partition, Offset: offset}
	}
	began := []projector.Rebuilt{{From: at(1, 0, 10), To: at(1, 0, 110)}, {From: at(1, 1, 0), To: at(1, 1, 50)}, {}}
	for _, row := range []struct {
		name     string
		next     []domain.Place
		left, of int64
	}{
		{"at the start", []domain.Place{at(1, 0, 10), at(1, 1, 0)}, 150, 150},
		{"on the way", []domain.Place{at(1, 0, 40), at(1, 1, 50)}, 70, 150},
		{"done", []domain.Place{at(1, 0, 110), at(1, 1, 50)}, 0, 150},
		{"and further", []domain.Place{at(1, 0, 500), at(1, 1, 500)}, 0, 150},
		{"in a later topic of the same name", []domain.Place{at(2, 0, 0), at(2, 1, 0)}, 0, 150},
		{"not moved yet", nil, 150, 150},
	} {
		var projections []history.Projection
		for _, next := range row.next {
			projections = append(projections, history.Projection{Next: next})
		}
		if left, of := leftToRebuild(began, projections); left != row.left || of != row.of {
			t.Errorf("%s: %d of %d are left, not %d of %d", row.name, left, of, row.left, row.of)
		}
	}
}
