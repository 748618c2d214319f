package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
	"chatting/test/sqltest"
)

// wantVersions compares the versions of events of one pair.
func wantVersions(t *testing.T, events []domain.Event, want ...int64) {
	t.Helper()
	var got []int64
	for _, event := range events {
		got = append(got, event.Body.(domain.BlockChanged).Version)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("versions %v, want %v", got, want)
	}
}

func wantPending(t *testing.T, s *Store, blocker, target domain.UserID, versions ...int64) {
	t.Helper()
	events, err := s.Blocks.PendingOf(t.Context(), blocker, target)
	sqltest.NoError(t, err)
	wantVersions(t, events, versions...)
}

func pending(t *testing.T, s *Store, before time.Time, limit int) []domain.Event {
	t.Helper()
	events, err := s.Blocks.Pending(t.Context(), before, limit)
	sqltest.NoError(t, err)
	return events
}

var outboxContract = map[string]func(*testing.T, testDB){
	"AChangeWaitsInTheOutboxUnderItsOwnIDAndTime": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		c := sqltest.Change(math.MaxInt64, math.MaxInt64-1, true)
		c.At = sqltest.Time.In(time.FixedZone("elsewhere", 9*3600))
		sqltest.Set(t, s.Blocks, c)
		key, err := s.Blocks.key(t.Context())
		sqltest.NoError(t, err)
		want := domain.Event{ID: domain.BlockEventID(key, c.Blocker, c.Target, 1), Time: sqltest.Time, Body: domain.BlockChanged{
			Blocker: math.MaxInt64, Target: math.MaxInt64 - 1, Blocked: true, Version: 1,
		}}
		events, err := s.Blocks.PendingOf(t.Context(), math.MaxInt64, math.MaxInt64-1)
		sqltest.NoError(t, err)
		if len(events) != 1 || events[0] != want {
			t.Fatalf("pending %+v, want %+v", events, want)
		}
		if all := pending(t, s, sqltest.Time.Add(time.Millisecond), 10); len(all) != 1 || all[0] != want {
			t.Fatalf("pending of all pairs %+v, want %+v", all, want)
		}
	},
	"AChangeIsHeldBackByItsOwnPairOnly": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false))
		for _, pair := range [][2]domain.UserID{{1, 9}, {9, 2}} {
			young := sqltest.Change(pair[0], pair[1], true)
			young.At = sqltest.Time.Add(20 * time.Second)
			sqltest.Set(t, s.Blocks, young)
		}
		wantVersions(t, pending(t, s, sqltest.Time.Add(10*time.Second), 10), 1, 2)
	},
	"WhatIsPublishedLeavesTheOutboxAndUnknownIDsAreIgnored": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for i := range 4 {
			sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, i%2 == 0))
		}
		events := pending(t, s, sqltest.Time.Add(time.Second), 100)
		wantVersions(t, events, 1, 2, 3, 4)
		sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{events[0].ID, sqltest.NewEventID(), events[2].ID}))
		wantPending(t, s, 1, 2, 2, 4)
		sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{events[0].ID}))
		sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), nil))
		wantPending(t, s, 1, 2, 2, 4)
	},
	"MoreThanOneStatementTakesCanBePublishedAtOnce": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, false))
		events := pending(t, s, sqltest.Time.Add(time.Second), 10)
		ids := make([]domain.EventID, 3*database.InList)
		ids[0], ids[len(ids)-1] = events[0].ID, events[1].ID
		sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), ids))
		wantPending(t, s, 1, 2)
	},
	"PendingOfIsOfOneDirectedPair": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, true))
		sqltest.Set(t, s.Blocks, sqltest.Change(2, 1, false))
		wantPending(t, s, 1, 2, 1)
		wantPending(t, s, 2, 1, 1, 2)
		wantPending(t, s, 1, 3)
	},
	"YoungChangesAreLeftToTheRequestThatMadeThem": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true))
		young := sqltest.Change(3, 4, true)
		young.At = sqltest.Time.Add(time.Minute)
		sqltest.Set(t, s.Blocks, young)
		events := pending(t, s, sqltest.Time.Add(time.Minute), 10)
		if len(events) != 1 || events[0].Body.(domain.BlockChanged).Blocker != 1 {
			t.Fatalf("pending before a minute later: %+v", events)
		}
		if n := len(pending(t, s, sqltest.Time, 10)); n != 0 {
			t.Fatalf("%d changes pending before the first was made", n)
		}
	},
	"APairsChangesComeInOrderThoughClocksDiffer": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for i, offset := range []time.Duration{time.Second, 0, 3 * time.Second, -time.Second} {
			c := sqltest.Change(1, 2, i%2 == 0)
			c.At = sqltest.Time.Add(offset)
			sqltest.Set(t, s.Blocks, c)
		}
		wantVersions(t, pending(t, s, sqltest.Time.Add(time.Hour), 10), 1, 2, 3, 4)
		wantVersions(t, pending(t, s, sqltest.Time.Add(time.Hour), 2), 1, 2)
		wantVersions(t, pending(t, s, sqltest.Time.Add(2*time.Second), 10), 1, 2) // 4 waits for 3
		wantVersions(t, pending(t, s, sqltest.Time.Add(time.Millisecond), 10))    // 2 waits for 1
	},
	"LimitBoundsWhatIsPendingAndTheRestFollows": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for target := domain.UserID(2); target < 9; target++ {
			sqltest.Set(t, s.Blocks, sqltest.Change(1, target, true))
		}
		for _, want := range []int{3, 3, 1, 0} {
			events := pending(t, s, sqltest.Time.Add(time.Second), 3)
			if len(events) != want {
				t.Fatalf("%d pending, want %d", len(events), want)
			}
			for _, event := range events {
				sqltest.NoError(t, s.Blocks.MarkPublished(t.Context(), []domain.EventID{event.ID}))
			}
		}
	},
	"ACrashBetweenCommitAndPublishLeavesTheChangePending": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		acknowledged := crashWhileBlocking(t, d, 20)
		blocks, err := s.Blocks.Blocks(t.Context(), 1)
		sqltest.NoError(t, err)
		if len(blocks) != 1 || blocks[0].Version < int64(acknowledged) {
			t.Fatalf("blocks %+v after %d acknowledged changes", blocks, acknowledged)
		}
		events, err := s.Blocks.PendingOf(t.Context(), 1, 2)
		sqltest.NoError(t, err)
		if int64(len(events)) != blocks[0].Version {
			t.Fatalf("%d events pending at version %d", len(events), blocks[0].Version)
		}
		key, err := s.Blocks.key(t.Context())
		sqltest.NoError(t, err)
		for i, event := range events {
			want := domain.BlockChanged{Blocker: 1, Target: 2, Blocked: i%2 == 0, Version: int64(i + 1)}
			if event.Body != want || event.ID != domain.BlockEventID(key, 1, 2, int64(i+1)) {
				t.Fatalf("event %d is %+v, want %+v", i, event, want)
			}
		}
	},
}

