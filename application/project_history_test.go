package application_test

import (
	"math"
	"testing"

	"chatting/application"
	"chatting/domain"
)

func TestAVersionOfABlockCountsWhereItIsKnownToStand(t *testing.T) {
	pair := application.BlockPair{Blocker: 2, Target: 1}
	at := func(offset int64) application.LogPosition {
		return application.LogPosition{Generation: 1, Offset: offset}
	}
	batch := application.ProjectionBatch{From: application.Projection{Next: at(0)}}
	for offset, version := range []int64{1, 3, 2, 3, 5, math.MaxInt64} {
		batch.Events = append(batch.Events, application.ProjectedEvent{Offset: int64(offset), Event: domain.Event{
			Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: version%2 == 1, Version: version},
		}})
	}
	believed, forged := batch.WithoutForged(map[application.BlockPair]application.GivenVersions{
		pair: {Newest: 3, Places: map[int64]application.LogPosition{1: at(0), 2: at(2), 3: at(3)}},
	})
	var offsets []int64
	for _, e := range believed.Events {
		offsets = append(offsets, e.Offset)
	}
	if forged != 3 || len(offsets) != 3 || offsets[1] != 2 || offsets[2] != 3 {
		t.Errorf("%d are left out, believed are those at %v", forged, offsets)
	}
}
