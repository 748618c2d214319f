package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

func TestLogsAreOneUnlessTheirPrefixesOrKnownClustersDiffer(t *testing.T) {
	for _, test := range []struct {
		one, other LogIdentity
		want       bool
	}{
		{LogIdentity{"a", "c1"}, LogIdentity{"a", "c1"}, true},
		{LogIdentity{"a", "c1"}, LogIdentity{"a", "c2"}, false},
		{LogIdentity{"a", "c1"}, LogIdentity{"b", "c1"}, false},
		{LogIdentity{"a", ""}, LogIdentity{"a", "c1"}, true},
		{LogIdentity{"a", ""}, LogIdentity{"b", "c1"}, false},
	} {
		if test.one.Is(test.other) != test.want || test.other.Is(test.one) != test.want {
			t.Errorf("%v and %v: not %t", test.one, test.other, test.want)
		}
	}
}

var installationContract = map[string]func(*testing.T, testDB){
	"TheFirstLogOfADatabaseIsTheOneItBelongsTo": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		mine, other, moved := LogIdentity{"a", "c1"}, LogIdentity{"b", "c1"}, LogIdentity{"a", "c2"}
		belongs := func(store *Store, own, want LogIdentity) {
			t.Helper()
			got, err := store.Installation.Log(t.Context(), own)
			sqltest.NoError(t, err)
			claimed, err := store.Installation.ClaimLog(t.Context(), own)
			sqltest.NoError(t, err)
			if got != want || claimed != want {
				t.Errorf("asked as %v, it belongs to %v, and claimed to %v, not %v", own, got, claimed, want)
			}
		}
		for _, own := range []LogIdentity{other, mine} { // asking alone records nothing
			if got, err := nodes[0].Installation.Log(t.Context(), own); err != nil || got != own {
				t.Errorf("nobody's database belongs to %v (%v)", got, err)
			}
		}
		belongs(nodes[0], mine, mine)
		belongs(nodes[1], other, mine)
		belongs(nodes[0], moved, mine)
		belongs(nodes[1], LogIdentity{"a", ""}, mine)
		if _, err := nodes[0].Installation.ClaimLog(t.Context(), LogIdentity{"", "c1"}); err == nil {
			t.Error("a log without a prefix is recorded")
		}
		for _, move := range []LogMove{{To: LogIdentity{"", "c1"}, Ends: []int64{0}}, {To: other}} {
			if err := nodes[0].Installation.MoveToLog(t.Context(), move); err == nil {
				t.Errorf("%+v is carried out", move)
			}
		}
		// A store is held to its own log, and not to the one that it found instead.
		stranger := d.open(t)
		belongs(stranger, other, mine)
		sqltest.NoError(t, nodes[0].Installation.MoveToLog(t.Context(), LogMove{To: other, Generation: 2, Ends: []int64{0}}))
		sqltest.NoError(t, stranger.Installation.Beat(t.Context()))
		if err := nodes[0].Installation.Beat(t.Context()); !errors.As(err, new(*OtherLogError)) {
			t.Errorf("the node of the old log beats: %v", err)
		}
	},
	"EachDatabaseHasAnIDOfItsOwnThatStays": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		if id, err := nodes[0].Installation.DatabaseID(t.Context()); err != nil || id != "" {
			t.Errorf("before it belongs to a log, it is %q (%v)", id, err)
		}
		seen := make(map[string]bool)
		for i, to := range []LogIdentity{{"a", "c1"}, {"b", "c2"}} {
			if i == 0 {
				_, err := nodes[0].Installation.ClaimLog(t.Context(), to)
				sqltest.NoError(t, err)
			} else {
				sqltest.NoError(t, nodes[0].Installation.MoveToLog(t.Context(), LogMove{To: to, Generation: 2, Ends: []int64{0}}))
			}
			for _, node := range nodes {
				id, err := node.Installation.DatabaseID(t.Context())
				sqltest.NoError(t, err)
				seen[id] = true
			}
		}
		if len(seen) != 1 || seen[""] {
			t.Errorf("it has the ids %v", seen)
		}
	},
	"AClusterThatBecomesKnownIsRecorded": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for _, step := range []struct{ own, want LogIdentity }{
			{LogIdentity{"a", ""}, LogIdentity{"a", ""}}, {LogIdentity{"a", "c1"}, LogIdentity{"a", "c1"}},
			{LogIdentity{"a", ""}, LogIdentity{"a", "c1"}}, {LogIdentity{"a", "c2"}, LogIdentity{"a", "c1"}},
		} {
			if got, err := s.Installation.ClaimLog(t.Context(), step.own); err != nil || got != step.want {
				t.Errorf("claimed for %v, it belongs to %v (%v)", step.own, got, err)
			}
		}
	},
	"ADatabaseOfAVersionThatRecordedNoLogKnowsItByItsTopics": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for i, topic := range []string{"zz.conversations", "aa.conversations", "old.conversations", "old.sessions"} {
			_, err := s.Installation.PartitionCount(t.Context(), topic, 16)
			sqltest.NoError(t, err)
			s.db.Writer.MustExecContext(t.Context(), "UPDATE topic_partitions SET recorded_at = $1 WHERE topic = $2", i, topic)
		}
		if got, err := s.Installation.ClaimLog(t.Context(), LogIdentity{"new", "c1"}); err != nil || got != (LogIdentity{"old", ""}) {
			t.Errorf("under another prefix, it belongs to %v (%v)", got, err)
		}
		if got, err := s.Installation.ClaimLog(t.Context(), LogIdentity{"old", "c1"}); err != nil || got != (LogIdentity{"old", "c1"}) {
			t.Errorf("under its prefix, it belongs to %v (%v)", got, err)
		}
	},
	"NodesThatStartAtOnceGetOneLog": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		logs := make([]LogIdentity, 30)
		sqltest.AtOnce(len(logs), func(i int) {
			var err error
			if logs[i], err = nodes[i%len(nodes)].Installation.ClaimLog(t.Context(), LogIdentity{fmt.Sprint("p", i), "c"}); err != nil {
				t.Error(err)
			}
		})
		for _, log := range logs {
			if log.TopicPrefix == "" || log != logs[0] {
				t.Fatalf("different logs: %v", logs)
			}
		}
	},
	"AServerOfTheOldLogChangesNothingOnceTheDatabaseMoves": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		server, adopt := nodes[0], nodes[1]
		own := LogIdentity{"a", "c1"}
		_, err := server.Installation.ClaimLog(t.Context(), own)
		sqltest.NoError(t, err)
		const user = domain.UserID(7)
		at := func(generation, offset int64) history.Projection {
			return history.Projection{Next: domain.Place{Generation: generation, Offset: offset}, Last: -1}
		}
		cursors := map[domain.UserID][]domain.Place{domain.System: {{Generation: 1, Offset: 3}}}
		sqltest.NoError(t, server.Projections.MoveProjection(t.Context(), history.Projection{}, at(1, 0), nil))
		sqltest.NoError(t, server.Users.Remember(t.Context(), user))
		sqltest.NoError(t, server.Cursors.SaveCursors(t.Context(), cursors))

		changes := map[string]func(from, to history.Projection) error{
			"Project": func(from, to history.Projection) error {
				return server.Projections.Project(t.Context(), history.ProjectionBatch{From: from, To: to})
			},
			"MoveProjection": func(from, to history.Projection) error {
				return server.Projections.MoveProjection(t.Context(), from, to, nil)
			},
			"SaveCursors": func(_, _ history.Projection) error { return server.Cursors.SaveCursors(t.Context(), cursors) },
			"EraseUser": func(_, _ history.Projection) error {
				_, _, err := server.Eraser.EraseUser(t.Context(), application.Erasure{User: user})
				return err
			},
			"Beat": func(_, _ history.Projection) error { return server.Installation.Beat(t.Context()) },
			"SetBlocked": func(_, _ history.Projection) error {
				_, err := server.Blocks.SetBlocked(t.Context(), sqltest.Change(1, 2, true))
				return err
			},
		}
		refused := func(from, to history.Projection) {
			t.Helper()
			for name, change := range changes {
				err := change(from, to)
				var other *OtherLogError
				if !errors.As(err, &other) || other.Held != own {
					t.Errorf("%s: %v", name, err)
				}
				sqltest.WantCode(t, err, domain.CodeUnavailable)
			}
		}
		for want := range int64(3) {
			if beats, err := adopt.Installation.Beats(t.Context()); err != nil || beats != want {
				t.Errorf("%d beats (%v), not %d", beats, err, want)
			}
			sqltest.NoError(t, server.Installation.Beat(t.Context()))
		}
		sqltest.NoError(t, adopt.Installation.BeginMove(t.Context()))
		if got, err := adopt.Installation.ClaimLog(t.Context(), own); err != nil || got != (LogIdentity{}) {
			t.Errorf("between two logs it belongs to %v (%v)", got, err)
		}
		refused(at(1, 0), at(1, 5))
		sqltest.NoError(t, adopt.Projections.MoveProjection(t.Context(), at(1, 0), at(2, 0), nil))
		refused(at(2, 0), at(3, 0)) // as a server does that finds its partition moved
		sqltest.NoError(t, adopt.Installation.MoveToLog(t.Context(), LogMove{To: LogIdentity{"b", "c1"}, Generation: 2, Ends: []int64{0, 0}}))
		refused(at(2, 0), at(3, 0))
		projections, err := server.Projections.Projections(t.Context())
		if err != nil || len(projections) != 1 || projections[0].Next != at(2, 0).Next {
			t.Errorf("the projections are %v (%v)", projections, err)
		}
		if cursor, err := server.Cursors.Cursor(t.Context(), domain.System); err != nil || cursor != nil {
			t.Errorf("the cursor is %v (%v)", cursor, err)
		}
		wantBlocks(t, server, 1)
	},
	"AMoveWaitsForWhatAServerIsChanging": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		_, err := nodes[0].Installation.ClaimLog(t.Context(), LogIdentity{"a", "c1"})
		sqltest.NoError(t, err)
		moved := make(chan error, 1)
		sqltest.NoError(t, nodes[0].db.Write(t.Context(), "change", func(ctx context.Context, tx *sqlx.Tx) error {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if err := nodes[1].Installation.BeginMove(short); domain.CodeOf(err) != domain.CodeUnavailable {
				t.Errorf("the move did not wait: %v", err)
			}
			go func() { moved <- nodes[1].Installation.BeginMove(t.Context()) }()
			return nil
		}))
		sqltest.NoError(t, <-moved)
	},
	"ADatabaseThatMovesForgetsTheOldLogAndKeepsWhatWasDelivered": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		const user, erased = domain.UserID(7), domain.UserID(8)
		sqltest.NoError(t, s.Users.Remember(t.Context(), user))
		_, err := s.Installation.ClaimLog(t.Context(), LogIdentity{"a", "c1"})
		sqltest.NoError(t, err)
		_, err = s.Installation.PartitionCount(t.Context(), "a.conversations", 2)
		sqltest.NoError(t, err)
		places := []domain.Place{{Generation: 1, Offset: 5}, {Generation: 1, Partition: 1, Offset: 6}}
		for _, of := range []domain.UserID{domain.System, user} {
			sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{of: places}))
		}
		s.db.Writer.MustExecContext(t.Context(),
			"INSERT INTO erasures (user_id, log_partition, generation, until_offset) VALUES ($1, 0, 1, 900), ($1, 1, 1, 900)", int64(erased))
		move := LogMove{To: LogIdentity{"b", "c2"}, Generation: 3, Ends: []int64{10, 20}}
		sqltest.NoError(t, s.Installation.MoveToLog(t.Context(), move))
		if got, err := s.Installation.ClaimLog(t.Context(), move.To); err != nil || got != move.To {
			t.Errorf("it belongs to %v (%v)", got, err)
		}
		if got, err := s.Installation.ClaimLog(t.Context(), LogIdentity{"a", "c1"}); err != nil || got != move.To {
			t.Errorf("for the old one, it belongs to %v (%v)", got, err)
		}
		if count, err := s.Installation.PartitionCount(t.Context(), "a.conversations", 4); err != nil || count != 4 {
			t.Errorf("the old number of partitions is %d (%v)", count, err)
		}
		if cursor, err := s.Cursors.Cursor(t.Context(), user); err != nil || len(cursor) != 2 || cursor[1] != places[1] {
			t.Errorf("the cursor is %v (%v)", cursor, err)
		}
		var until []int64
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &until,
			"SELECT until_offset FROM erasures WHERE user_id = $1 AND generation = 3 ORDER BY log_partition", int64(erased)))
		if fmt.Sprint(until) != "[10 20]" {
			t.Errorf("who was erased is erased up to %v", until)
		}
		// With another number of partitions, a cursor would be of other conversations.
		move.Ends, move.Generation = []int64{1, 2, 3}, 4
		sqltest.NoError(t, s.Installation.MoveToLog(t.Context(), move))
		if cursor, err := s.Cursors.Cursor(t.Context(), user); err != nil || cursor != nil {
			t.Errorf("the cursor is %v (%v)", cursor, err)
		}
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &until,
			"SELECT until_offset FROM erasures WHERE user_id = $1 AND generation = 4 ORDER BY log_partition", int64(erased)))
		if fmt.Sprint(until) != "[1 2 3]" {
			t.Errorf("who was erased is erased up to %v", until)
		}
	},
}
