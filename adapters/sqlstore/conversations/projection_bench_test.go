package conversations_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// BenchmarkProject projects what some partitions have, a transaction at a time, and tells how much time of this process's
// processors a row takes. With SQLite that is all there is; PostgreSQL takes its own beside it.
func BenchmarkProject(b *testing.B) {
	for name, fresh := range map[string]func(b *testing.B) testDB{
		"SQLite": func(b *testing.B) testDB { return testDB{url: sqltest.NewSQLite(b)} },
		"PostgreSQL": func(b *testing.B) testDB {
			sqltest.RequirePostgres(b)
			return testDB{url: sqltest.NewPostgres(b)}
		},
	} {
		for _, c := range []struct{ partitions, rows int }{{1, 1000}, {16, 62}, {16, 4}, {4, 1}} {
			b.Run(fmt.Sprintf("%s/partitions=%d/rows=%d", name, c.partitions, c.rows), func(b *testing.B) {
				projectTogether(b, fresh(b).migrated(b), c.partitions, c.rows)
			})
		}
	}
}

func projectTogether(b *testing.B, s *store, partitions, rows int) {
	b.Helper()
	at := make([]history.Projection, partitions)
	for p := range at {
		next := domain.Place{Generation: 1, Partition: p}
		at[p] = history.Projection{Next: next, Last: -1}
		if err := s.Projections.MoveProjection(b.Context(), history.Projection{Next: domain.Place{Partition: p}}, at[p], nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	var spent time.Duration
	number := 0
	for b.Loop() {
		batches := make([]history.ProjectionBatch, partitions)
		for p := range batches {
			to := at[p]
			to.Next.Offset += int64(rows)
			batches[p] = history.ProjectionBatch{From: at[p], To: to, Retention: 24 * time.Hour}
			for i := range rows {
				// Its users are of this partition alone, as those of a conversation are.
				event := scaleEvent(number)
				message := event.Event.Body.(domain.ChatMessage) //nolint:forcetypeassert // it panics, as it should
				message.From, message.To = domain.UserID(1+p+partitions*(number%100)), domain.UserID(100_000+p+partitions*(number%99))
				event.Offset, event.Event.Body = at[p].Next.Offset+int64(i), message
				batches[p].Events = append(batches[p].Events, event)
				number++
			}
			at[p] = to
		}
		began := processorTime(b)
		if err := s.Projections.Project(b.Context(), batches...); err != nil {
			b.Fatal(err)
		}
		spent += processorTime(b) - began
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(number), "cpu-ns/row")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
