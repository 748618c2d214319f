package cluster

import (
	"context"
	"database/sql"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/database"
	"chatting/domain"
	"chatting/test/harness"
)

// How fast the log is projected that was there before, on one node, beside a COPY of the rows that come of it into a table
// of the same form; and how soon after its append a message is in the history where there is little to do.
func TestProjectingTheLogBesideABareCopyOfItsRows(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	const partitions = 16
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: strings.Split(c.parts.Brokers, ",")})
	t.Cleanup(cluster.Close)
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	names := kafka.NamesFor(c.prefix)
	if err := (kafka.TopicSetup{Names: names, Partitions: partitions, Logger: logger}).Ensure(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	appender := kafka.NewAppender(cluster, appending.AppenderOptions{
		Topic: names.Conversations, Partitions: partitions, Deadline: time.Minute, QueueBytes: 64 << 20, Logger: logger,
	})
	log := kafka.NewConversations(cluster, appender)
	t.Cleanup(func() { appender.Close(context.Background()); log.Close() })
	store, err := sqlstore.Open(ctx, sqlstore.Options{Now: time.Now, Options: database.Options{
		URL: c.database, MaxOpen: 16, Timeout: time.Minute, Logger: logger,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	db := c.open()

	messages := scaled(20_000, 1_000_000)
	appendMessages(t, log, messages)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- projector.New(cluster, projector.Options{
			Topic: names.Conversations, Partitions: partitions, Group: c.prefix + ".history", Store: store.Projections,
			Retention: time.Hour, Logger: logger,
		}).Run(running)
	}()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	harness.Until(ctx, t, "the first rows", func() bool { return c.entries(ctx, db) > 0 }) // joining the group is not measured
	first, began := c.entries(ctx, db), time.Now()
	harness.Until(ctx, t, "all rows", func() bool {
		harness.Pause(ctx, 50*time.Millisecond) // counting takes time, too
		return c.projectedOffsets(ctx, db) >= int64(messages)
	})
	rate := float64(messages-first) / time.Since(began).Seconds()
	copied := float64(messages) / c.copyRows(ctx, db).Seconds()
	t.Logf("%d messages projected at %.0f/s, their rows copied by COPY at %.0f/s: a ratio of %.2f", messages, rate, copied, rate/copied)
	if found := c.entries(ctx, db); found != messages {
		t.Errorf("%d rows of %d messages", found, messages)
	}

	var delays []time.Duration
	for range scaled(50, 500) {
		id, acknowledged := appendMessages(t, log, 1)
		harness.Until(ctx, t, "the message is in the history", func() bool { return c.hasEntry(ctx, db, id) })
		delays = append(delays, time.Since(acknowledged))
	}
	slices.Sort(delays)
	t.Logf("a message is seen in the history %s after its append (median; %s the slowest of %d), by asking every 10ms",
		delays[len(delays)/2].Round(time.Millisecond), delays[len(delays)-1].Round(time.Millisecond), len(delays))
}

// appendMessages appends messages of many conversations, and returns the id of the last and when all were acknowledged.
func appendMessages(t *testing.T, log *kafka.Conversations, count int) (last domain.EventID, acknowledged time.Time) {
	t.Helper()
	text, err := domain.NewText("this is about as long as a message in a chat is, and some are longer")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	window := make(chan struct{}, 20_000)
	for i := range count {
		window <- struct{}{}
		all.Add(1)
		last = domain.EventID(uuid.New())
		log.Append(domain.Event{ID: last, Time: time.Now().UTC().Truncate(time.Millisecond), Body: domain.ChatMessage{
			From: domain.UserID(1 + i%2000), To: domain.UserID(5000 + i%1999), Text: text,
		}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			<-window
			all.Done()
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return last, time.Now()
}

// hasEntry tells whether the history has a message from 1 to 5000.
func (c *cluster) hasEntry(ctx context.Context, db *sql.DB, id domain.EventID) (has bool) {
	c.t.Helper()
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM messages WHERE low = 1 AND high = 5000 AND event_id = $1)",
		id[:]).Scan(&has); err != nil {
		c.t.Fatal(err)
	}
	return has
}

// projectedOffsets returns how many offsets of all partitions are projected.
func (c *cluster) projectedOffsets(ctx context.Context, db *sql.DB) (sum int64) {
	c.t.Helper()
	if err := db.QueryRowContext(ctx, "SELECT COALESCE(SUM(next_offset), 0)::bigint FROM projections").Scan(&sum); err != nil {
		c.t.Fatal(err)
	}
	return sum
}

// copyRows copies the history into a table of the same form by COPY, in one transaction, and returns how long that took.
func (c *cluster) copyRows(ctx context.Context, db *sql.DB) time.Duration {
	c.t.Helper()
	rows, columns := c.allRows(ctx, db)
	check := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	_, err := db.ExecContext(ctx, "CREATE TABLE bare (LIKE messages INCLUDING ALL)")
	check(err)
	tx, err := db.BeginTx(ctx, nil)
	check(err)
	began := time.Now()
	statement, err := tx.PrepareContext(ctx, "COPY bare ("+strings.Join(columns, ", ")+") FROM STDIN")
	check(err)
	defer statement.Close()
	for _, row := range rows {
		_, err := statement.ExecContext(ctx, row...)
		check(err)
	}
	_, err = statement.ExecContext(ctx)
	check(err)
	check(statement.Close())
	check(tx.Commit())
	return time.Since(began)
}

func (c *cluster) allRows(ctx context.Context, db *sql.DB) (rows [][]any, columns []string) {
	c.t.Helper()
	found, err := db.QueryContext(ctx, "SELECT * FROM messages ORDER BY log_partition, generation, log_offset")
	if err != nil {
		c.t.Fatal(err)
	}
	defer found.Close()
	if columns, err = found.Columns(); err != nil {
		c.t.Fatal(err)
	}
	for found.Next() {
		row, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			places[i] = &row[i]
		}
		if err := found.Scan(places...); err != nil {
			c.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		c.t.Fatal(err)
	}
	return rows, columns
}
