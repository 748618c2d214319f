package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/tracetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started returns a Tracing that sends to c, and the lines that it logs. It is closed with the test.
func started(t *testing.T, c *tracetest.Collector, ratio float64) (*Tracing, *bytes.Buffer) {
	t.Helper()
	var lines bytes.Buffer
	tracing, err := New(Options{
		Endpoint: c.URL + tracetest.Path, Headers: map[string]string{"Api-Key": "a secret"}, SampleRatio: ratio, Version: "v1", Node: "node-1",
		Notices: notice.NewLog(slog.New(slog.NewTextHandler(&lines, nil)), time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracing, &lines
}

func closed(t *testing.T, tracing *Tracing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tracing.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestWhatIsDoneForOneRequestIsOneTrace(t *testing.T) {
	c := tracetest.Start(t)
	tracing, _ := started(t, c, 1)
	traces := port.NewTraces(tracing)
	connection := traces.Root(port.SpanRequest, "")
	root := traces.RootLinked(port.SpanFrameMessage, connection.Parent())
	child := traces.Child(port.SpanAppend, root.Parent())
	child.SetEvent(domain.EventID{1})
	child.SetPlace("a-topic", domain.Place{Partition: 3, Offset: 70})
	began := time.Now().Add(-time.Hour)
	grandchild := traces.ChildSince(port.SpanDeliver, child.Parent(), began)
	grandchild.End(domain.NewError(domain.CodeUnavailable, "secret words"))
	child.End(domain.NewError(domain.CodeMuted, "secret words"))
	root.End(nil)
	connection.Rename("GET /ws/")
	connection.EndAs("503", true)
	closed(t, tracing)

	got := make(map[string]tracetest.Span)
	for _, s := range c.Spans() {
		got[s.Name] = s
		if s.Service != "chatting" || s.Instance != "node-1" || s.ResourceAttributes["service.version"] != "v1" {
			t.Errorf("it comes from %v", s.ResourceAttributes)
		}
	}
	upgrade, frame, appended, deliver := got["GET /ws/"], got["frame chat_message"], got["append"], got["deliver"]
	if frame.Trace == upgrade.Trace || len(frame.Links) != 1 || frame.Links[0] != upgrade.Trace+"/"+upgrade.ID || frame.Parent != "" {
		t.Errorf("a frame is %+v, not linked to %+v", frame, upgrade)
	}
	if appended.Trace != frame.Trace || appended.Parent != frame.ID || appended.RemoteParent || deliver.Trace != frame.Trace || deliver.Parent != appended.ID || !deliver.RemoteParent {
		t.Errorf("below %+v are %+v and %+v", frame, appended, deliver)
	}
	if !upgrade.Failed || upgrade.Attributes["error.type"] != "503" || frame.Failed || appended.Failed || appended.Attributes["error.type"] != "muted" ||
		!deliver.Failed || deliver.Attributes["error.type"] != "unavailable" {
		t.Errorf("they end as %+v", got)
	}
	if appended.Kind != "producer" || deliver.Kind != "consumer" || frame.Kind != "server" || deliver.Began != uint64(began.UnixNano()) {
		t.Errorf("they are %+v", got)
	}
	want := map[string]string{
		"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": "a-topic",
		"messaging.destination.partition.id": "3", "messaging.kafka.offset": "70", "error.type": "muted",
		"messaging.message.id": "01000000-0000-0000-0000-000000000000",
	}
	if fmt.Sprint(appended.Attributes) != fmt.Sprint(want) {
		t.Errorf("an append says %v, want %v", appended.Attributes, want)
	}
	if counts := tracing.Counts(); counts != (Counts{Sent: 4}) {
		t.Errorf("counted %+v", counts)
	}
	for _, header := range c.Headers() {
		if header.Get("Api-Key") != "a secret" {
			t.Error("the collector does not get the header")
		}
	}
}

const (
	sampled   = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	unsampled = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
)

func TestASpanIsRecordedIfItsParentIs(t *testing.T) {
	for _, ratio := range []float64{0, 1} {
		c := tracetest.Start(t)
		tracing, _ := started(t, c, ratio)
		traces := port.NewTraces(tracing)
		for what, recorded := range map[string]struct{ got, want bool }{
			"no parent":                  {traces.Root(port.SpanRequest, "").IsRecorded(), ratio == 1},
			"a parent that is":           {traces.Root(port.SpanRequest, sampled).IsRecorded(), true},
			"a parent that is not":       {traces.Root(port.SpanRequest, unsampled).IsRecorded(), false},
			"an ingest, below one":       {traces.Root(port.SpanIngest, sampled).IsRecorded(), true},
			"an ingest, below one not":   {traces.Root(port.SpanIngest, unsampled).IsRecorded(), false},
			"a child of no parent":       {traces.Child(port.SpanAppend, "").IsRecorded(), false},
			"a child of one that is":     {traces.Child(port.SpanAppend, sampled).IsRecorded(), true},
			"a child of one that is not": {traces.Child(port.SpanAppend, unsampled).IsRecorded(), false},
			"a link to one that is not":  {traces.RootLinked(port.SpanFrameMessage, unsampled).IsRecorded(), ratio == 1},
		} {
			if recorded.got != recorded.want {
				t.Errorf("with a ratio of %g, %s: %t", ratio, what, recorded.got)
			}
		}
		span := traces.Root(port.SpanRequest, sampled)
		if id, _ := span.Parent().IDs(); fmt.Sprintf("%x", id) != "0af7651916cd43dd8448eb211c80319c" || !span.Parent().IsSampled() {
			t.Errorf("what is below %s is below %s", sampled, span.Parent())
		}
		closed(t, tracing)
	}
}

// Clients may say what they like in their headers, as often as they like.
func TestClientsCannotHaveEverythingRecorded(t *testing.T) {
	c := tracetest.Start(t)
	tracing, _ := started(t, c, 0)
	traces := port.NewTraces(tracing)
	recorded := 0
	for range 50 * maxAsked {
		if traces.Root(port.SpanRequest, sampled).IsRecorded() {
			recorded++
		}
	}
	if recorded < maxAsked || recorded > 25*maxAsked {
		t.Errorf("%d of %d are recorded", recorded, 50*maxAsked)
	}
	if !traces.Root(port.SpanIngest, sampled).IsRecorded() || !traces.Child(port.SpanAppend, sampled).IsRecorded() {
		t.Error("others suffer from what clients ask for")
	}
	closed(t, tracing)
}

func TestTheRatioIsThatOfTheTracesThatBeginHere(t *testing.T) {
	c := tracetest.Start(t)
	tracing, _ := started(t, c, 0.25)
	recorded := 0
	const tries = 4000 // the deviation is 27
	for range tries {
		if port.NewTraces(tracing).RootLinked(port.SpanFrameMessage, "").IsRecorded() {
			recorded++
		}
	}
	if recorded < tries/4-270 || recorded > tries/4+270 {
		t.Errorf("%d of %d are recorded", recorded, tries)
	}
	closed(t, tracing)
}

// A collector that takes nothing costs memory up to a bound, and nobody waits for it.
func TestWhatFindsTheQueueFullIsDroppedAndCounted(t *testing.T) {
	c := tracetest.Start(t)
	stalled, release := make(chan struct{}, 100), make(chan struct{})
	c.Answer(func(http.ResponseWriter) bool {
		stalled <- struct{}{}
		<-release
		return true
	})
	tracing, _ := started(t, c, 1)
	traces := port.NewTraces(tracing)
	const excess = 1000
	for range maxQueue + excess {
		traces.RootLinked(port.SpanFrameMessage, "").End(nil)
	}
	<-stalled // a batch is under way and has no answer
	if counts := tracing.Counts(); counts != (Counts{Dropped: excess}) {
		t.Errorf("counted %+v", counts)
	}
	close(release)
	closed(t, tracing)
	if counts := tracing.Counts(); counts != (Counts{Sent: maxQueue, Dropped: excess}) || len(c.Spans()) != maxQueue {
		t.Errorf("counted %+v, and %d came", counts, len(c.Spans()))
	}
}

func TestACollectorThatRefusesIsLoggedWithoutSecrets(t *testing.T) {
	for what, refusal := range map[string]struct {
		status int
		logged string
	}{
		"a status": {http.StatusUnauthorized, `error="the answer has status 401"`},
		// Headers may be secrets: they go where they are meant to, only.
		"a redirection": {http.StatusFound, `error="the answer has status 302"`},
	} {
		c, other := tracetest.Start(t), tracetest.Start(t)
		c.Answer(func(w http.ResponseWriter) bool {
			w.Header().Set("Location", other.URL+tracetest.Path)
			w.WriteHeader(refusal.status)
			fmt.Fprint(w, "a secret")
			return false
		})
		tracing, lines := started(t, c, 1)
		port.NewTraces(tracing).RootLinked(port.SpanFrameMessage, "").End(nil)
		closed(t, tracing)
		if got := lines.String(); !strings.Contains(got, refusal.logged) || !strings.Contains(got, "spans=1") || strings.Contains(got, "secret") {
			t.Errorf("%s: logged %s", what, got)
		}
		if counts := tracing.Counts(); counts != (Counts{Failed: 1}) || len(other.Headers()) > 0 {
			t.Errorf("%s: counted %+v, and another got %v", what, counts, other.Headers())
		}
	}
}

// The end of a server does not wait for a collector.
func TestCloseGivesUpAtItsDeadline(t *testing.T) {
	c := tracetest.Start(t)
	stalled, release := make(chan struct{}, 100), make(chan struct{})
	c.Answer(func(http.ResponseWriter) bool {
		stalled <- struct{}{}
		<-release
		return false
	})
	defer close(release)
	tracing, lines := started(t, c, 1)
	traces := port.NewTraces(tracing)
	for range 3 * maxBatch {
		traces.RootLinked(port.SpanFrameMessage, "").End(nil)
	}
	<-stalled
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tracing.Close(ctx); err == nil {
		t.Error("nothing is said of spans that are given up")
	}
	if counts := tracing.Counts(); counts != (Counts{Failed: 3 * maxBatch}) || !strings.Contains(lines.String(), "context canceled") {
		t.Errorf("counted %+v, and logged %s", counts, lines)
	}
	traces.RootLinked(port.SpanFrameMessage, "").End(nil) // does no harm
}

// Nothing is allocated for a span that is not recorded, whether traces are off or it is not chosen.
func TestASpanThatIsNotRecordedAllocatesNothing(t *testing.T) {
	c := tracetest.Start(t)
	tracing, _ := started(t, c, 0)
	defer closed(t, tracing)
	for what, traces := range map[string]port.Traces{"off": {}, "not chosen": port.NewTraces(tracing)} {
		if allocated := testing.AllocsPerRun(1000, func() { everything(traces) }); allocated != 0 {
			t.Errorf("%s: %g", what, allocated)
		}
	}
}

// everything is what is done for a message.
func everything(traces port.Traces) {
	frame := traces.RootLinked(port.SpanFrameMessage, "")
	send := traces.Child(port.SpanSendMessage, frame.Parent())
	appended := traces.Child(port.SpanAppend, send.Parent())
	appended.SetEvent(domain.EventID{1})
	appended.SetText(port.KeyTopic, "a-topic")
	appended.SetNumber(port.KeyPartition, 3)
	send.End(nil)
	appended.End(nil)
	delivered := traces.ChildSince(port.SpanDeliver, appended.Parent(), traces.Now())
	delivered.SetEvent(domain.EventID{1})
	delivered.SetPlace("a-topic", domain.Place{Partition: 3, Offset: 4})
	delivered.End(nil)
	frame.End(nil)
}

// BenchmarkAMessage is what the spans of a message cost, beside the message: without traces, and with all that the sending takes.
func BenchmarkAMessage(b *testing.B) {
	taker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer taker.Close()
	for _, ratio := range []float64{-1, 0, 0.01, 1} {
		name := fmt.Sprint("ratio ", ratio)
		if ratio < 0 {
			name = "off"
		}
		b.Run(name, func(b *testing.B) {
			traces, flush := port.Traces{}, func() {}
			if ratio >= 0 {
				tracing, err := New(Options{
					Endpoint: taker.URL + tracetest.Path, SampleRatio: ratio, Notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now),
				})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = tracing.Close(context.Background()) }()
				traces = port.NewTraces(tracing)
				flush = func() { _ = tracing.queue.ForceFlush(context.Background()) }
			}
			b.ReportAllocs()
			for n := 1; b.Loop(); n++ {
				everything(traces)
				if n%1000 == 0 {
					flush() // none is dropped
				}
			}
		})
	}
}
