package kafka

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/test/brokertest"
)

// ages notes what a DeliveryObserver is told.
type ages []time.Duration

func (a *ages) Delivered(age time.Duration) { *a = append(*a, age) }

// One answer of the log is measured once. What the node only recalls, and an answer without records, is not.
func TestAnObserverIsToldTheAgeOfTheLastRecordOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told ages
		tail := &ConversationTail{
			Delivery: delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now)),
			Logger:   brokertest.Logger(t), From: map[int]int64{0: 10}, Observer: &told,
		}
		_, value := saidBy9(t, "x")
		record := func(offset int64) {
			tail.Record(&recordbatch.StoredRecord{Offset: offset, Time: time.Now(), Key: []byte("9:10"), Value: value})
		}
		record(9)
		tail.BatchEnd(0, 10)
		record(10)
		time.Sleep(time.Second)
		record(11)
		time.Sleep(3 * time.Second)
		tail.BatchEnd(0, 12)
		tail.BatchEnd(0, 13)
		if want := (ages{3 * time.Second}); !slices.Equal(told, want) {
			t.Errorf("it was told %v, want %v", told, want)
		}
	})
}
