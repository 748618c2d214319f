// Package tracing records spans and sends them to a collector by OTLP over HTTP. It is the only package that knows the library of
// OpenTelemetry. Who begins spans knows package port alone.
//
// Nobody waits for the collector. What is recorded waits in a queue, and what finds it full is dropped and counted.
package tracing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Options say what is recorded and where it goes.
type Options struct {
	// Endpoint is the URL of the collector, with the path of its traces.
	Endpoint string
	// Headers are sent to it with each request. They may be secrets.
	Headers map[string]string
	// SampleRatio is how many of the traces that begin here are recorded, from 0 to 1.
	SampleRatio float64
	// Version and Node tell the collector who sends: the version of the program, and the name of this process.
	Version, Node string
	// Notices take the log lines about a collector that takes nothing.
	Notices *notice.Log
}

// service is the name of the program for collectors.
const service = "chatting"

const (
	// maxQueue bounds the spans that wait or are being sent: about a second of the busiest node, if each message were recorded.
	maxQueue = 16 << 10
	// maxBatch is how many are sent at once.
	maxBatch = 512
	// sendEvery is how long a span waits for others at most.
	sendEvery = 2 * time.Second
	// sendTimeout bounds the sending of a batch, with all attempts.
	sendTimeout = 20 * time.Second
	// maxAsked bounds the traces that clients have recorded by their headers, in a second. They need not be trusted: beyond that,
	// chance decides as for all others.
	maxAsked = 100
)

// Tracing records the spans of one process. It is safe for concurrent use.
type Tracing struct {
	ratio    float64
	asked    *rate.Limiter
	tracer   trace.Tracer
	queue    *queue
	exporter *exporter
}

// New returns a Tracing that sends. The caller closes it.
func New(options Options) (*Tracing, error) {
	client := newClient()
	inner, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(options.Endpoint),
		otlptracehttp.WithHeaders(options.Headers),
		otlptracehttp.WithHTTPClient(client.http),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: sendTimeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing to send traces: %w", err)
	}
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithFromEnv(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", options.Version),
		attribute.String("service.instance.id", options.Node),
	))
	if err != nil {
		return nil, fmt.Errorf("naming the sender of traces: %w", err)
	}
	q := &queue{}
	e := newExporter(inner, client, q, options.Notices)
	q.next = sdk.NewBatchSpanProcessor(e, sdk.WithMaxQueueSize(maxQueue), sdk.WithMaxExportBatchSize(maxBatch),
		sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(sendTimeout))
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(q), sdk.WithResource(about))
	return &Tracing{
		ratio: options.SampleRatio, asked: rate.NewLimiter(maxAsked, 2*maxAsked),
		tracer: provider.Tracer(service), queue: q, exporter: e,
	}, nil
}

// Counts are how many spans came to which end.
type Counts struct {
	Sent    uint64 // the collector has them
	Failed  uint64 // the collector did not take them
	Dropped uint64 // the queue was full
}

// Counts returns how many spans came to which end so far.
func (t *Tracing) Counts() Counts {
	return Counts{Sent: t.exporter.sent.Load(), Failed: t.exporter.failed.Load(), Dropped: t.queue.dropped.Load()}
}

// Close sends what waits, until ctx ends. Then it gives up what is left, and returns once nothing runs any more. Spans that end
// later are lost.
func (t *Tracing) Close(ctx context.Context) error {
	err := t.queue.Shutdown(ctx) // not through the provider, which does nothing if ctx has ended
	t.exporter.giveUp()
	<-t.exporter.ended
	if err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// Begin implements port.Tracer.
func (t *Tracing) Begin(start port.SpanStart) port.Recording {
	if !t.isWanted(start) {
		return nil
	}
	d := definitions[start.Name]
	options := append(make([]trace.SpanStartOption, 0, 3), trace.WithSpanKind(d.kind))
	if !start.At.IsZero() {
		options = append(options, trace.WithTimestamp(start.At))
	}
	if start.Link.IsSampled() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: contextOf(start.Link, true)}))
	}
	ctx := context.Background()
	if start.Parent != "" {
		ctx = trace.ContextWithSpanContext(ctx, contextOf(start.Parent, d.remote))
	}
	_, span := t.tracer.Start(ctx, string(start.Name), options...)
	r := &recording{span: span}
	r.said = append(r.room[:0], d.fixed...)
	return r
}

// isWanted decides whether a span is recorded: as its parent is, or else by chance.
func (t *Tracing) isWanted(start port.SpanStart) bool {
	switch {
	case start.Parent == "":
		return t.chance()
	case start.Name == port.SpanRequest: // anybody may have made up its parent
		return start.Parent.IsSampled() && (t.asked.Allow() || t.chance())
	default:
		return start.Parent.IsSampled()
	}
}

func (t *Tracing) chance() bool {
	return t.ratio > 0 && rand.Float64() < t.ratio //nolint:gosec // nothing secret hangs on it
}

// contextOf returns a parent as the library has it.
func contextOf(parent domain.TraceParent, remote bool) trace.SpanContext {
	traceID, spanID := parent.IDs()
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: remote,
	})
}

// recording is a span of the library. What is said of it reaches the library at its end: each time costs.
type recording struct {
	span trace.Span
	said []attribute.KeyValue
	room [8]attribute.KeyValue
}

// Parent implements port.Recording.
func (r *recording) Parent() domain.TraceParent {
	at := r.span.SpanContext()
	return domain.TraceParentOf(at.TraceID(), at.SpanID())
}

// Rename implements port.Recording.
func (r *recording) Rename(name string) { r.span.SetName(name) }

// SetText implements port.Recording.
func (r *recording) SetText(key port.SpanKey, value string) {
	r.said = append(r.said, attribute.String(string(key), value))
}

// SetNumber implements port.Recording.
func (r *recording) SetNumber(key port.SpanKey, value int64) {
	r.said = append(r.said, attribute.Int64(string(key), value))
}

// End implements port.Recording.
func (r *recording) End(failure string, fault bool) {
	if failure != "" {
		r.SetText(port.KeyError, failure)
	}
	if fault {
		r.span.SetStatus(codes.Error, "")
	}
	r.span.SetAttributes(r.said...)
	r.span.End()
}

// newClient returns what speaks to the collector.
func newClient() *client {
	c := &client{transport: http.DefaultTransport.(*http.Transport).Clone()} //nolint:forcetypeassert // nothing here replaces it
	c.http = &http.Client{
		Transport: c, Timeout: sendTimeout / 2,
		// The headers may be secrets: nobody else gets them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}
