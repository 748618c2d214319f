package appending

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
)

func TestWhatExpiresInTheQueueFreesItsOwnersShare(t *testing.T) {
	l := newLane(logclient.NewCluster(logclient.ClusterOptions{Brokers: []string{"127.0.0.1:1"}}), AppenderOptions{
		Deadline: time.Second, QueueBytes: 1000, Logger: brokertest.Logger(t),
	}, 0)
	append100 := func(of Owner) (err error) {
		l.append(of, sized(100), func(outcome error) { err = outcome })
		return err
	}
	for n := range 5 {
		if err := append100(OwnedBy(1)); err != nil {
			t.Fatalf("record %d of 5: %v", n, err)
		}
	}
	if err := append100(OwnedBy(1)); codeOf(err) != codeUnavailable {
		t.Fatalf("more than what is free: %v", err)
	}
	if err := append100(OwnedBy(0)); err != nil {
		t.Fatalf("an owner of the id 0 is an owner of its own: %v", err)
	}
	for n := range 4 {
		if err := append100(Owner{}); err != nil {
			t.Fatalf("record %d of 4 without an owner: %v", n, err)
		}
	}
	if err := append100(Owner{}); codeOf(err) != codeUnavailable {
		t.Fatalf("beyond the queue: %v", err)
	}
	l.expire(time.Now().Add(2 * time.Second))
	if l.queued != 0 || len(l.shares) != 0 {
		t.Fatalf("%d bytes are counted, of %d owners, with nothing queued", l.queued, len(l.shares))
	}
}
