package server

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
	"testing"
	"time"

	"github.com/google/uuid"

	"chatting/test/harness"
)

// inProcess is a server that runs in the process of its test, so that what it holds can be counted.
type inProcess struct {
	addr, kafka, prefix string
	dir                 string
	metrics             string // the URL of the metrics; "" if there are none
	hurried             bool   // left before everything was done; to be read when the server has ended
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
		ended <- serve(ctx, environ, stderr)
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
			Metrics  string `json:"metrics"`
		}
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.HTTP != "" && s.addr == "" {
			s.addr = strings.TrimPrefix(line.HTTP, "http://")
			s.kafka, s.metrics = line.Embedded+line.Kafka, line.Metrics
			close(ready)
		}
		if strings.Contains(scanner.Text(), "left before everything was done") {
			s.hurried = true
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

// fewPooled is how many connections more than before the pools of the database and of Kafka may hold: an attack of a few
// hundred connections that left something behind would show beside it.
const fewPooled = 8

// within tells whether h is at most a tenth above before.
func (h holding) within(before holding) bool {
	atMost := func(now, then int) bool { return now <= then+max(then/10, fewPooled) }
	return h.heap <= before.heap*11/10 && atMost(h.goroutines, before.goroutines) && atMost(h.files, before.files)
}

// answers checks what everybody needs while an attack lasts: the health paths and the login of somebody new.
func (s *inProcess) answers(t *testing.T, during string, newcomer int) {
	t.Helper()
	client := http.Client{Timeout: harness.CanaryWait, Transport: &http.Transport{DisableKeepAlives: true}}
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
		// How many idle connections the pool has kept depends on how many were needed at once so far. Each has three files.
		"CHATTING_DATABASE_MAX_IDLE_CONNS=1",
	)
	everything := func() {
		for i, attack := range attacks {
			canaries := harness.StartCanaries(t, s.addr, s.token(t, 1), s.token(t, 2))
			attack.run(t, s, func() { s.answers(t, attack.name, 900+i) })
			canaries.End(t, attack.name)
		}
	}
	everything() // what is kept for good, bounded, is there then: pools, caches, connections of the server's own
	before := s.settled(t, holding{}, 35*time.Second)
	everything()
	after := s.settled(t, before, 3*time.Minute)
	t.Logf("before: %s; after: %s", before, after)
	if !after.within(before) {
		t.Errorf("the server held %s before the attacks, and holds %s after them", before, after)
	}
}

// settled returns what the server holds once that is within a tenth of before, or at the end of patience. Workers and
// connections without work end by themselves, within half a minute.
func (s *inProcess) settled(t *testing.T, before holding, patience time.Duration) holding {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	now := holds(t)
	for ctx.Err() == nil && !now.within(before) {
		harness.Pause(ctx, 250*time.Millisecond)
		now = holds(t)
	}
	return now
}