// crashVariable makes the test binary a process that changes blocks of the database it names until it is killed.
const crashVariable = "CHATTING_TEST_CRASH_DATABASE"

// blockUntilKilled never publishes, and writes a line once each change is acknowledged.
func blockUntilKilled(url string) {
	s, err := Open(context.Background(), Options{Now: time.Now, Options: database.Options{
		URL: url, MaxOpen: 4, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	}})
	for i := 0; err == nil; i++ {
		if _, err = s.Blocks.SetBlocked(context.Background(), sqltest.Change(1, 2, i%2 == 0)); err == nil {
			fmt.Fprintln(os.Stdout, "acknowledged")
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// crashWhileBlocking kills (SIGKILL) such a process in the middle of its work, after it has acknowledged some changes,
// and returns how many it did acknowledge.
func crashWhileBlocking(t *testing.T, d testDB, atLeast int) (acknowledged int) {
	t.Helper()
	binary, err := os.Executable()
	sqltest.NoError(t, err)
	child := exec.CommandContext(t.Context(), binary)
	child.Env = append(os.Environ(), crashVariable+"="+d.url)
	child.Stderr = t.Output()
	output, err := child.StdoutPipe()
	sqltest.NoError(t, err)
	sqltest.NoError(t, child.Start())
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if acknowledged++; acknowledged == atLeast {
			sqltest.NoError(t, child.Process.Kill())
		}
	}
	_ = child.Wait() // killed
	if acknowledged < atLeast {
		t.Fatalf("the process acknowledged %d changes only", acknowledged)
	}
	return acknowledged
}
