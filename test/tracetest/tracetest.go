// Package tracetest is a collector of traces, for tests.
package tracetest

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	proto "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"
)

// Path is where collectors take traces.
const Path = "/v1/traces"

// Span is a span as the collector got it.
type Span struct {
	Name               string
	Kind               string // server, client, producer, consumer or internal
	Trace, ID, Parent  string // in hexadecimal; Parent is "" for none
	Links              []string
	Attributes         map[string]string
	Service, Instance  string
	Failed             bool
	Began, Ended       uint64 // nanoseconds since 1970
	RemoteParent       bool
	ResourceAttributes map[string]string
}

// Collector takes traces by OTLP over HTTP.
type Collector struct {
	// URL is that of its listener.
	URL string

	mu       sync.Mutex
	spans    []Span
	requests []http.Header
	came     chan struct{} // closed, and made anew, when spans came
	answer   func(http.ResponseWriter) bool
}

// Start returns a collector that listens until the test ends.
func Start(t *testing.T) *Collector {
	t.Helper()
	c := &Collector{came: make(chan struct{})}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Answer has requests answered by f, until it returns true: then the collector takes what came.
func (c *Collector) Answer(f func(http.ResponseWriter) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = f
}

// ServeHTTP implements http.Handler.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	answer := c.answer
	c.requests = append(c.requests, r.Header.Clone())
	c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != Path || r.Method != http.MethodPost {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	if answer != nil && !answer(w) {
		return
	}
	spans, err := decode(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, spans...)
	close(c.came)
	c.came = make(chan struct{})
}

// Spans returns what came so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Headers returns those of all requests so far.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]http.Header(nil), c.requests...)
}

// Await returns what came as soon as that is enough.
func (c *Collector) Await(ctx context.Context, t *testing.T, what string, enough func([]Span) bool) []Span {
	t.Helper()
	for {
		c.mu.Lock()
		came := c.came
		c.mu.Unlock()
		spans := c.Spans()
		if enough(spans) {
			return spans
		}
		select {
		case <-came:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s: %d spans came: %s", what, len(spans), names(spans))
		}
	}
}

func names(spans []Span) (all []string) {
	for _, s := range spans {
		all = append(all, s.Name)
	}
	return all
}

func decode(body []byte) (spans []Span, err error) {
	var request collector.ExportTraceServiceRequest
	if err := protobuf.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("%w in %d bytes", err, len(body))
	}
	for _, resource := range request.GetResourceSpans() {
		about := texts(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Name: s.GetName(), Kind: kinds[s.GetKind()], Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					Parent: hex.EncodeToString(s.GetParentSpanId()), Attributes: texts(s.GetAttributes()), Service: about["service.name"],
					Instance: about["service.instance.id"], Failed: s.GetStatus().GetCode() == proto.Status_STATUS_CODE_ERROR,
					Began: s.GetStartTimeUnixNano(), Ended: s.GetEndTimeUnixNano(), ResourceAttributes: about,
					RemoteParent: s.GetFlags()&uint32(proto.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK) != 0,
				}
				for _, link := range s.GetLinks() {
					span.Links = append(span.Links, hex.EncodeToString(link.GetTraceId())+"/"+hex.EncodeToString(link.GetSpanId()))
				}
				spans = append(spans, span)
			}
		}
	}
	return spans, nil
}

var kinds = map[proto.Span_SpanKind]string{
	proto.Span_SPAN_KIND_SERVER: "server", proto.Span_SPAN_KIND_CLIENT: "client", proto.Span_SPAN_KIND_PRODUCER: "producer",
	proto.Span_SPAN_KIND_CONSUMER: "consumer", proto.Span_SPAN_KIND_INTERNAL: "internal",
}

func texts(attributes []*common.KeyValue) map[string]string {
	all := make(map[string]string)
	for _, a := range attributes {
		switch value := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[a.GetKey()] = value.StringValue
		case *common.AnyValue_IntValue:
			all[a.GetKey()] = fmt.Sprint(value.IntValue)
		default:
			all[a.GetKey()] = fmt.Sprintf("%v", value)
		}
	}
	return all
}
