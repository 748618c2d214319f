package sqlstore

import (
	"fmt"
	"testing"

	"chatting/application"
	"chatting/domain"
)

var installationContract = map[string]func(*testing.T, database){
	"TheFirstLogOfADatabaseIsTheOneItBelongsTo": func(t *testing.T, d database) {
		nodes := d.nodes(t, 2)
		mine, other, moved := LogIdentity{"a", "c1"}, LogIdentity{"b", "c1"}, LogIdentity{"a", "c2"}
		belongs := func(store *Store, own, want LogIdentity) {
			t.Helper()
			got, err := store.Log(t.Context(), own)
			noError(t, err)
			claimed, err := store.ClaimLog(t.Context(), own)
			noError(t, err)
			if got != want || claimed != want {
				t.Errorf("asked as %v, it belongs to %v, and claimed to %v, not %v", own, got, claimed, want)
			}
		}
		for _, own := range []LogIdentity{other, mine} { // asking alone records nothing
			if got, err := nodes[0].Log(t.Context(), own); err != nil || got != own {
				t.Errorf("nobody's database belongs to %v (%v)", got, err)
			}
		}
		belongs(nodes[0], mine, mine)
		belongs(nodes[1], other, mine)
		belongs(nodes[0], moved, mine)
		belongs(nodes[1], LogIdentity{"a", ""}, mine)
		if _, err := nodes[0].ClaimLog(t.Context(), LogIdentity{"", "c1"}); err == nil {
			t.Error("a log without a prefix is recorded")
		}
	},
	"EachDatabaseHasAnIDOfItsOwnThatStays": func(t *testing.T, d database) {
		nodes := d.nodes(t, 2)
		if id, err := nodes[0].DatabaseID(t.Context()); err != nil || id != "" {
			t.Errorf("before it belongs to a log, it is %q (%v)", id, err)
		}
		seen := make(map[string]bool)
		for i, to := range []LogIdentity{{"a", "c1"}, {"b", "c2"}} {
			if i == 0 {
				_, err := nodes[0].ClaimLog(t.Context(), to)
				noError(t, err)
			} else {
				noError(t, nodes[0].MoveToLog(t.Context(), LogMove{To: to, Generation: 2, Ends: []int64{0}}))
			}
			for _, node := range nodes {
				id, err := node.DatabaseID(t.Context())
				noError(t, err)
				seen[id] = true
			}
		}
		if len(seen) != 1 || seen[""] {
			t.Errorf("it has the ids %v", seen)
		}
	},
	"AClusterThatBecomesKnownIsRecorded": func(t *testing.T, d database) {
		s := d.migrated(t)
		for _, step := range []struct{ own, want LogIdentity }{
			{LogIdentity{"a", ""}, LogIdentity{"a", ""}}, {LogIdentity{"a", "c1"}, LogIdentity{"a", "c1"}},
			{LogIdentity{"a", ""}, LogIdentity{"a", "c1"}}, {LogIdentity{"a", "c2"}, LogIdentity{"a", "c1"}},
		} {
			if got, err := s.ClaimLog(t.Context(), step.own); err != nil || got != step.want {
				t.Errorf("claimed for %v, it belongs to %v (%v)", step.own, got, err)
			}
		}
	},
	"ADatabaseOfAVersionThatRecordedNoLogKnowsItByItsTopics": func(t *testing.T, d database) {
		s := d.migrated(t)
		for _, topic := range []string{"old.conversations", "old.sessions"} {
			_, err := s.PartitionCount(t.Context(), topic, 16)
			noError(t, err)
		}
		if got, err := s.ClaimLog(t.Context(), LogIdentity{"new", "c1"}); err != nil || got != (LogIdentity{"old", ""}) {
			t.Errorf("under another prefix, it belongs to %v (%v)", got, err)
		}
		if got, err := s.ClaimLog(t.Context(), LogIdentity{"old", "c1"}); err != nil || got != (LogIdentity{"old", "c1"}) {
			t.Errorf("under its prefix, it belongs to %v (%v)", got, err)
		}
	},
	"NodesThatStartAtOnceGetOneLog": func(t *testing.T, d database) {
		nodes := d.nodes(t, 3)
		logs := make([]LogIdentity, 30)
		atOnce(len(logs), func(i int) {
			var err error
			if logs[i], err = nodes[i%len(nodes)].ClaimLog(t.Context(), LogIdentity{fmt.Sprint("p", i), "c"}); err != nil {
				t.Error(err)
			}
		})
		for _, log := range logs {
			if log.TopicPrefix == "" || log != logs[0] {
				t.Fatalf("different logs: %v", logs)
			}
		}
	},
	"ADatabaseThatMovesForgetsTheOldLogAndKeepsWhatWasDelivered": func(t *testing.T, d database) {
		s := d.migrated(t)
		const user, erased = domain.UserID(7), domain.UserID(8)
		noError(t, s.Remember(t.Context(), user))
		_, err := s.ClaimLog(t.Context(), LogIdentity{"a", "c1"})
		noError(t, err)
		_, err = s.PartitionCount(t.Context(), "a.conversations", 2)
		noError(t, err)
		places := []application.LogPosition{{Generation: 1, Offset: 5}, {Generation: 1, Partition: 1, Offset: 6}}
		for _, of := range []domain.UserID{domain.System, user} {
			noError(t, s.SaveCursors(t.Context(), map[domain.UserID][]application.LogPosition{of: places}))
		}
		s.writer.MustExecContext(t.Context(),
			"INSERT INTO erasures (user_id, log_partition, generation, until_offset) VALUES ($1, 0, 1, 900), ($1, 1, 1, 900)", int64(erased))
		move := LogMove{To: LogIdentity{"b", "c2"}, Generation: 3, Ends: []int64{10, 20}}
		noError(t, s.MoveToLog(t.Context(), move))
		if got, err := s.ClaimLog(t.Context(), move.To); err != nil || got != move.To {
			t.Errorf("it belongs to %v (%v)", got, err)
		}
		if got, err := s.ClaimLog(t.Context(), LogIdentity{"a", "c1"}); err != nil || got != move.To {
			t.Errorf("for the old one, it belongs to %v (%v)", got, err)
		}
		if count, err := s.PartitionCount(t.Context(), "a.conversations", 4); err != nil || count != 4 {
			t.Errorf("the old number of partitions is %d (%v)", count, err)
		}
		if cursor, err := s.Cursor(t.Context(), user); err != nil || len(cursor) != 2 || cursor[1] != places[1] {
			t.Errorf("the cursor is %v (%v)", cursor, err)
		}
		var until []int64
		noError(t, s.reader.SelectContext(t.Context(), &until,
			"SELECT until_offset FROM erasures WHERE user_id = $1 AND generation = 3 ORDER BY log_partition", int64(erased)))
		if fmt.Sprint(until) != "[10 20]" {
			t.Errorf("who was erased is erased up to %v", until)
		}
		// With another number of partitions, a cursor would be of other conversations.
		move.Ends, move.Generation = []int64{1, 2, 3}, 4
		noError(t, s.MoveToLog(t.Context(), move))
		if cursor, err := s.Cursor(t.Context(), user); err != nil || cursor != nil {
			t.Errorf("the cursor is %v (%v)", cursor, err)
		}
		noError(t, s.reader.SelectContext(t.Context(), &until,
			"SELECT until_offset FROM erasures WHERE user_id = $1 AND generation = 4 ORDER BY log_partition", int64(erased)))
		if fmt.Sprint(until) != "[1 2 3]" {
			t.Errorf("who was erased is erased up to %v", until)
		}
	},
}
