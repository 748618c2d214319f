package server

import (
	"slices"
	"testing"

	"chatting/test/harness"
	"chatting/test/tracetest"
)

// What the last users of a node did is in their traces, too.
func TestANodeThatLeavesSendsItsLastSpans(t *testing.T) {
	collector := tracetest.Start(t)
	t.Run("a node", func(t *testing.T) {
		s := serveInProcess(t, "CHATTING_TRACING_ENDPOINT="+collector.URL, "CHATTING_TRACING_SAMPLE_RATIO=1", "CHATTING_TRACING_HEADERS=api-key=a%20b")
		client, err := harness.Connect(s.addr, s.token(t, 7))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Send(7, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.At(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})
	var names []string
	for _, span := range collector.Spans() {
		names = append(names, span.Name)
	}
	for _, name := range []string{"GET /ws/chatting/", "login", "frame chat_message", "send_message", "append", "deliver"} {
		if !slices.Contains(names, name) {
			t.Errorf("the collector has no span %s, only %q", name, names)
		}
	}
	for _, header := range collector.Headers() {
		if header.Get("Api-Key") != "a b" {
			t.Error("the collector does not get the header")
		}
	}
}

// An interface that holds a nil pointer would be somebody.
func TestWithoutAnEndpointNothingIsRecorded(t *testing.T) {
	recorder, err := newTracing(identity{}, configured(t), nil, nil)
	if err != nil || recorder != nil || newTraces(recorder).IsOn() {
		t.Errorf("%v, %v", recorder, err)
	}
}
