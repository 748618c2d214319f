package cluster

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/test/harness"
)

// historyRow is an entry of the history: where its record stands, who of the two sees it, and what clients got.
type historyRow struct {
	partition, offset, id string
	low, high             int
	seenByLow, seenByHigh bool
	frame                 string
}

// loggedHistory is what the history has to be, by a look at the whole log with a client that shares nothing with the
// server: each message once, at its first place, hidden from whoever blocked its sender by then.
func (c *cluster) loggedHistory(ctx context.Context) []historyRow {
	c.t.Helper()
	type block struct {
		on      bool
		version int
	}
	blocks := make(map[pair]block) // of the first by the second
	seen := make(map[string]bool)
	var rows []historyRow
	for _, r := range harness.ReadTopic(ctx, c.t, c.parts.Brokers, c.conversations()) {
		var event struct {
			ID, Type string
			Data     json.RawMessage
		}
		var data struct {
			From    int `json:"from_id"`
			To      int `json:"to_id"`
			Version int
		}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			c.t.Fatal(err)
		}
		if err := json.Unmarshal(event.Data, &data); err != nil {
			c.t.Fatal(err)
		}
		if strings.HasSuffix(event.Type, "blocked.v1") {
			directed := pair{data.To, data.From}
			if data.Version > blocks[directed].version {
				blocks[directed] = block{on: event.Type == harness.BlockEvent, version: data.Version}
			}
			continue
		}
		if seen[event.ID] || event.Type == "chatting.read_mark.v1" { // which is in the history as the place of the mark
			continue
		}
		seen[event.ID] = true
		hidden := blocks[pair{data.From, data.To}].on
		between := pairOf(data.From, data.To)
		rows = append(rows, historyRow{
			partition: fmt.Sprint(r.Partition), offset: fmt.Sprint(r.Offset), id: event.ID, low: between[0], high: between[1],
			seenByLow: !hidden || data.To != between[0], seenByHigh: !hidden || data.To != between[1], frame: string(event.Data),
		})
	}
	return rows
}

// open opens the cluster's database until the test ends.
func (c *cluster) open() *sql.DB {
	c.t.Helper()
	db, err := sql.Open("postgres", c.database)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = db.Close() })
	return db
}

// storedHistory returns what the database has, by event id.
func (c *cluster) storedHistory(ctx context.Context, db *sql.DB) map[string]historyRow {
	c.t.Helper()
	found, err := db.QueryContext(ctx,
		"SELECT log_partition, log_offset, event_id, low, high, visible_low, visible_high, frame FROM messages")
	if err != nil {
		c.t.Fatal(err)
	}
	defer found.Close()
	rows := make(map[string]historyRow)
	for found.Next() {
		var r historyRow
		var id []byte
		if err := found.Scan(&r.partition, &r.offset, &id, &r.low, &r.high, &r.seenByLow, &r.seenByHigh, &r.frame); err != nil {
			c.t.Fatal(err)
		}
		text := hex.EncodeToString(id)
		r.id = strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
		if _, twice := rows[r.id]; twice {
			c.t.Errorf("the history has %s twice", r.id)
		}
		rows[r.id] = r
	}
	if err := found.Err(); err != nil {
		c.t.Fatal(err)
	}
	return rows
}

// mustHaveHistory waits until everything that the log has now is projected, and compares, row by row. It returns how many
// there are, and how many are hidden from somebody.
func (c *cluster) mustHaveHistory(ctx context.Context, db *sql.DB) (all, hidden int) {
	c.t.Helper()
	wanted := c.loggedHistory(ctx)
	c.awaitProjected(ctx, db)
	stored := c.storedHistory(ctx, db)
	for _, row := range wanted {
		if got, there := stored[row.id]; !there || got != row {
			c.t.Errorf("the history has\n%+v, the log says\n%+v", got, row)
		}
		delete(stored, row.id)
		if !row.seenByLow || !row.seenByHigh {
			hidden++
		}
	}
	for _, row := range stored {
		c.t.Errorf("the history has %+v, which is not in the log", row)
	}
	return len(wanted), hidden
}

// awaitProjected waits until the history has passed the end that the log has now.
func (c *cluster) awaitProjected(ctx context.Context, db *sql.DB) {
	c.t.Helper()
	ends := make(map[int32]int64)
	for _, r := range harness.ReadTopic(ctx, c.t, c.parts.Brokers, c.conversations()) {
		ends[r.Partition] = r.Offset + 1
	}
	for partition, end := range ends {
		harness.Until(ctx, c.t, fmt.Sprintf("partition %d is projected up to %d", partition, end), func() bool {
			return c.projected(ctx, db, partition) >= end
		})
	}
}

