package logclient

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// failures counts requests that did not get the answer that was wanted, for Cluster.
type failures struct{ unreachable, timeout, broken, refused atomic.Uint64 }

// Failures are how many requests did not get the answer that was wanted, since the cluster was made.
type Failures struct {
	Unreachable uint64 // no connection, or no known leader
	Timeout     uint64 // no answer in time
	Broken      uint64 // the connection ended, or its answer could not be read
	Refused     uint64 // a broker answered a fetch or an append of a partition with an error
}

// Failures returns the counts.
func (f *failures) Failures() Failures {
	return Failures{
		Unreachable: f.unreachable.Load(), Timeout: f.timeout.Load(), Broken: f.broken.Load(), Refused: f.refused.Load(),
	}
}

// count counts a request that failed with err. One that its caller gave up for another reason than time is none.
func (f *failures) count(ctx context.Context, err error) {
	var network net.Error
	var code kafkago.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
	case NeverSent(err):
		f.unreachable.Add(1)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		f.timeout.Add(1)
	case errors.As(err, &code):
		f.refused.Add(1)
	default:
		f.broken.Add(1)
	}
}

// CountRefused counts a request that a broker refused. It is for package appending.
func (f *failures) CountRefused() { f.refused.Add(1) }

// NeverSent tells whether a request failed before it could have left: no connection, or no known leader.
func NeverSent(err error) bool {
	var routing *rawproduce.Error
	if errors.As(err, &routing) || errors.Is(err, kafkago.BrokerNotAvailable) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
