package projector

import (
	"context"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/brokertest"
)

// BenchmarkProjectingARecord is what a record of the log costs until the store has it.
func BenchmarkProjectingARecord(b *testing.B) {
	text, err := domain.NewText("this is about as long as a message in a chat is, and some are longer")
	if err != nil {
		b.Fatal(err)
	}
	value, err := kafka.EncodeEvent(domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.ChatMessage{From: 1, To: 2, Text: text}})
	if err != nil {
		b.Fatal(err)
	}
	projector := New(nil, Options{Partitions: 1, Store: takesAll{}, Retention: time.Hour, Logger: brokertest.Logger(b)})
	ctx, stop := context.WithCancelCause(b.Context())
	defer stop(nil)
	h := &projection{
		partition: projector.partition(0), reader: newReader(ctx, projector), ctx: ctx, stop: stop,
		invites: domain.NewInviteRegister(), quiet: newQuietBlocks(),
		at: history.Projection{Next: domain.Place{Generation: 1}, Last: -1},
	}
	record := &recordbatch.StoredRecord{Time: time.Now(), Key: []byte("1:2"), Value: value}
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
type takesAll struct{ history.ProjectionStore }

func (takesAll) Project(context.Context, ...history.ProjectionBatch) error { return nil }