func (c *cluster) projected(ctx context.Context, db *sql.DB, partition int32) (next int64) {
	c.t.Helper()
	err := db.QueryRowContext(ctx, "SELECT COALESCE((SELECT next_offset FROM projections WHERE log_partition = $1), 0)",
		partition).Scan(&next)
	if err != nil {
		c.t.Fatal(err)
	}
	return next
}

// entries counts what the history has.
func (c *cluster) entries(ctx context.Context, db *sql.DB) (count int) {
	c.t.Helper()
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM messages").Scan(&count); err != nil {
		c.t.Fatal(err)
	}
	return count
}

// rebuild has the history projected again.
func (c *cluster) rebuild(ctx context.Context) {
	c.t.Helper()
	command := exec.CommandContext(ctx, harness.Binary, "history", "rebuild")
	command.Env = harness.Environ(c.settings()...)
	if printed, err := command.CombinedOutput(); err != nil {
		c.t.Fatalf("chatting history rebuild: %v\n%s", err, printed)
	}
}

// Users chat on a node that does not project; those that do are killed one after the other, mostly while they project.
func TestProjectorsThatAreKilledLeaveTheHistoryAsTheLog(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	stays := c.start("CHATTING_HISTORY_ENABLED=false", "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	db := c.open()
	crowd := pairUp(t, scaled(12, 40), func(int) string { return stays.HTTP })
	crowd.login(ctx, t)
	for _, chatter := range crowd.chatters {
		chatter.pace = 5 * time.Millisecond
	}
	crowd.start(ctx)
	crowd.progress(ctx, t, 20)

	projectors := c.startAll(2)
	kills := scaled(4, 20)
	for n := range kills {
		before := c.entries(ctx, db)
		harness.Until(ctx, t, "somebody projects", func() bool { return c.entries(ctx, db) > before })
		harness.Pause(ctx, rand.N(300*time.Millisecond)) // there is more to project all the time
		projectors[n%2].Kill()
		projectors[n%2] = c.start()
	}
	crowd.finish()
	rows, _ := c.mustHaveHistory(ctx, db)
	before := c.storedHistory(ctx, db)
	t.Logf("%d projectors were killed amid their work; %d rows, as in the log", kills, rows)

	c.rebuild(ctx)
	c.mustHaveHistory(ctx, db)
	for id, row := range c.storedHistory(ctx, db) {
		if before[id] != row {
			t.Errorf("rebuilt, the history has %+v, not %+v", row, before[id])
		}
	}
}

// A blocker blocks and unblocks somebody who floods it, while the nodes of both are killed, and the history is rebuilt.
func TestWhatStandsBehindABlockIsHiddenInTheHistoryWhoeverIsKilled(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	db := c.open()
	var mu sync.Mutex
	node := func(n int) *harness.Node {
		mu.Lock()
		defer mu.Unlock()
		return nodes[n%len(nodes)]
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	crowd := pairUp(t, 8, func(int) string { return "" })
	for _, chatter := range crowd.chatters {
		chatter.place = func(attempt int) string { return node(chatter.user + attempt).HTTP }
	}
	crowd.login(ctx, t)
	crowd.start(ctx)
	for _, chatter := range crowd.chatters {
		if chatter.user%2 == 1 {
			running.Go(func() { blockUntilStopped(ctx, chatter, node, stop) })
		}
	}
	for n := range scaled(3, 20) {
		crowd.progress(ctx, t, 10)
		harness.Pause(ctx, rand.N(500*time.Millisecond))
		dead := node(n)
		dead.Kill()
		crowd.progress(ctx, t, 5)
		started := c.start()
		mu.Lock()
		nodes[n%2] = started
		mu.Unlock()
		c.rebuild(ctx)
	}
	close(stop)
	running.Wait()
	crowd.finish()
	rows, hidden := c.mustHaveHistory(ctx, db)
	t.Logf("%d rows, %d of them hidden from their receivers", rows, hidden)
	if hidden == 0 || hidden == rows {
		t.Error("that shows nothing")
	}
	c.rebuild(ctx)
	c.mustHaveHistory(ctx, db)
}

// blockUntilStopped blocks and unblocks a chatter's partner by turns, over whichever node answers.
func blockUntilStopped(ctx context.Context, c *chatter, node func(int) *harness.Node, stop <-chan struct{}) {
	for n := 0; !isClosed(stop) && ctx.Err() == nil; n++ {
		method := http.MethodPost
		if n/3%2 == 1 {
			method = http.MethodDelete
		}
		// It may fail for want of a node, and then be done nevertheless: by the relay.
		_, _ = request(ctx, node(n).HTTP, c.token, method, blockedUsers, target(c.partner))
		harness.Pause(ctx, rand.N(100*time.Millisecond))
	}
}
