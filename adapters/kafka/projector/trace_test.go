package projector

import (
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/logtest"
	"chatting/test/porttest"
)

func TestAnEventThatIsProjectedIsPartOfItsTrace(t *testing.T) {
	const appended = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	for _, fail := range []error{nil, domain.NewError(domain.CodeUnavailable, "away")} {
		tracer := &porttest.Tracer{}
		h, store := projecting(t)
		store.fail = fail
		h.partition.projector.options.Traces = port.NewTraces(tracer)
		h.partition.projector.options.Topic = "topic"
		for offset, trace := range []domain.TraceParent{"", appended, ""} {
			id := domain.DerivedID("test", string(rune('a'+offset)))
			value, err := kafka.EncodeEvent(domain.Event{
				ID: id, Time: time.UnixMilli(5), Trace: trace, Body: domain.ChatMessage{From: 1, To: 2, Text: logtest.Text(t, "x")},
			})
			if err != nil {
				t.Fatal(err)
			}
			h.record(&recordbatch.StoredRecord{Offset: 10 + int64(offset), Time: time.UnixMilli(5), Key: []byte("1:2"), Value: value})
		}
		h.end(13)
		want := "…/project"
		if fail != nil {
			want += " failed: unavailable"
		}
		if !slices.Equal(tracer.Told(), []string{want}) {
			t.Fatalf("recorded %q, want %q", tracer.Told(), want)
		}
		span := tracer.Find("project")
		if span.Start.Parent != appended || span.Start.At.IsZero() || span.Attributes[port.KeyOffset] != "11" || span.Attributes[port.KeyTopic] != "topic" ||
			span.Attributes[port.KeyEvent] != domain.DerivedID("test", "b").String() {
			t.Errorf("it says %+v", span)
		}
	}
}
