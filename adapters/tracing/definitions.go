package tracing

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"chatting/application/port"
)

// definition says what a span is for OpenTelemetry. docs/traces.md shows the table to operators.
type definition struct {
	kind trace.SpanKind
	// remote tells that its parent, if it has one, may be in another process.
	remote bool
	// fixed is what is said of each such span, and keys is what may be said beside.
	fixed []attribute.KeyValue
	keys  []port.SpanKey
}

// ofRecord is what is said of a span about a record of the log.
var ofRecord = []port.SpanKey{port.KeyTopic, port.KeyPartition, port.KeyOffset, port.KeyEvent}

// with returns keys, and one more.
func with(keys []port.SpanKey, more port.SpanKey) []port.SpanKey {
	return append(slices.Clone(keys), more)
}

// onLog is what is said of each span about the log.
func onLog(operation string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(string(port.KeySystem), "kafka"), attribute.String(string(port.KeyOperation), operation),
	}
}

var definitions = map[port.SpanName]definition{
	port.SpanRequest: {
		kind: trace.SpanKindServer, remote: true, keys: []port.SpanKey{port.KeyMethod, port.KeyRoute, port.KeyStatus, port.KeyError},
	},
	port.SpanLogin:         {kind: trace.SpanKindServer, keys: []port.SpanKey{port.KeyError}},
	port.SpanFrameMessage:  {kind: trace.SpanKindServer, keys: []port.SpanKey{port.KeyError}},
	port.SpanFrameInvite:   {kind: trace.SpanKindServer, keys: []port.SpanKey{port.KeyError}},
	port.SpanCheckText:     {kind: trace.SpanKindClient, keys: []port.SpanKey{port.KeyError}},
	port.SpanSendMessage:   {kind: trace.SpanKindInternal, keys: []port.SpanKey{port.KeyError}},
	port.SpanInvite:        {kind: trace.SpanKindInternal},
	port.SpanSystemMessage: {kind: trace.SpanKindInternal, keys: []port.SpanKey{port.KeyError}},
	port.SpanIngest:        {kind: trace.SpanKindConsumer, remote: true, fixed: onLog("process"), keys: with(ofRecord, port.KeyError)},
	port.SpanAppend: {
		kind: trace.SpanKindProducer, fixed: onLog("send"),
		keys: []port.SpanKey{port.KeyTopic, port.KeyPartition, port.KeyEvent, port.KeyError},
	},
	port.SpanDeliver: {kind: trace.SpanKindConsumer, remote: true, fixed: onLog("process"), keys: ofRecord},
	port.SpanProject: {
		kind: trace.SpanKindConsumer, remote: true, fixed: onLog("process"), keys: with(ofRecord, port.KeyError),
	},
}
