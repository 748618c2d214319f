package port

import (
	"context"

	"chatting/application/async"
	"chatting/domain"
)

// ConversationLog is the durable, ordered log of conversations.
type ConversationLog interface {
	// Append queues event behind everything appended before it to the same conversation and returns at once. done is
	// called exactly once, possibly before Append returns: with nil when the in-sync replicas have the event; with
	// CodeUnavailable when it is not in the log and will never be; with CodeUnconfirmed when neither is known. done runs
	// on the log's goroutine and must not block.
	Append(event domain.Event, done func(error))
}

// SessionLog is the durable log of session records. The records of one user share a partition and keep their order.
type SessionLog interface {
	// Append queues record for its partition and returns at once; done as ConversationLog.Append says.
	Append(record domain.SessionRecord, done func(error))
	// Bury appends Dead of the incarnation to every partition. done is called once, with the first error if any.
	Bury(incarnation domain.Incarnation, done func(error))
	// PartitionOf returns the partition of a user's records.
	PartitionOf(user domain.UserID) int
	// Partitions returns how many there are.
	Partitions() int
}

// LogEnds tells where the conversation log ends.
type LogEnds interface {
	// EndOffsets returns, for each partition, the offset that the next record will get, as the broker says after the
	// call began; or, of what can be read of the log only, up to where it can be read.
	EndOffsets(ctx context.Context) ([]int64, error)
}

// AppendAndWait appends and waits for the outcome, or for the end of ctx, which leaves the outcome unknown.
//
// The event is part of the span of ctx, unless it is part of another one.
func AppendAndWait(ctx context.Context, log ConversationLog, event domain.Event) error {
	if event.Trace == "" {
		event.Trace = TraceOf(ctx)
	}
	return async.Await(ctx, "The append could not be confirmed.", func(done func(error)) { log.Append(event, done) })
}

// AppendSessionAndWait is AppendAndWait for a session record.
func AppendSessionAndWait(ctx context.Context, log SessionLog, record domain.SessionRecord) error {
	return async.Await(ctx, "The append could not be confirmed.", func(done func(error)) { log.Append(record, done) })
}
