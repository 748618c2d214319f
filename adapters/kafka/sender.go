package kafka

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// sender sends stamped batches to one partition, under a producer id of its own, so that what happens to one partition's
// sequence concerns no other. It is used by one goroutine at a time.
type sender struct {
	cluster   *Cluster
	topic     string
	partition int
	stamp     producerStamp // of the next batch, once known
	known     bool
	// unstamped is set by the test that shows what the stamp is for.
	unstamped bool
}

func newSender(cluster *Cluster, topic string, partition int) *sender {
	return &sender{cluster: cluster, topic: topic, partition: partition}
}

// verdict is what one attempt to send a batch came to.
type verdict int

const (
	verdictRetry    verdict = iota // no outcome yet: send the same batch again
	verdictAppended                // the in-sync replicas have it, once
	verdictRefused                 // they do not have it and will not take it
)

// sendResult is the outcome of an attempt. maybeSent is false where the batch surely is not in the log because of this
// attempt; err says why it did not succeed.
type sendResult struct {
	verdict   verdict
	maybeSent bool
	err       error
}

const (
	// attemptTimeout is how long one attempt waits for its answer before the batch is sent again over another
	// connection: long against a healthy broker's milliseconds, short against the time in which a partition finds
	// another leader.
	attemptTimeout = 3 * time.Second
	// ackTimeout is what the broker itself is told, in milliseconds: less, so that it answers before being given up.
	ackTimeout = 2500
)

// send makes one attempt to append a batch of count records.
func (s *sender) send(ctx context.Context, batch []byte, count int) sendResult {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if !s.known {
		if err := s.introduce(ctx); err != nil {
			return sendResult{err: err}
		}
	}
	response, err := s.cluster.transport.RoundTrip(ctx, s.cluster.addr, &rawproduce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: ackTimeout,
		Topics: []rawproduce.RequestTopic{{
			Topic: s.topic,
			Partitions: []rawproduce.RequestPartition{{
				Partition: int32(s.partition),
				RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(s.stamped(batch))},
			}},
		}},
	})
	if err != nil {
		return sendResult{maybeSent: !neverSent(err), err: err}
	}
	return s.judge(response, count)
}

func (s *sender) stamped(batch []byte) []byte {
	if s.unstamped {
		return batch
	}
	return stampBatch(batch, s.stamp)
}

// judge reads the broker's answer.
func (s *sender) judge(response kafka.Response, count int) sendResult {
	answer, ok := response.(*produce.Response)
	if !ok || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return sendResult{maybeSent: true, err: errors.New("an answer that is none to the request")}
	}
	code := kafka.Error(answer.Topics[0].Partitions[0].ErrorCode)
	switch code {
	case 0, kafka.DuplicateSequenceNumber:
		s.advance(count)
		return sendResult{verdict: verdictAppended}
	case kafka.OutOfOrderSequenceNumber, kafka.UnknownProducerId:
		// The broker lost what it knew of this producer, and it does not have this batch: it would know it as a
		// duplicate. Under the next epoch the sequence starts again, and what may still arrive of this one is refused.
		s.bump()
		return sendResult{maybeSent: true, err: code}
	case kafka.InvalidProducerEpoch, kafka.InvalidProducerIDMapping:
		// Somebody else uses this producer's id: what an earlier attempt came to cannot be found out any more, and under
		// another id the batch could be there twice.
		s.known = false
		return sendResult{verdict: verdictRefused, err: code}
	case kafka.NotEnoughReplicas:
		// The only one that says so before the append. What a broker answers that is no leader (any more), or whose disk
		// failed, it also answers to a batch that it has appended and that the next leader may have got from it.
		return sendResult{err: code}
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord, kafka.InvalidTimestamp,
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTopic,
		kafka.UnsupportedForMessageFormat, kafka.PolicyViolation:
		return sendResult{verdict: verdictRefused, err: code}
	default:
		return sendResult{maybeSent: true, err: code}
	}
}

// introduce asks for a producer id. A coordinator that is still loading (code 14) is asked again by the next attempt.
func (s *sender) introduce(ctx context.Context) error {
	response, err := s.cluster.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{
		ProducerID: -1, ProducerEpoch: -1,
	})
	if err != nil {
		return err
	}
	if response.Error != nil {
		return response.Error
	}
	s.stamp = producerStamp{id: int64(response.Producer.ProducerID), epoch: int16(response.Producer.ProducerEpoch)}
	s.known = true
	return nil
}

// advance moves the sequence past an appended batch; it wraps to 0 after the largest 31-bit number (KIP-98).
func (s *sender) advance(count int) {
	next := int64(s.stamp.sequence) + int64(count)
	s.stamp.sequence = int32(next % (math.MaxInt32 + 1))
}

// bump starts the next epoch, under which no batch is taken for one of the last; after the last one, a new producer id.
func (s *sender) bump() {
	if s.stamp.epoch == math.MaxInt16 {
		s.known = false
		return
	}
	s.stamp.epoch++
	s.stamp.sequence = 0
}

// neverSent tells whether an attempt failed before its request could have left: no connection, or no known leader.
func neverSent(err error) bool {
	var routing *rawproduce.Error
	if errors.As(err, &routing) || errors.Is(err, kafka.BrokerNotAvailable) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// backoff spaces attempts: 20 ms doubling to half a second, each shortened by up to half so that lanes do not march in
// step.
type backoff struct{ count int }

// next returns the next pause, before any shortening.
func (b *backoff) next() time.Duration {
	pause := min(20*time.Millisecond<<min(b.count, 5), 500*time.Millisecond)
	b.count++
	return pause
}

// timer returns one that ends with the next pause.
func (b *backoff) timer() *time.Timer {
	pause := b.next()
	return time.NewTimer(pause - rand.N(pause/2)) //nolint:gosec // jitter, not a secret
}

func (b *backoff) wait(ctx context.Context) {
	timer := b.timer()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
