package porttest

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

var Quiet = slog.New(slog.DiscardHandler)

func QuietNotices() *notice.Log { return notice.NewLog(Quiet, time.Now) }

// Counter makes ids that count.
func Counter() port.IDs {
	var n atomic.Uint64
	return func() (id domain.EventID) {
		binary.BigEndian.PutUint64(id[8:], n.Add(1))
		return id
	}
}

func Words(t testing.TB, s string) domain.Text {
	t.Helper()
	text, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func WantCode(t *testing.T, what string, err error, want domain.Code) {
	t.Helper()
	if got := domain.CodeOf(err); got != want {
		t.Fatalf("%s: %v (code %q), want %q", what, err, got, want)
	}
}

var SomeTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Eventually polls until what holds, and fails after a deadline that is far beyond what it takes.
func Eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !what(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}

// Local is the clock of the use cases: neither UTC nor whole milliseconds.
func Local() time.Time {
	return SomeTime.Add(1_999_999).In(time.FixedZone("KST", 9*3600))
}

var Stamped = SomeTime.Add(time.Millisecond)

// Only returns the one event that the log holds.
func Only(t *testing.T, log Conversations) domain.Event {
	t.Helper()
	var events []domain.Event
	for partition := range log.Records {
		events = append(events, log.All(partition)...)
	}
	if len(events) != 1 {
		t.Fatalf("the log has %v, want one event", events)
	}
	return events[0]
}

// Answer calls a use case and returns what done was called with; it must be called once, without waiting for anything.
func Answer(t *testing.T, execute func(done func(error))) error {
	t.Helper()
	var outcomes []error
	execute(func(err error) { outcomes = append(outcomes, err) })
	if len(outcomes) != 1 {
		t.Fatalf("done was called %d times", len(outcomes))
	}
	return outcomes[0]
}

// Output is what was logged since it was last taken.
type Output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *Output) Take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.buffer.Reset()
	return o.buffer.String()
}

// NewNotices returns a notice.Log and what it wrote.
func NewNotices() (*notice.Log, *Output) {
	out := &Output{}
	return notice.NewLog(slog.New(slog.NewTextHandler(out, nil)), time.Now), out
}

// Readings is a delivery.RecordReader that remembers, and stands for nobody who waits.
type Readings struct {
	mu  sync.Mutex
	ids []domain.EventID
}

func (r *Readings) Read(id domain.EventID, outcome error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if outcome == nil {
		r.ids = append(r.ids, id)
	}
}
