package projector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// batches is a store that takes down what is projected.
type batches struct {
	history.ProjectionStore

	mu   sync.Mutex
	took []history.ProjectionBatch
	fail error
}

func (b *batches) Project(_ context.Context, batches ...history.ProjectionBatch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	for _, batch := range batches {
		batch.Events, batch.Supersedes = slices.Clone(batch.Events), maps.Clone(batch.Supersedes) // they are used again
		b.took = append(b.took, batch)
	}
	return nil
}

// projecting is the handler of a partition that is projected from offset 10 on.
func projecting(t *testing.T) (*projection, *batches) {
	t.Helper()
	store := &batches{}
	p := New(nil, Options{
		Partitions: 1, Store: store, Retention: time.Hour, Logger: brokertest.Logger(t),
	}).partition(0)
	ctx, stop := context.WithCancelCause(t.Context())
	t.Cleanup(func() { stop(nil) })
	return &projection{
		partition: p, reader: newReader(t.Context(), p.projector), ctx: ctx, stop: stop,
		invites: domain.NewInviteRegister(), quiet: newQuietBlocks(),
		at: history.Projection{Next: domain.Place{Generation: 2, Offset: 10}, Last: -1},
	}, store
}

// end ends an answer of the leader: what was read is written.
func (h *projection) end(next int64) {
	h.readUpTo(next)
	h.reader.write()
}

func (h *projection) logged(t *testing.T, offset int64, key string, body domain.Body) {
	t.Helper()
	at := time.UnixMilli(1000 * offset)
	value := []byte("poison")
	if body != nil {
		var err error
		if value, err = kafka.EncodeEvent(domain.Event{ID: domain.DerivedID("test", fmt.Sprint(offset)), Time: at, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	h.record(&recordbatch.StoredRecord{Offset: offset, Time: at, Key: []byte(key), Value: value})
}

// offsets lists what a batch projects.
func offsets(batch history.ProjectionBatch) (offsets []int64) {
	for _, event := range batch.Events {
		offsets = append(offsets, event.Offset)
	}
	return offsets
}

func TestWhatIsProjectedInOneTransaction(t *testing.T) {
	h, store := projecting(t)
	hello := domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "hello")}
	block := func(version int64) domain.Body {
		return domain.BlockChanged{Blocker: 2, Target: 1, Blocked: version%2 == 1, Version: version}
	}
	h.end(10)
	if len(store.took) != 0 {
		t.Error("where nothing was read, something is written")
	}
	h.logged(t, 10, "1:2", hello)
	h.logged(t, 11, "1:2", nil)
	h.end(12)
	h.logged(t, 12, "1:2", block(5))
	h.logged(t, 13, "1:2", block(6))
	h.leftOut(recordbatch.LeftOut{From: 14, To: 17})
	h.logged(t, 17, "1:2", block(7))
	h.logged(t, 18, "1:2", block(8))
	h.logged(t, 19, "1:2", hello)
	h.logged(t, 20, "1:2", block(9))
	h.end(30)
	h.logged(t, 30, "1:2", block(10))
	h.logged(t, 31, "1:2", nil) // another version may find a message in it
	h.logged(t, 32, "1:2", block(11))
	h.end(33)
	h.end(33)
	if len(store.took) != 3 {
		t.Fatalf("there are %d transactions", len(store.took))
	}
	for i, want := range []struct {
		offsets    []int64
		supersedes map[int64]int64
		from, to   int64
		last       int64
	}{
		{[]int64{10}, nil, 10, 12, 11},
		{[]int64{12, 13, 17, 18, 19, 20}, map[int64]int64{13: 12, 18: 17}, 12, 30, 20},
		{[]int64{30, 32}, map[int64]int64{30: 20}, 30, 33, 32},
	} {
		batch := store.took[i]
		if !slices.Equal(offsets(batch), want.offsets) || !maps.Equal(batch.Supersedes, want.supersedes) || batch.From.Next.Offset != want.from ||
			batch.To.Next.Offset != want.to || batch.To.Last != want.last || batch.To.Next.Generation != 2 {
			t.Errorf("transaction %d projects %v, which supersede %v, from %+v to %+v", i, offsets(batch), batch.Supersedes, batch.From, batch.To)
		}
		if i > 0 && batch.From != store.took[i-1].To {
			t.Errorf("transaction %d does not go on where the last one ended", i)
		}
		if batch.Retention != time.Hour || !batch.Oldest.IsZero() { // the store finds the time by a clock that it trusts
			t.Errorf("transaction %d has a retention of %s, and takes what is older than %s for expired", i, batch.Retention, batch.Oldest)
		}
	}
	first := store.took[0]
	if want := (loggedRecord{11, time.UnixMilli(11_000), []byte("1:2"), []byte("poison")}).fingerprint(); first.To.Fingerprint != want {
		t.Error("the fingerprint is not that of the last record")
	}
	if event := first.Events[0]; event.Event.Body != domain.Body(hello) || !strings.Contains(string(event.Frame), `"hello"`) || event.Unseen {
		t.Errorf("the event is %+v", event)
	}
	if at := h.partition.progress.Load(); at == nil || at.next.Offset != 33 {
		t.Errorf("its progress is %+v", at)
	}
}

// Operators see that something else writes the topic.
func TestRecordsThatAreNoEventsAreCountedInTheLog(t *testing.T) {
	hello := domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "hello")}
	for what, c := range map[string]struct {
		read func(h *projection)
		says string // "": nothing
	}{
		"none": {func(h *projection) { h.logged(t, 10, "1:2", hello) }, ""},
		"some": {func(h *projection) { h.logged(t, 10, "1:2", nil); h.logged(t, 11, "1:2", nil) }, "records=2"},
		"more": {func(h *projection) { h.logged(t, 10, "1:2", nil); h.leftOut(recordbatch.LeftOut{From: 11, To: 15}) }, "records=5"},
	} {
		var out bytes.Buffer
		h, _ := projecting(t)
		h.partition.projector = New(nil, Options{
			Partitions: 1, Store: &batches{}, Retention: time.Hour, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		})
		c.read(h)
		h.end(20)
		if got := out.String(); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: it says %q", what, got)
		}
	}
}

