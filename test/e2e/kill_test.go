package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver, to look into the server's file

	"chatting/test/harness"
)

// A server is killed in the middle of traffic, again and again, and started on the same directory: every text that was
// echoed is in the log, once, and every block that was answered is in the database.
func TestWhatWasEchoedOrAnsweredSurvivesSIGKILL(t *testing.T) {
	const rounds, pairs = 3, 10
	dir := t.TempDir()
	echoed := &texts{count: make(map[string]int)}
	blocked := &texts{count: make(map[string]int)}
	for round := range rounds {
		s := startServer(t, dir)
		tokens := make([]string, 2*pairs)
		clients := make([]*client, 2*pairs)
		for i := range clients {
			tokens[i] = s.token(i + 1)
			clients[i] = mustConnect(t, s.HTTP, tokens[i])
		}
		var traffic sync.WaitGroup
		var answered atomic.Int64
		enough := make(chan struct{})
		count := func() {
			if answered.Add(1) == 2000 {
				close(enough)
			}
		}
		for i, c := range clients {
			partner := (i ^ 1) + 1
			traffic.Go(func() {
				for n := 0; ; n++ {
					if c.Send(partner, fmt.Sprintf("%d %d %d", round, i+1, n)) != nil {
						return // the server is dead
					}
					// One at a time: what is sent counts when it is echoed, and others' messages come in between.
					for {
						f, err := c.next()
						if err != nil {
							return
						}
						if f.From == i+1 {
							echoed.note(f.Message)
							count()
							break
						}
					}
				}
			})
			traffic.Go(func() {
				for target := 1; target <= 2*pairs; target++ {
					if target == i+1 || target == partner {
						continue
					}
					if round == rounds-1 && target%2 == 0 {
						continue
					}
					if !block(s.HTTP, tokens[i], target) {
						return
					}
					blocked.note(fmt.Sprintf("%d %d", i+1, target))
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(2 * time.Minute):
			t.Error("the traffic does not go on")
		}
		s.Kill()
		traffic.Wait()
	}

	s := startServer(t, dir)
	logged := readLog(t, s.Kafka)
	for text := range echoed.count {
		if logged[text] != 1 {
			t.Errorf("%q was echoed and is in the log %d times", text, logged[text])
		}
	}
	for text, times := range logged {
		if times > 1 {
			t.Errorf("%q is in the log %d times", text, times)
		}
	}
	stored := readBlocks(t, filepath.Join(dir, "data"))
	for pair := range blocked.count {
		if !stored[pair] {
			t.Errorf("the block %q was answered and is not in the database", pair)
		}
	}
	t.Logf("%d texts echoed, %d logged; %d blocks answered, %d stored", len(echoed.count), len(logged), len(blocked.count), len(stored))
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
}

// texts counts texts from many goroutines.
type texts struct {
	mu    sync.Mutex
	count map[string]int
}

func (x *texts) note(text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count[text]++
}

// block tells whether the block was answered with 201.
func block(addr, token string, target int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), harness.FrameWait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/chatting/blockedusers/",
		strings.NewReader(fmt.Sprintf(`{"target_id": %d}`, target)))
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusCreated
}

// readLog counts the texts of the conversations topic.
func readLog(t *testing.T, broker string) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	logged := make(map[string]int)
	for _, event := range harness.ReadEvents(ctx, t, broker, "chatting.conversations") {
		if event.Type == harness.ChatEvent {
			logged[event.Data.Message]++
		}
	}
	return logged
}

// readBlocks reads the pairs that are blocked out of the server's own file, which it shares with readers.
func readBlocks(t *testing.T, dataDir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataDir, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("database files: %v %v", files, err)
	}
	db, err := sql.Open("sqlite", "file:"+files[0]+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT blocker, target FROM blocks WHERE blocked")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := make(map[string]bool)
	for rows.Next() {
		var blocker, target int
		if err := rows.Scan(&blocker, &target); err != nil {
			t.Fatal(err)
		}
		stored[fmt.Sprintf("%d %d", blocker, target)] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return stored
}
