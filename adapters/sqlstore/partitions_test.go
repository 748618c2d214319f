package sqlstore

import (
	"testing"

	"chatting/test/sqltest"
)

var partitionContract = map[string]func(*testing.T, testDB){
	"TheFirstPartitionCountOfATopicIsTheOneRecorded": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		if got, err := nodes[0].Installation.RecordedPartitions(t.Context(), "a"); err != nil || got != 0 {
			t.Errorf("before any: %d, %v", got, err)
		}
		for _, step := range []struct {
			node         int
			topic        string
			actual, want int
		}{{0, "a", 16, 16}, {0, "a", 32, 16}, {1, "a", 8, 16}, {1, "b", 8, 8}, {0, "b", 8, 8}} {
			got, err := nodes[step.node].Installation.PartitionCount(t.Context(), step.topic, step.actual)
			sqltest.NoError(t, err)
			if got != step.want {
				t.Errorf("topic %s with %d partitions: %d recorded, want %d", step.topic, step.actual, got, step.want)
			}
			if got, err := nodes[1].Installation.RecordedPartitions(t.Context(), step.topic); err != nil || got != step.want {
				t.Errorf("topic %s: %d recorded, %v", step.topic, got, err)
			}
		}
	},
	"NodesThatStartAtOnceGetOnePartitionCount": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		counts := make([]int, 30)
		sqltest.AtOnce(len(counts), func(i int) {
			var err error
			if counts[i], err = nodes[i%len(nodes)].Installation.PartitionCount(t.Context(), "a", i+1); err != nil {
				t.Error(err)
			}
		})
		for _, count := range counts {
			if count < 1 || count != counts[0] {
				t.Fatalf("different counts: %v", counts)
			}
		}
	},
	"WhatIsNoPartitionCountIsNotRecorded": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for _, actual := range []int{0, -1} {
			if _, err := s.Installation.PartitionCount(t.Context(), "a", actual); err == nil {
				t.Errorf("%d partitions recorded", actual)
			}
		}
		if _, err := s.Installation.PartitionCount(t.Context(), "", 1); err == nil {
			t.Error("a topic without name recorded")
		}
		if got, err := s.Installation.PartitionCount(t.Context(), "a", 3); err != nil || got != 3 {
			t.Errorf("%d, %v after the refused ones", got, err)
		}
	},
}
