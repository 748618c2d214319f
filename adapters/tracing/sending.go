package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"chatting/adapters/netcause"
	"chatting/application/notice"
)

// queue counts the spans that wait, and drops those that find it full: the queue of the library, behind it, tells nobody what it
// drops.
type queue struct {
	next    sdk.SpanProcessor
	waiting atomic.Int64
	dropped atomic.Uint64
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor.
func (q *queue) OnEnd(span sdk.ReadOnlySpan) {
	if q.waiting.Add(1) > maxQueue {
		q.waiting.Add(-1)
		q.dropped.Add(1)
		return
	}
	q.next.OnEnd(span)
}

// Shutdown implements sdk.SpanProcessor.
func (q *queue) Shutdown(ctx context.Context) error { return q.next.Shutdown(ctx) }

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(ctx context.Context) error { return q.next.ForceFlush(ctx) }

// exporter sends spans, counts what becomes of them, and logs why the collector did not take them.
type exporter struct {
	inner   sdk.SpanExporter
	client  *client
	queue   *queue
	notices *notice.Log

	open         context.Context //nolint:containedctx // ends when nobody waits for what is being sent
	giveUp       context.CancelFunc
	ended        chan struct{} // closed by Shutdown
	sent, failed atomic.Uint64
}

func newExporter(inner sdk.SpanExporter, c *client, q *queue, notices *notice.Log) *exporter {
	e := &exporter{inner: inner, client: c, queue: q, notices: notices, ended: make(chan struct{})}
	e.open, e.giveUp = context.WithCancel(context.Background())
	return e
}

// ExportSpans implements sdk.SpanExporter. It returns no error: the library would write it where no log is.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.open, cancel)()
	e.client.status = 0
	err := e.inner.ExportSpans(ctx, spans)
	e.queue.waiting.Add(-int64(len(spans)))
	if err == nil {
		e.sent.Add(uint64(len(spans)))
		return nil
	}
	e.failed.Add(uint64(len(spans)))
	e.notices.Warn("the collector of traces did not take spans", slog.Int("spans", len(spans)), slog.Any("error", e.cause(err)))
	return nil
}

// errPartial stands for an answer that names spans that were refused.
var errPartial = errors.New("it refused some of them")

// cause says why spans were not taken, without anything of the request or the answer, which may hold the headers.
func (e *exporter) cause(err error) error {
	switch status := e.client.status; {
	case status == 0:
		return netcause.Of(err)
	case status < http.StatusMultipleChoices:
		return errPartial
	default:
		return fmt.Errorf("the answer has status %d", status)
	}
}

// Shutdown implements sdk.SpanExporter. It is called once, after the last ExportSpans.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.ended)
	err := e.inner.Shutdown(ctx)
	e.client.transport.CloseIdleConnections()
	return err
}

// client is the connection to the collector. One request is under way at a time.
type client struct {
	http      *http.Client
	transport *http.Transport
	status    int // of the last answer; 0 if there was none
}

// RoundTrip implements http.RoundTripper.
func (c *client) RoundTrip(request *http.Request) (*http.Response, error) {
	c.status = 0
	response, err := c.transport.RoundTrip(request)
	if err == nil {
		c.status = response.StatusCode
	}
	return response, err
}
