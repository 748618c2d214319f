package logclient

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/test/brokertest"
)

func TestATailTellsHowFarItIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		tail := NewTail(nil, TailOptions{From: map[int]int64{0: 5, 1: 5}, Handler: &tailEvents{}, Logger: brokertest.Logger(t)})
		want := func(records int64, since time.Duration) {
			t.Helper()
			if got := tail.Lag(); got.Records != records || got.ReadToEnd.Sub(begin) != since {
				t.Errorf("%d records behind, read to the end at %s; want %d, %s", got.Records, got.ReadToEnd.Sub(begin), records, since)
			}
		}
		want(0, 0)
		time.Sleep(time.Second)
		tail.positions.read(0, 7, 7)
		tail.positions.read(1, 8, 20)
		want(12, 0)
		time.Sleep(time.Second)
		tail.positions.read(1, 20, 20)
		want(0, time.Second)
		tail.positions.move(0, 9) // over a hole
		want(0, time.Second)
		tail.positions.read(0, 10, 11)
		want(1, time.Second)
	})
}

func TestRequestsThatFailAreCountedByTheirKind(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, row := range map[string]struct {
		ctx  context.Context //nolint:containedctx // of one row
		err  error
		want Failures
	}{
		"nobody listens":    {t.Context(), &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, Failures{Unreachable: 1}},
		"no leader":         {t.Context(), kafkago.BrokerNotAvailable, Failures{Unreachable: 1}},
		"no answer":         {t.Context(), fmt.Errorf("asking: %w", context.DeadlineExceeded), Failures{Timeout: 1}},
		"an error":          {t.Context(), kafkago.NotCoordinatorForGroup, Failures{Refused: 1}},
		"a lost connection": {t.Context(), net.ErrClosed, Failures{Broken: 1}},
		"given up":          {ended, context.Canceled, Failures{}},
	} {
		c := &Cluster{}
		c.failures.count(row.ctx, row.err)
		if got := c.Failures(); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}
