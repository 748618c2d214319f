package port

import (
	"context"
	"time"

	"chatting/domain"
)

// Traces begins spans: what is done for a frame or a request, where, and how long it takes. The zero Traces is off. It records
// nothing, allocates nothing and asks no clock.
type Traces struct{ tracer Tracer }

// NewTraces returns traces that are recorded by tracer; they are off if it is nil.
func NewTraces(tracer Tracer) Traces { return Traces{tracer} }

// Tracer records spans. It must not block.
type Tracer interface {
	// Begin begins a span. It returns nil for one that is not recorded.
	Begin(start SpanStart) Recording
}

// SpanStart is what a span begins with.
type SpanStart struct {
	Name SpanName
	// Parent is the span that it is part of. "" begins a trace, which may not be chosen to be recorded.
	Parent domain.TraceParent
	// Link is a span that it is not part of, and yet belongs to; "" for none.
	Link domain.TraceParent
	// At is when it began; zero for now.
	At time.Time
}

// Recording is a span that is recorded. One goroutine at a time uses it.
type Recording interface {
	// Parent names the span to those that are part of it.
	Parent() domain.TraceParent
	// Rename says what the span is more exactly.
	Rename(name string)
	SetText(key SpanKey, value string)
	SetNumber(key SpanKey, value int64)
	// End ends it. failure is the stable name of the error that it ended with, "" for none; fault tells that the server is to blame.
	End(failure string, fault bool)
}

// SpanName says what a span is.
type SpanName string

// The spans. docs/traces.md has the same list.
const (
	SpanRequest       SpanName = "request"
	SpanLogin         SpanName = "login"
	SpanFrameMessage  SpanName = "frame chat_message"
	SpanFrameInvite   SpanName = "frame invite_game"
	SpanCheckText     SpanName = "check_text"
	SpanSendMessage   SpanName = "send_message"
	SpanInvite        SpanName = "invite"
	SpanSystemMessage SpanName = "send_system_message"
	SpanIngest        SpanName = "ingest"
	SpanAppend        SpanName = "append"
	SpanDeliver       SpanName = "deliver"
	SpanProject       SpanName = "project"
)

// SpanKey names what is said of a span.
type SpanKey string

// What is said of spans, by the names of OpenTelemetry. None of it names a user, and none is what a user wrote.
const (
	KeyMethod    SpanKey = "http.request.method"
	KeyRoute     SpanKey = "http.route"
	KeyStatus    SpanKey = "http.response.status_code"
	KeyError     SpanKey = "error.type"
	KeySystem    SpanKey = "messaging.system"
	KeyOperation SpanKey = "messaging.operation.type"
	KeyTopic     SpanKey = "messaging.destination.name"
	KeyPartition SpanKey = "messaging.destination.partition.id"
	KeyOffset    SpanKey = "messaging.kafka.offset"
	KeyEvent     SpanKey = "messaging.message.id"
)

// Span is one that was begun. The zero Span is not recorded, and its methods do nothing.
type Span struct{ recording Recording }

// IsOn tells whether anything is recorded at all.
func (t Traces) IsOn() bool { return t.tracer != nil }

// Now returns the time, for ChildSince; zero if the traces are off.
func (t Traces) Now() (now time.Time) {
	if t.tracer != nil {
		now = time.Now()
	}
	return now
}

// Root begins the first span here of what came from outside. parent is what the sender says, "" for nothing; it need not be trusted.
func (t Traces) Root(name SpanName, parent domain.TraceParent) Span {
	if t.tracer == nil {
		return Span{}
	}
	return Span{t.tracer.Begin(SpanStart{Name: name, Parent: parent})}
}

// RootLinked begins a trace that belongs to a span of another one; "" for none.
func (t Traces) RootLinked(name SpanName, link domain.TraceParent) Span {
	if t.tracer == nil {
		return Span{}
	}
	return Span{t.tracer.Begin(SpanStart{Name: name, Link: link})}
}

// Child begins a span that is part of another one. It is recorded if that is.
func (t Traces) Child(name SpanName, parent domain.TraceParent) Span {
	return t.ChildSince(name, parent, time.Time{})
}

// ChildSince is Child for a span that began before; zero for now.
func (t Traces) ChildSince(name SpanName, parent domain.TraceParent, at time.Time) Span {
	if t.tracer == nil || !parent.IsSampled() {
		return Span{}
	}
	return Span{t.tracer.Begin(SpanStart{Name: name, Parent: parent, At: at})}
}

// Within is Child for a span that is part of the one of a context. What is done in the context that it returns is part of the span.
func (t Traces) Within(ctx context.Context, name SpanName) (context.Context, Span) {
	if t.tracer == nil {
		return ctx, Span{}
	}
	span := t.Child(name, TraceOf(ctx))
	return span.In(ctx), span
}

// IsRecorded tells whether the span is recorded.
func (s Span) IsRecorded() bool { return s.recording != nil }

// Parent names the span to those that are part of it; "" if it is not recorded.
func (s Span) Parent() domain.TraceParent {
	if s.recording == nil {
		return ""
	}
	return s.recording.Parent()
}

// In returns a context in which what is done is part of the span. It is ctx itself if the span is not recorded.
func (s Span) In(ctx context.Context) context.Context {
	if s.recording == nil {
		return ctx
	}
	return WithTrace(ctx, s.recording.Parent())
}

// Rename says what the span is more exactly.
func (s Span) Rename(name string) {
	if s.recording != nil {
		s.recording.Rename(name)
	}
}

// SetText says something of the span.
func (s Span) SetText(key SpanKey, value string) {
	if s.recording != nil {
		s.recording.SetText(key, value)
	}
}

// SetNumber says something of the span.
func (s Span) SetNumber(key SpanKey, value int64) {
	if s.recording != nil {
		s.recording.SetNumber(key, value)
	}
}

// SetEvent says which event the span is about.
func (s Span) SetEvent(id domain.EventID) {
	if s.recording != nil {
		s.recording.SetText(KeyEvent, id.String())
	}
}

// SetPlace says which record the span is about.
func (s Span) SetPlace(topic string, at domain.Place) {
	if s.recording != nil {
		s.recording.SetText(KeyTopic, topic)
		s.recording.SetNumber(KeyPartition, int64(at.Partition))
		s.recording.SetNumber(KeyOffset, at.Offset)
	}
}

// End ends the span with an error, or nil. What the server refuses is no fault of the server.
func (s Span) End(err error) {
	if s.recording == nil {
		return
	}
	switch code := domain.CodeOf(err); code {
	case domain.CodeUnavailable, domain.CodeUnconfirmed, domain.CodeInternal:
		s.recording.End(string(code), true)
	default:
		s.recording.End(string(code), false)
	}
}

// EndAs is End for an error of another protocol.
func (s Span) EndAs(failure string, fault bool) {
	if s.recording != nil {
		s.recording.End(failure, fault)
	}
}

type traceKey struct{}

// WithTrace returns a context in which what is done is part of a span.
func WithTrace(ctx context.Context, span domain.TraceParent) context.Context {
	return context.WithValue(ctx, traceKey{}, span)
}

// TraceOf returns the span that what is done in a context is part of; "" for none.
func TraceOf(ctx context.Context) domain.TraceParent {
	span, _ := ctx.Value(traceKey{}).(domain.TraceParent)
	return span
}
