package appending

import (
	"bytes"
	"context"
	"math"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// sender sends stamped batches to one partition, under a producer id of its own. It is for one goroutine at a time.
type sender struct {
	cluster   *logclient.Cluster
	topic     string
	partition int
	stamp     recordbatch.Stamp // of the next batch, once known
	known     bool
}

// verdict is what one attempt to send a batch came to.
type verdict int

const (
	verdictRetry    verdict = iota // no outcome yet: send the same batch again
	verdictAppended                // the in-sync replicas have it, once
	verdictRefused                 // they do not have it and will not take it
)

// sendResult is the outcome of an attempt.
type sendResult struct {
	verdict   verdict
	maybeSent bool  // the attempt may have brought the batch into the log
	err       error // why it did not succeed
}

const (
	// attemptTimeout is how long one attempt waits for its answer: long against a healthy broker's milliseconds, short against
	// the time in which a partition finds another leader.
	attemptTimeout = 3 * time.Second
	// ackTimeout is what the broker is told, in milliseconds, so that it answers before it is given up.
	ackTimeout = 2500
)

// parcel is what makes one batch, and who sends it.
type parcel struct {
	sender  *sender
	records []pending
}

// requestBuffers are buffers of requests. One is given back once its request was answered: until then it may be read.
var requestBuffers = sync.Pool{New: func() any { return new([]byte) }}

// send makes one attempt to append batches of partitions with the same leader, in one request.
func send(ctx context.Context, parcels []parcel) []sendResult {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	results := make([]sendResult, len(parcels))
	all := func(result sendResult) []sendResult {
		for i := range results {
			results[i] = result
		}
		return results
	}
	buffer, _ := requestBuffers.Get().(*[]byte)
	*buffer = (*buffer)[:0]
	ends := make([]int, len(parcels))
	for i, p := range parcels {
		if !p.sender.known {
			if err := p.sender.introduce(ctx); err != nil {
				return all(sendResult{err: err})
			}
		}
		record := func(i int) *recordbatch.Record { return &p.records[i].record }
		*buffer = recordbatch.Append(*buffer, len(p.records), record, p.sender.stamp)
		ends[i] = len(*buffer)
	}
	partitions := make([]rawproduce.RequestPartition, len(parcels))
	begin := 0
	for i, p := range parcels {
		partitions[i] = rawproduce.RequestPartition{
			Partition: int32(p.sender.partition), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader((*buffer)[begin:ends[i]])},
		}
		begin = ends[i]
	}
	first := parcels[0].sender
	response, err := first.cluster.RoundTrip(ctx, &rawproduce.Request{
		Acks: int16(kafkago.RequireAll), Timeout: ackTimeout,
		Topics: []rawproduce.RequestTopic{{Topic: first.topic, Partitions: partitions}},
	})
	if err != nil {
		return all(sendResult{maybeSent: !logclient.NeverSent(err), err: err})
	}
	if cap(*buffer) <= 2*maxRequestBytes {
		requestBuffers.Put(buffer)
	}
	for i, p := range parcels {
		results[i] = p.sender.judge(response, len(p.records))
		if results[i].verdict != verdictAppended {
			first.cluster.CountRefused()
		}
	}
	return results
}

// codeFor returns what a broker's answer says of the sender's partition.
func (s *sender) codeFor(response kafkago.Response) (kafkago.Error, error) {
	answer, ok := response.(*produce.Response)
	if !ok || len(answer.Topics) != 1 {
		return 0, logclient.ErrAnswer
	}
	code, found := kafkago.Error(0), 0
	for _, p := range answer.Topics[0].Partitions {
		if int(p.Partition) == s.partition {
			code, found = kafkago.Error(p.ErrorCode), found+1
		}
	}
	if found != 1 {
		return 0, logclient.ErrAnswer
	}
	return code, nil
}

// judge reads the broker's answer.
func (s *sender) judge(response kafkago.Response, count int) sendResult {
	code, err := s.codeFor(response)
	if err != nil {
		return sendResult{maybeSent: true, err: err}
	}
	switch code {
	case 0, kafkago.DuplicateSequenceNumber:
		s.advance(count)
		return sendResult{verdict: verdictAppended}
	case kafkago.OutOfOrderSequenceNumber, kafkago.UnknownProducerId:
		// The broker lost what it knew of this producer, and it does not have this batch: it would know it as a
		// duplicate. Under the next epoch the sequence starts again, and what may still arrive of this one is refused.
		s.bump()
		return sendResult{maybeSent: true, err: code}
	case kafkago.InvalidProducerEpoch, kafkago.InvalidProducerIDMapping:
		// Somebody else uses this producer's id: what an earlier attempt came to cannot be found out any more, and under
		// another id the batch could be there twice.
		s.known = false
		return sendResult{verdict: verdictRefused, err: code}
	case kafkago.NotEnoughReplicas:
		// The only one that says so before the append. What a broker answers that is no leader (any more), or whose disk
		// failed, it also answers to a batch that it has appended and that the next leader may have got from it.
		return sendResult{err: code}
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge, kafkago.InvalidRecord, kafkago.InvalidTimestamp,
		kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed, kafkago.InvalidTopic,
		kafkago.UnsupportedForMessageFormat, kafkago.PolicyViolation:
		return sendResult{verdict: verdictRefused, err: code}
	default:
		return sendResult{maybeSent: true, err: code}
	}
}

// introduce asks for a producer id. A coordinator that is still loading (code 14) is asked again by the next attempt.
func (s *sender) introduce(ctx context.Context) error {
	response, err := s.cluster.Client().InitProducerID(ctx, &kafkago.InitProducerIDRequest{
		ProducerID: -1, ProducerEpoch: -1,
	})
	if err != nil {
		return err
	}
	if response.Error != nil {
		return response.Error
	}
	s.stamp = recordbatch.Stamp{ID: int64(response.Producer.ProducerID), Epoch: int16(response.Producer.ProducerEpoch)}
	s.known = true
	return nil
}

// advance moves the sequence past an appended batch; it wraps to 0 after the largest 31-bit number (KIP-98).
func (s *sender) advance(count int) {
	next := int64(s.stamp.Sequence) + int64(count)
	s.stamp.Sequence = int32(next % (math.MaxInt32 + 1))
}

// bump starts the next epoch, under which no batch is taken for one of the last; after the last one, a new producer id.
func (s *sender) bump() {
	if s.stamp.Epoch == math.MaxInt16 {
		s.known = false
		return
	}
	s.stamp.Epoch++
	s.stamp.Sequence = 0
}