func TestATransactionIsBoundedInEventsAndInBytes(t *testing.T) {
	h, store := projecting(t)
	hello := domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "hello")}
	for offset := range int64(maxProjected + 1) {
		h.logged(t, 10+offset, "1:2", hello)
	}
	if len(store.took) != 1 || len(store.took[0].Events) != maxProjected || store.took[0].To.Next.Offset != 10+maxProjected {
		t.Fatalf("many events: %d transactions", len(store.took))
	}
	h.end(2000)
	if len(store.took) != 2 || len(store.took[1].Events) != 1 {
		t.Fatalf("the rest: %d transactions", len(store.took))
	}
	h, store = projecting(t)
	long := domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, strings.Repeat("x", 60<<10))}
	for offset := int64(10); len(store.took) == 0 && offset < 100; offset++ {
		h.logged(t, offset, "1:2", long)
	}
	if len(store.took) != 1 {
		t.Fatal("many bytes are not written")
	}
	size := 0
	for _, event := range store.took[0].Events {
		size += len(event.Frame)
	}
	if last := len(store.took[0].Events[0].Frame); size < maxProjectedBytes || size-last >= maxProjectedBytes {
		t.Errorf("%d bytes are written at once", size)
	}
	if h.reader.bytes != 0 {
		t.Errorf("the next transaction begins with %d bytes", h.reader.bytes)
	}
}

func TestWhatStandsInTheWrongPlaceIsNoEvent(t *testing.T) {
	value, err := kafka.EncodeEvent(domain.Event{ID: domain.DerivedID("test", "x"), Time: time.Now(), Body: domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "m")}})
	if err != nil {
		t.Fatal(err)
	}
	const partitions = 8
	home := logclient.PartitionOf([]byte("1:2"), logclient.PartitionNumbers(partitions))
	p := New(nil, Options{Partitions: partitions, Logger: brokertest.Logger(t)}).partition(home)
	if _, _, err := p.open([]byte("1:2"), value); err != nil {
		t.Errorf("at home: %v", err)
	}
	if _, _, err := p.open([]byte("2:1"), value); !errors.Is(err, errForeign) {
		t.Errorf("under a key of nobody: %v", err)
	}
	if _, _, err := p.open([]byte("1:2"), nil); !errors.Is(err, errForeign) {
		t.Errorf("without a value: %v", err)
	}
	p.number = (home + 1) % partitions
	if _, _, err := p.open([]byte("1:2"), value); !errors.Is(err, errForeign) {
		t.Errorf("in another partition: %v", err)
	}
}

// After a failure nothing more is written: what comes next would leave a gap.
func TestAProjectionStopsAtItsFirstFailure(t *testing.T) {
	hello := domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "hello")}
	h, store := projecting(t)
	store.fail = errors.New("away")
	h.logged(t, 10, "1:2", hello)
	h.end(11)
	if cause := context.Cause(h.ctx); !errors.Is(cause, store.fail) || h.at.Next.Offset != 10 {
		t.Errorf("it goes on at %d, with %v", h.at.Next.Offset, cause)
	}
	store.fail = nil
	h.logged(t, 11, "1:2", hello)
	h.end(12)
	if len(store.took) != 0 || len(h.events) != 1 {
		t.Errorf("afterwards, %d transactions are written", len(store.took))
	}
	for what, c := range map[string]struct {
		from, to, lostUntil int64
		pastEnd             bool
	}{
		"a hole":    {10, 20, 20, false},
		"made anew": {20, 5, 0, true},
	} {
		h, _ := projecting(t)
		h.hole(c.from, c.to)
		if p := h.partition; !errors.Is(context.Cause(h.ctx), errHole) || p.lostUntil != c.lostUntil || p.pastEnd.IsZero() == c.pastEnd {
			t.Errorf("%s: lost until %d, past the end since %s, %v", what, p.lostUntil, p.pastEnd, context.Cause(h.ctx))
		}
	}
}

func TestAFingerprintIsOfAllOfARecord(t *testing.T) {
	one := loggedRecord{7, time.UnixMilli(5), []byte("1:2"), []byte("value")}
	seen := make(map[history.RecordFingerprint]bool)
	for _, r := range []loggedRecord{
		one, {8, one.at, one.key, one.value}, {7, time.UnixMilli(6), one.key, one.value}, {7, one.at, []byte("1:3"), one.value},
		{7, one.at, one.key, []byte("other")}, {7, one.at, []byte("1:2v"), []byte("alue")}, {7, one.at, nil, nil},
	} {
		if f := r.fingerprint(); seen[f] || f == (history.RecordFingerprint{}) {
			t.Errorf("%+v has the fingerprint of another one", r)
		} else {
			seen[f] = true
		}
	}
	again := loggedRecord{7, time.UnixMilli(5).UTC(), []byte("1:2"), []byte("value")}
	if again.fingerprint() != one.fingerprint() {
		t.Error("the same record has two fingerprints")
	}
}
