package kafka

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/domain"
	"chatting/test/brokertest"
)

// readings is an delivery.RecordReader that counts.
type readings int

func (r *readings) Read(domain.EventID, error) { *r++ }

func TestWhereTheTopicIsMadeAnewDeliveryGoesOnInTheNewOne(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	value, err := EncodeEvent(domain.Event{
		ID: domain.DerivedID("test", "x"), Time: at, Body: domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
	})
	if err != nil {
		t.Fatal(err)
	}
	var delivered readings
	tail := &ConversationTail{
		Delivery: delivery.NewDelivery(&delivered, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now)), Logger: brokertest.Logger(t),
		From: map[int]int64{0: 100, 1: 100},
	}
	want := func(what string, partition int, offset int64, more readings) {
		t.Helper()
		before := delivered
		tail.Record(&recordbatch.StoredRecord{
			Partition: partition, Offset: offset, Time: at, Key: []byte("9:10"), Value: value,
		})
		if got := delivered - before; got != more {
			t.Errorf("%s: %d records are delivered, want %d", what, got, more)
		}
	}
	want("before the start", 0, 99, 0)
	tail.Hole(0, 100, 200)
	want("behind a hole", 0, 200, 1)
	tail.Hole(0, 201, 5)
	want("in the new topic", 0, 5, 1)
	want("in another partition", 1, 5, 0)
}
