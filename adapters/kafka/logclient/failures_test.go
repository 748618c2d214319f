package logclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

func TestOnlyWhatNeverLeftCountsAsNeverSent(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&rawproduce.Error{Err: kafkago.UnknownTopicOrPartition}, true}, // it knows no leader
		{fmt.Errorf("produce: %w", kafkago.BrokerNotAvailable), true},
		{fmt.Errorf("produce: %w", dial), true},
		{&net.OpError{Op: "read", Net: "tcp", Err: io.EOF}, false},
		{&net.OpError{Op: "write", Net: "tcp", Err: io.EOF}, false},
		{io.ErrUnexpectedEOF, false},
		{context.DeadlineExceeded, false},
		{kafkago.LeaderNotAvailable, false},
	} {
		if got := NeverSent(c.err); got != c.want {
			t.Errorf("%v: never sent: %t", c.err, got)
		}
	}
}
