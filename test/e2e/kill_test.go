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
// echoed is in the log, once, and who blocks whom in the database is what was answered last.
func TestWhatWasEchoedOrAnsweredSurvivesSIGKILL(t *testing.T) {
	const rounds, pairs = 3, 10
	const texts, changes = 2000, 400 // of a round, before the kill
	dir := t.TempDir()
	echoed := &textSet{texts: make(map[string]bool)}
	blocks := make([]map[int]bool, 2*pairs) // what each user was answered last, by target; nothing while an answer is missing
	for i := range blocks {
		blocks[i] = make(map[int]bool)
	}
	for round := range rounds {
		settings := embedded("CHATTING_LIMIT_USER_WRITES_PER_SECOND=0")
		s := &server{Node: harness.StartNode(t, dir, settings...), t: t, dir: dir}
		tokens := make([]string, 2*pairs)
		clients := make([]*client, 2*pairs)
		for i := range clients {
			tokens[i] = s.token(i + 1)
			clients[i] = mustConnect(t, s.HTTP, tokens[i])
		}
		var traffic sync.WaitGroup
		var killed atomic.Bool
		var textsLeft, changesLeft atomic.Int64
		textsLeft.Store(texts)
		changesLeft.Store(changes)
		enough := make(chan struct{})
		stop := sync.OnceFunc(func() { close(enough) })
		count := func(left *atomic.Int64) {
			left.Add(-1)
			if textsLeft.Load() <= 0 && changesLeft.Load() <= 0 {
				stop()
			}
		}
		// failed takes how one user's traffic ended: by the kill, or too early.
		failed := func(user int, what string, err error) {
			if !killed.Load() {
				t.Errorf("round %d, user %d, %s: %v", round, user, what, err)
				stop()
			}
		}
		for i, c := range clients {
			partner := (i ^ 1) + 1
			traffic.Go(func() {
				for n := 0; ; n++ {
					if err := c.Send(partner, fmt.Sprintf("%d %d %d", round, i+1, n)); err != nil {
						failed(i+1, "sending", err)
						return
					}
					// One at a time: what is sent counts when it is echoed, and others' messages come in between.
					for {
						f, err := c.next()
						if err == nil && f.Error != "" {
							err = fmt.Errorf("got %+v", f)
						}
						if err != nil {
							failed(i+1, "an echo", err)
							return
						}
						if f.From == i+1 {
							echoed.note(f.Message)
							count(&textsLeft)
							break
						}
					}
				}
			})
			traffic.Go(func() {
				for n := 0; ; n++ {
					target := n%(2*pairs) + 1
					if target == i+1 || target == partner {
						continue
					}
					blocked := !blocks[i][target]
					delete(blocks[i], target)
					if err := setBlocked(s.HTTP, tokens[i], target, blocked); err != nil {
						failed(i+1, "a block", err)
						return
					}
					blocks[i][target] = blocked
					count(&changesLeft)
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(5 * time.Minute):
			t.Errorf("the traffic does not go on: %d texts and %d changes of blocks are missing", textsLeft.Load(), changesLeft.Load())
		}
		killed.Store(true)
		s.Kill()
		if traffic.Wait(); t.Failed() {
			return
		}
	}

	s := startServer(t, dir)
	logged := readLog(t, s.Kafka)
	for text := range echoed.texts {
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
	answered := 0
	for i, targets := range blocks {
		for target, blocked := range targets {
			answered++
			if pair := fmt.Sprintf("%d %d", i+1, target); stored[pair] != blocked {
				t.Errorf("of the pair %q it was answered last that it is blocked: %t; the database says %t", pair, blocked, stored[pair])
			}
		}
	}
	t.Logf("%d texts echoed, %d logged; %d pairs answered last, %d of them blocked", len(echoed.texts), len(logged), answered, len(stored))
	if answered < pairs {
		t.Error("too few pairs have an answer for the test to mean anything")
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
}

// textSet takes texts from many goroutines.
type textSet struct {
	mu    sync.Mutex
	texts map[string]bool
}

func (s *textSet) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[text] = true
}

// setBlocked blocks a user, or unblocks it. It fails unless that is answered as done.
func setBlocked(addr, token string, target int, blocked bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), harness.FrameWait)
	defer cancel()
	method, want := http.MethodPost, http.StatusCreated
	if !blocked {
		method, want = http.MethodDelete, http.StatusOK
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+addr+"/api/chatting/blockedusers/",
		strings.NewReader(fmt.Sprintf(`{"target_id": %d}`, target)))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("%s is answered with %s", method, response.Status)
	}
	return nil
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

// Nobody waits for a lease after the only node there is was killed: whoever has not come back is offline from the start.
func TestNobodyIsOnlineAfterSIGKILLWhoHasNotComeBack(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	mustConnect(t, s.HTTP, s.token(1))
	mustConnect(t, s.HTTP, s.token(2))
	if !s.online(2) {
		t.Fatal("2 is connected, and not online")
	}
	s.Kill()
	s = startServer(t, dir)
	if s.online(2) {
		t.Error("2 is online, and has not come back")
	}
}
