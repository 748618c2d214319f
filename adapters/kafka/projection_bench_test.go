package kafka

import (
	"context"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
)

// BenchmarkProjectingARecord is what a record of the log costs until the store has it.
func BenchmarkProjectingARecord(b *testing.B) {
	text, err := domain.NewText("this is about as long as a message in a chat is, and some are longer")
	if err != nil {
		b.Fatal(err)
	}
	value, err := encodeEvent(domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.ChatMessage{From: 1, To: 2, Text: text}})
	if err != nil {
		b.Fatal(err)
	}
	projector := NewProjector(nil, ProjectorOptions{Partitions: 1, Store: takesAll{}, Retention: time.Hour, Logger: testLogger(b)})
	ctx, stop := context.WithCancelCause(b.Context())
	defer stop(nil)
	h := &projection{
		partition: &projectedPartition{projector: projector}, reader: newProjectionReader(ctx, projector), ctx: ctx, stop: stop,
		invites: domain.NewInvites(), quiet: newQuietBlocks(),
		at: application.Projection{Next: application.LogPosition{Generation: 1}, Last: -1},
	}
	record := &TailRecord{Time: time.Now(), Key: []byte("1:2"), Value: value}
	b.ReportAllocs()
	for b.Loop() {
		h.record(record)
		record.Offset++
	}
	if cause := context.Cause(ctx); cause != nil {
		b.Fatal(cause)
	}
}

// takesAll is a store that takes everything.
type takesAll struct{ application.ProjectionStore }

func (takesAll) Project(context.Context, ...application.ProjectionBatch) error { return nil }
