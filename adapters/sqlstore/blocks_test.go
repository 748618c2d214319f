package sqlstore

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/domain"
	"chatting/test/sqltest"
)

func wantBlocks(t *testing.T, s *Store, blocker domain.UserID, want ...blocks.Entry) {
	t.Helper()
	got, err := s.Blocks.Blocks(t.Context(), blocker)
	sqltest.NoError(t, err)
	for i := range got {
		got[i].Pending = false // has a test of its own
	}
	if !slices.Equal(got, want) {
		t.Fatalf("blocks of %d: %v, want %v", blocker, got, want)
	}
}

var blockContract = map[string]func(*testing.T, testDB){
	"AUserBlocksSoManyAndNoMore": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		// As many as may be, less one, of which one was unblocked again.
		s.db.Writer.MustExecContext(t.Context(), `
			WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
			INSERT INTO blocks (blocker, target, blocked, version, changed_at) SELECT 1, 100 + n, n > 1, 2, 0 FROM numbers`,
			blocks.MaxBlocks-1)
		if !sqltest.Set(t, s.Blocks, sqltest.Change(1, 50, true)) {
			t.Error("the last one is no change")
		}
		_, err := s.Blocks.SetBlocked(t.Context(), sqltest.Change(1, 51, true))
		sqltest.WantCode(t, err, domain.CodeLimit)
		if blocked, err := s.Blocks.IsBlocked(t.Context(), 1, 51); blocked || err != nil {
			t.Errorf("one too many is blocked: %t, %v", blocked, err)
		}
		// Pairs that are there already change as ever, and others may block as well.
		if !sqltest.Set(t, s.Blocks, sqltest.Change(1, 101, true)) || !sqltest.Set(t, s.Blocks, sqltest.Change(1, 50, false)) || !sqltest.Set(t, s.Blocks, sqltest.Change(2, 51, true)) {
			t.Error("no change")
		}
	},
	"EachChangeOfAPairTakesTheNextVersionAndARepetitionTakesNone": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for i, step := range []struct{ blocked, changes bool }{
			{false, false}, {true, true}, {true, false}, {false, true}, {false, false}, {true, true},
		} {
			if changed := sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, step.blocked)); changed != step.changes {
				t.Fatalf("step %d: changed %t, want %t", i, changed, step.changes)
			}
		}
		wantBlocks(t, s, 1, blocks.Entry{Target: 2, Blocked: true, Version: 3})
	},
	"APairShowsWhenItChangedLast": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for i := range 3 {
			c := sqltest.Change(1, 2, i%2 == 0)
			c.At = sqltest.Time.Add(time.Duration(i) * time.Hour)
			sqltest.Set(t, s.Blocks, c)
			var at int64
			sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &at, "SELECT changed_at FROM blocks"))
			if at != c.At.UnixMilli() {
				t.Errorf("change %d: at %d, want %d", i, at, c.At.UnixMilli())
			}
		}
	},
	"TheKeyOfBlocksIsOfOneDatabase": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		s.db.Writer.MustExecContext(t.Context(), insertKept, "another", "00")
		key, err := s.Blocks.key(t.Context())
		sqltest.NoError(t, err)
		if again, err := d.migrated(t).Blocks.key(t.Context()); err != nil || !bytes.Equal(again, key) {
			t.Errorf("the key changed: %v", err)
		}
		if elsewhere, err := newSQLiteDatabase(t).migrated(t).Blocks.key(t.Context()); err != nil || bytes.Equal(elsewhere, key) {
			t.Errorf("two databases have the key %x, %v", key, err)
		}
		for purpose, same := range map[string]bool{"one": true, "other": false} {
			one, err := s.Blocks.Secret(t.Context(), "one")
			if err != nil || len(one) != 32 || bytes.Equal(one, key) {
				t.Errorf("a secret of %d bytes, the key itself %v, %v", len(one), bytes.Equal(one, key), err)
			}
			if secret, err := d.migrated(t).Blocks.Secret(t.Context(), purpose); err != nil || bytes.Equal(secret, one) != same {
				t.Errorf("the secret for %s is that for one: %v, %v", purpose, bytes.Equal(secret, one), err)
			}
		}
		for _, value := range []string{"no hexadecimal number", "00ff", "", strings.Repeat("00", blockKeySize) + "zz"} {
			s.db.Writer.MustExecContext(t.Context(), "UPDATE secrets SET value = $1 WHERE name = $2", value, blockKeyName)
			if key, err := d.open(t).Blocks.key(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("the damaged key is %x, %v", key, err)
			}
		}
	},
	"APairIsPendingUntilAllItsChangesArePublished": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantPendingPair := func(target domain.UserID, want bool) {
			t.Helper()
			entries, err := s.Blocks.Blocks(t.Context(), 1)
			sqltest.NoError(t, err)
			for _, entry := range entries {
				if entry.Target == target && entry.Pending != want {
					t.Errorf("pair 1:%d pending: %t, want %t", target, entry.Pending, want)
				}
			}
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 3, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(9, 2, true)) // another pair
		for want := 2; want > 0; want-- {
			wantPendingPair(2, true)
			events, err := s.Blocks.PendingOf(t.Context(), 1, 2)
			sqltest.NoError(t, err)
			if len(events) != want {
				t.Fatalf("%d changes in the outbox, want %d", len(events), want)
			}
			sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{events[0].ID}))
		}
		wantPendingPair(2, false)
		wantPendingPair(3, true)
	},
	"UnblockingWhomNobodyBlockedLeavesNoTrace": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		if sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false)) {
			t.Fatal("the unblock changed something")
		}
		wantBlocks(t, s, 1)
		wantPending(t, s, 1, 2)
	},
	"AnUnblockedPairKeepsItsRowAndVersion": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false))
		wantBlocks(t, s, 1, blocks.Entry{Target: 2, Blocked: false, Version: 2})
	},
	"BlocksComeInAscendingOrderOfTargetsWhateverTheirIDs": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		targets := []domain.UserID{math.MaxInt64, 10, -1, 9, math.MinInt64, 0, 1 << 53, 1<<53 + 1}
		for _, target := range targets {
			sqltest.Set(t, s.Blocks, sqltest.Change(math.MaxInt64, target, true))
		}
		slices.Sort(targets)
		var want []blocks.Entry
		for _, target := range targets {
			want = append(want, blocks.Entry{Target: target, Blocked: true, Version: 1})
		}
		wantBlocks(t, s, math.MaxInt64, want...)
	},
	"ABlockIsOfOneDirection": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		for _, q := range []struct {
			blocker, target domain.UserID
			want            bool
		}{{1, 2, true}, {2, 1, false}, {1, 3, false}} {
			got, err := s.Blocks.IsBlocked(t.Context(), q.blocker, q.target)
			sqltest.NoError(t, err)
			if got != q.want {
				t.Errorf("%d blocks %d: %t, want %t", q.blocker, q.target, got, q.want)
			}
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false))
		if blocked, err := s.Blocks.IsBlocked(t.Context(), 1, 2); err != nil || blocked {
			t.Errorf("blocked after the unblock: %t, %v", blocked, err)
		}
		wantBlocks(t, s, 2)
	},
	"WhoBlocksAUserAmongOthersIsTold": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		const many = 2*database.InList + 1
		var users, want []domain.UserID
		for user := domain.UserID(10); user < 10+many; user++ {
			users = append(users, user)
		}
		for _, blocker := range []domain.UserID{10, 11, 10 + database.InList, 9 + many} {
			sqltest.Set(t, s.Blocks, sqltest.Change(blocker, 7, true))
			want = append(want, blocker)
		}
		sqltest.Set(t, s.Blocks, sqltest.Change(11, 7, false))
		sqltest.Set(t, s.Blocks, sqltest.Change(7, 12, true))            // the other way round
		sqltest.Set(t, s.Blocks, sqltest.Change(13, 8, true))            // somebody else
		sqltest.Set(t, s.Blocks, sqltest.Change(math.MaxInt64, 7, true)) // not asked about
		want = slices.Delete(want, 1, 2)
		for _, asked := range []struct{ users, want []domain.UserID }{
			{users, want}, {[]domain.UserID{10, 11, 12}, []domain.UserID{10}}, {[]domain.UserID{11, 13}, nil}, {nil, nil},
		} {
			got, err := s.Blocks.BlockersAmong(t.Context(), 7, asked.users)
			sqltest.NoError(t, err)
			slices.Sort(got)
			if !slices.Equal(got, asked.want) {
				t.Errorf("of %d users, %v block, want %v", len(asked.users), got, asked.want)
			}
		}
	},
	"ABlockWhoseEventCannotBeKeptIsNotMade": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		key, err := s.Blocks.key(t.Context())
		sqltest.NoError(t, err)
		taken := domain.BlockEventID(key, 3, 4, 1)
		s.db.Writer.MustExecContext(t.Context(), insertOutbox, taken.String(), 1, 2, true, 1, 0)
		if changed, err := s.Blocks.SetBlocked(t.Context(), sqltest.Change(3, 4, true)); err == nil || changed {
			t.Fatalf("changed %t, error %v with an event id that is taken", changed, err)
		}
		wantBlocks(t, s, 3)
	},
	"FirstBlocksOfAPairAtOnceChangeItOnce": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		var changes atomic.Int64
		sqltest.AtOnce(60, func(i int) {
			changed, err := nodes[i%len(nodes)].Blocks.SetBlocked(t.Context(), sqltest.Change(1, 2, true))
			if err != nil {
				t.Error(err)
			}
			if changed {
				changes.Add(1)
			}
		})
		if changes.Load() != 1 {
			t.Errorf("%d of 60 first blocks changed the pair", changes.Load())
		}
		wantBlocks(t, nodes[0], 1, blocks.Entry{Target: 2, Blocked: true, Version: 1})
	},
	"ChangesOfAPairAtOnceTakeVersionsWithoutGapOrRepetition": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		var changes atomic.Int64
		sqltest.AtOnce(100, func(i int) {
			for round := range 3 {
				changed, err := nodes[i%len(nodes)].Blocks.SetBlocked(t.Context(), sqltest.Change(1, 2, (i+round)%2 == 0))
				if err != nil {
					t.Error(err)
				}
				if changed {
					changes.Add(1)
				}
			}
		})
		events, err := nodes[0].Blocks.PendingOf(t.Context(), 1, 2)
		sqltest.NoError(t, err)
		if int64(len(events)) != changes.Load() {
			t.Fatalf("%d events of %d changes", len(events), changes.Load())
		}
		for i, event := range events {
			want := domain.BlockChanged{Blocker: 1, Target: 2, Blocked: i%2 == 0, Version: int64(i + 1)}
			if event.Body != want {
				t.Fatalf("event %d is %+v, want %+v", i, event.Body, want)
			}
		}
		wantBlocks(t, nodes[0], 1,
			blocks.Entry{Target: 2, Blocked: len(events)%2 == 1, Version: int64(len(events))})
		t.Logf("%d changes by 300 requests", len(events))
	},
}
