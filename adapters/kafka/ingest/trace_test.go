package ingest

import (
	"context"
	"slices"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/porttest"
)

func TestWhichTraceARecordIsPartOf(t *testing.T) {
	const (
		first  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		second = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-00"
		event  = `{"specversion":"1.0","id":"1","source":"/x","type":"t","data":{"target_id":7,"message":"m"},"traceparent":`
		plain  = `{"target_id":7,"message":"m","traceparent":"` + first + `"}`
	)
	header := func(pairs ...string) (headers []kafkago.Header) {
		for i := 0; i < len(pairs); i += 2 {
			headers = append(headers, textHeader(pairs[i], pairs[i+1]))
		}
		return headers
	}
	for what, c := range map[string]struct {
		value   string
		headers []kafkago.Header
		want    domain.TraceParent
	}{
		"nothing":                  {plain, nil, ""},
		"a header":                 {plain, header("traceparent", first), first},
		"a header in another case": {plain, header("Traceparent", second), second},
		"an event in binary mode":  {plain, header("ce_traceparent", first), first},
		"an event in binary mode, as HTTP has it":           {plain, header("ce-traceparent", first), first},
		"the header of the record before that of the event": {plain, header("ce_traceparent", first, "traceparent", second), second},
		"an event in structured mode":                       {event + `"` + first + `"}`, nil, first},
		"the header before the attribute":                   {event + `"` + first + `"}`, header("traceparent", second), second},
		"a forged header":                                   {event + `"` + first + `"}`, header("traceparent", "00-x"), ""},
		"a very long header":                                {plain, header("traceparent", strings.Repeat(first, 10000)), ""},
		"a number":                                          {event + `7}`, nil, ""},
		"an object":                                         {event + `{"a":"` + first + `"}}`, nil, ""},
		"no JSON":                                           {`{"traceparent":"` + first + `"`, nil, ""},
	} {
		record := foreignRecord{value: []byte(c.value), headers: c.headers}
		if got := record.trace(); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
		if _, refused := record.systemMessage(); refused != nil && what != "no JSON" {
			t.Errorf("%s: the message is refused: %v", what, refused)
		}
	}
}

// traced is a use case that takes down the span that it is called in.
type traced struct {
	spans []domain.TraceParent
	fail  []error
}

func (m *traced) Execute(ctx context.Context, _ messaging.SystemMessageCommand) (domain.Event, error) {
	m.spans = append(m.spans, port.TraceOf(ctx))
	if len(m.fail) == 0 {
		return domain.Event{}, nil
	}
	err := m.fail[0]
	m.fail = m.fail[1:]
	return domain.Event{}, err
}

// All attempts to deliver a record are one span.
func TestTheSpanOfARecordEndsWhenItIsDelivered(t *testing.T) {
	const sender = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	record := foreignRecord{topic: "topic", partition: 2, offset: 40, headers: []kafkago.Header{textHeader("traceparent", sender)}}
	id := domain.DerivedID("test", "x")
	for what, traces := range map[string]*porttest.Tracer{"on": {}, "off": nil} {
		options := Options{Messages: &traced{fail: []error{domain.NewError(domain.CodeUnavailable, "away")}}, Logger: brokertest.Logger(t)}
		if traces != nil {
			options.Traces = port.NewTraces(traces)
		}
		if !New(nil, options).deliver(t.Context(), record, messaging.SystemMessageCommand{ID: id}) {
			t.Fatal("it is not delivered")
		}
		spans := options.Messages.(*traced).spans
		if traces == nil {
			if !slices.Equal(spans, []domain.TraceParent{"", ""}) {
				t.Errorf("%s: it is sent in %q", what, spans)
			}
			continue
		}
		span := traces.Find("ingest")
		if !slices.Equal(traces.Told(), []string{"…/ingest"}) || !slices.Equal(spans, []domain.TraceParent{span.Parent(), span.Parent()}) {
			t.Errorf("%s: recorded %q, and sent in %q", what, traces.Told(), spans)
		}
		if span.Start.Parent != sender || span.Attributes[port.KeyTopic] != "topic" || span.Attributes[port.KeyPartition] != "2" ||
			span.Attributes[port.KeyOffset] != "40" || span.Attributes[port.KeyEvent] != id.String() {
			t.Errorf("it says %+v", span)
		}
	}
}
