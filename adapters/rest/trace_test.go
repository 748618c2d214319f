package rest

import (
	"net/http"
	"slices"
	"testing"

	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

const (
	sentAs    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// traced returns a world whose requests are recorded.
func traced(t *testing.T) (*world, *porttest.Tracer) {
	t.Helper()
	tracer := &porttest.Tracer{}
	w := newWorld(t, func(w *world, _ *Options, d *Deps) {
		d.Traces = port.NewTraces(tracer)
		d.Platform.SystemMessage.Traces = d.Traces
	})
	return w, tracer
}

// What a client makes up, and what is in a path, does not reach the spans.
func TestARequestIsASpanByItsRoute(t *testing.T) {
	w, tracer := traced(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		w.call(t, "GET", path, "")
	}
	w.call(t, "GET", friendsPath+"?x=secret", "", asUser1)
	w.call(t, "GET", friendsPath, "")
	w.call(t, "GET", "/made/up", "")
	w.call(t, "BREW", friendsPath, "")
	w.appendErr = domain.NewError(domain.CodeUnconfirmed, "unknown")
	w.system(t, `{"target_id":7,"message":"x"}`)
	want := []string{
		"GET /api/chatting/friends/", "GET /api/chatting/friends/", "GET", "HTTP", "POST /s2sapi/system-message/ failed: 503",
		"POST /s2sapi/system-message//send_system_message failed: unconfirmed",
	}
	if got := tracer.Told(); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	span := tracer.Find("POST /s2sapi/system-message/")
	if span.Attributes[port.KeyMethod] != "POST" || span.Attributes[port.KeyRoute] != systemPath || span.Attributes[port.KeyStatus] != "503" {
		t.Errorf("it says %v", span.Attributes)
	}
	if brewed := tracer.Find("HTTP"); brewed.Attributes[port.KeyMethod] != "_OTHER" {
		t.Errorf("of a method that was made up it says %v", brewed.Attributes)
	}
}

func TestARequestIsPartOfWhatItsSenderSays(t *testing.T) {
	for header, want := range map[string][]string{
		sentAs:             {"…/POST /s2sapi/system-message/", "…/POST /s2sapi/system-message//send_system_message"},
		"":                 {"POST /s2sapi/system-message/", "POST /s2sapi/system-message//send_system_message"},
		sentAs + "-forged": {"POST /s2sapi/system-message/", "POST /s2sapi/system-message//send_system_message"},
		unsampled:          nil,
	} {
		w, tracer := traced(t)
		if got := w.system(t, `{"target_id":7,"message":"x"}`, "Traceparent: "+header); got.status != http.StatusOK {
			t.Fatalf("the answer is %d %s", got.status, got.body)
		}
		if got := tracer.Told(); !slices.Equal(got, want) {
			t.Errorf("%q: recorded %q, want %q", header, got, want)
		}
		event := w.appended()[0]
		inTrace := domain.TraceParent(header) // what follows from a request that is not recorded is not recorded either
		if want != nil {
			inTrace = tracer.Find("send_system_message").Parent()
		}
		if event.Trace != inTrace {
			t.Errorf("%q: the event is part of %q", header, event.Trace)
		}
	}
}
