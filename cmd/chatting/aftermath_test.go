package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"chatting/test/harness"
)

// inProcess is a server that runs in the process of its test, so that what it holds can be counted.
type inProcess struct {
	addr, kafka, prefix string
	dir                 string
	secret              string
}

const (
	aftermathSecret = "a-secret-of-32-bytes-for-one-test"
	aftermathS2S    = "service-token-of-one-test"
)

// serveInProcess starts a server, on real parts if the environment names them, and ends it with the test.
func serveInProcess(t *testing.T, settings ...string) *inProcess {
	t.Helper()
	s := &inProcess{dir: t.TempDir(), prefix: "aftermath-" + uuid.NewString()[:8]}
	environ := append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + s.dir,
		"CHATTING_TOPIC_PREFIX=" + s.prefix, "CHATTING_JWT_SECRET=" + aftermathSecret, "CHATTING_S2S_TOKEN=" + aftermathS2S,
		"CHATTING_LOG_FORMAT=json", "CHATTING_KAFKA_PARTITIONS=4",
	}, settings...)
	if brokers := os.Getenv("CHATTING_TEST_KAFKA"); brokers != "" {
		environ = append(environ, "CHATTING_KAFKA_BROKERS="+brokers)
	}
	ctx, cancel := context.WithCancel(context.Background())
	lines, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve"}, surroundings{in: strings.NewReader(""), out: io.Discard, err: stderr, environ: environ})
		_ = stderr.Close()
	}()
	ready := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.readLog(t, lines, ready)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("the server ended with %d", code)
		}
		<-read
	})
	select {
	case <-ready:
	case code := <-ended:
		ended <- code
		t.Fatalf("the server ended with %d before it was ready", code)
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready after a minute")
	}
	return s
}

// readLog finds the addresses in the log and closes ready then.
func (s *inProcess) readLog(t *testing.T, lines io.Reader, ready chan<- struct{}) {
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		var line struct {
			HTTP     string `json:"http"`
			Embedded string `json:"embedded_kafka"`
			Kafka    string `json:"kafka"`
		}
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.HTTP != "" && s.addr == "" {
			s.addr = strings.TrimPrefix(line.HTTP, "http://")
			s.kafka = line.Embedded + line.Kafka
			close(ready)
		}
		if testing.Verbose() && !strings.Contains(scanner.Text(), `"level":"INFO"`) {
			_, _ = fmt.Fprintln(t.Output(), scanner.Text())
		}
	}
}

// token returns a token of a user.
func (s *inProcess) token(t *testing.T, user int) string {
	t.Helper()
	return s.signed(t, map[string]any{"user_id": user, "exp": time.Now().Add(time.Hour).Unix()})
}

// holding is what a process holds.
type holding struct {
	heap       uint64 // bytes, after a collection
	goroutines int
	files      int
}

func (h holding) String() string {
	return fmt.Sprintf("%.1f MiB, %d goroutines, %d open files", float64(h.heap)/(1<<20), h.goroutines, h.files)
}

// holds counts what this process holds now.
func holds(t *testing.T) holding {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	runtime.GC()
	runtime.GC() // what finalizers and pools let go of
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("open files cannot be counted here: %v", err)
	}
	return holding{heap: stats.HeapAlloc, goroutines: runtime.NumGoroutine(), files: len(files)}
}

// within tells whether h is at most a tenth above before.
func (h holding) within(before holding) bool {
	return h.heap <= before.heap*11/10 && h.goroutines <= before.goroutines*11/10 && h.files <= before.files*11/10
}

// canaries are two users who chat while an attack lasts. Each of their messages has to arrive.
type canaries struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	rounds int
	err    error
}

// canaryWait is how long a message of the canaries may take: the append deadline with a factor of three.
const canaryWait = 15 * time.Second

func (s *inProcess) startCanaries(t *testing.T) *canaries {
	t.Helper()
	const first, second = 1, 2
	pair := make([]*harness.Client, 2)
	for i, user := range []int{first, second} {
		client, err := harness.Connect(s.addr, s.token(t, user))
		if err != nil {
			t.Fatal(err)
		}
		pair[i] = client
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &canaries{stop: stop}
	c.done.Go(func() {
		defer pair[0].Close()
		defer pair[1].Close()
		for ctx.Err() == nil {
			if c.err = chatOnce(pair, c.rounds); c.err != nil {
				return
			}
			c.rounds++
			harness.Pause(ctx, 20*time.Millisecond)
		}
	})
	return c
}

// chatOnce has the pair say one message each way.
func chatOnce(pair []*harness.Client, round int) error {
	ctx, cancel := context.WithTimeout(context.Background(), canaryWait)
	defer cancel()
	for i, from := range pair {
		to := pair[1-i]
		text := fmt.Sprintf("round %d of %d", round, from.User)
		if err := from.Send(to.User, text); err != nil {
			return err
		}
		for _, end := range pair {
			seen := len(end.Frames())
			if _, err := end.Find(ctx, max(0, seen-8), func(f harness.Frame) bool { return f.Message == text }); err != nil {
				return fmt.Errorf("%q at %d: %w", text, end.User, err)
			}
		}
	}
	return nil
}

// end stops the canaries and fails the test if one of their messages was lost or none went through.
func (c *canaries) end(t *testing.T, during string) {
	t.Helper()
	c.stop()
	c.done.Wait()
	if c.err != nil || c.rounds == 0 {
		t.Errorf("%s: the canaries chatted %d rounds, then: %v", during, c.rounds, c.err)
	}
}

// answers checks what everybody needs while an attack lasts: the health paths and the login of somebody new.
func (s *inProcess) answers(t *testing.T, during string, newcomer int) {
	t.Helper()
	client := http.Client{Timeout: canaryWait, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := client.Get("http://" + s.addr + path)
		if err != nil {
			t.Errorf("%s: %s: %v", during, path, err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s answers %d", during, path, response.StatusCode)
		}
	}
	login, err := harness.Connect(s.addr, s.token(t, newcomer))
	if err != nil {
		t.Errorf("%s: a login fails: %v", during, err)
		return
	}
	login.Close()
}

// An attack does its worst and calls meanwhile once while it is at its worst. It lets go of everything before it returns.
type attack struct {
	name string
	run  func(t *testing.T, s *inProcess, meanwhile func())
}

// TestAttacksLeaveNothingBehind runs every attack on one server while two users chat. After all of them the server holds
// what it held before, within a tenth.
func TestAttacksLeaveNothingBehind(t *testing.T) {
	s := serveInProcess(t,
		"CHATTING_CHAT_OFFLINE=store",
	)
	everything := func() {
		for i, attack := range attacks {
			canaries := s.startCanaries(t)
			attack.run(t, s, func() { s.answers(t, attack.name, 900+i) })
			canaries.end(t, attack.name)
		}
	}
	everything() // what is kept for good, bounded, is there then: pools, caches, connections of the server's own
	before := s.settled(t, holding{})
	everything()
	after := s.settled(t, before)
	t.Logf("before: %s; after: %s", before, after)
	if !after.within(before) {
		t.Errorf("the server held %s before the attacks, and holds %s after them", before, after)
	}
}

// settled returns what the server holds once that is within a tenth of before, or does not shrink any more.
func (s *inProcess) settled(t *testing.T, before holding) holding {
	t.Helper()
	now := holds(t)
	for quiet := 0; quiet < 20 && !now.within(before); quiet++ {
		harness.Pause(t.Context(), 250*time.Millisecond)
		next := holds(t)
		if next.heap < now.heap*99/100 || next.goroutines < now.goroutines || next.files < now.files {
			quiet = 0
		}
		now = next
	}
	return now
}
