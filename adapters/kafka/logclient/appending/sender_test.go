package appending

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// sendOne makes one attempt to append a batch of one record.
func sendOne(ctx context.Context, s *sender) sendResult {
	return send(ctx, []parcel{{s, []pending{{record: recordbatch.Record{Value: []byte("a")}}}}})[0]
}

// produced is a broker's answer to a batch.
func produced(code kafkago.Error) *produce.Response {
	return &produce.Response{Topics: []produce.ResponseTopic{{
		Partitions: []produce.ResponsePartition{{ErrorCode: int16(code)}},
	}}}
}

// What a broker says decides whether a batch is sent again, and under which stamp the next one goes. If the sequence stood
// still after a batch that the broker has, the next batch would be taken for it and be lost.
func TestAnAnswerDecidesOfTheBatchAndOfTheNextStamp(t *testing.T) {
	before := recordbatch.Stamp{ID: 7, Epoch: 3, Sequence: 40}
	next, bumped := recordbatch.Stamp{ID: 7, Epoch: 3, Sequence: 45}, recordbatch.Stamp{ID: 7, Epoch: 4, Sequence: 0}
	appended := sendResult{verdict: verdictAppended}
	notYet, maybe := sendResult{verdict: verdictRetry}, sendResult{verdict: verdictRetry, maybeSent: true}
	refused := sendResult{verdict: verdictRefused}
	for code, want := range map[kafkago.Error]struct {
		result sendResult
		stamp  recordbatch.Stamp
		anew   bool // another producer id is asked for
	}{
		0:                                    {appended, next, false},
		kafkago.DuplicateSequenceNumber:      {appended, next, false},
		kafkago.OutOfOrderSequenceNumber:     {maybe, bumped, false},
		kafkago.UnknownProducerId:            {maybe, bumped, false},
		kafkago.InvalidProducerEpoch:         {refused, before, true},
		kafkago.InvalidProducerIDMapping:     {refused, before, true},
		kafkago.NotEnoughReplicas:            {notYet, before, false},
		kafkago.NotEnoughReplicasAfterAppend: {maybe, before, false},
		kafkago.RequestTimedOut:              {maybe, before, false},
		kafkago.NetworkException:             {maybe, before, false},
		kafkago.NotLeaderForPartition:        {maybe, before, false},
		kafkago.LeaderNotAvailable:           {maybe, before, false},
		kafkago.UnknownTopicOrPartition:      {maybe, before, false},
		kafkago.KafkaStorageError:            {maybe, before, false},
		kafkago.InvalidMessage:               {maybe, before, false}, // damaged on its way
		kafkago.Unknown:                      {maybe, before, false},
		kafkago.MessageSizeTooLarge:          {refused, before, false},
		kafkago.RecordListTooLarge:           {refused, before, false},
		kafkago.InvalidRecord:                {refused, before, false},
		kafkago.InvalidTimestamp:             {refused, before, false},
		kafkago.TopicAuthorizationFailed:     {refused, before, false},
		kafkago.ClusterAuthorizationFailed:   {refused, before, false},
		kafkago.InvalidTopic:                 {refused, before, false},
		kafkago.UnsupportedForMessageFormat:  {refused, before, false},
		kafkago.PolicyViolation:              {refused, before, false},
	} {
		s := sender{stamp: before, known: true}
		got := s.judge(produced(code), 5)
		if got.verdict != want.result.verdict || got.maybeSent != want.result.maybeSent {
			t.Errorf("code %d: verdict %d, maybe sent: %t; want %d, %t",
				code, got.verdict, got.maybeSent, want.result.verdict, want.result.maybeSent)
		}
		if got.verdict != verdictAppended && !errors.Is(got.err, code) || got.verdict == verdictAppended && got.err != nil {
			t.Errorf("code %d: it says %v", code, got.err)
		}
		if s.stamp != want.stamp || s.known == want.anew {
			t.Errorf("code %d: the next stamp is %+v, known: %t; want %+v", code, s.stamp, s.known, want.stamp)
		}
	}
	none := &produce.Response{Topics: []produce.ResponseTopic{{}}}
	several := produced(0)
	several.Topics[0].Partitions = append(several.Topics[0].Partitions, produce.ResponsePartition{ErrorCode: 1})
	others := produced(0)
	others.Topics[0].Partitions[0].Partition = 1
	for what, answer := range map[string]kafkago.Response{
		"another request's": &metadata.Response{}, "no topic": &produce.Response{}, "no partition": none, "twice the partition": several,
		"another partition": others,
	} {
		s := sender{stamp: before, known: true}
		if got := s.judge(answer, 5); got.verdict != verdictRetry || !got.maybeSent || got.err == nil || s.stamp != before {
			t.Errorf("%s: it comes to %+v, and the next stamp is %+v", what, got, s.stamp)
		}
	}
}

// As in the Java client (DefaultRecordBatch.incrementSequence): 2147483647 is followed by 0.
func TestTheSequenceGoesOnAtZeroBehindItsLastNumber(t *testing.T) {
	for _, c := range []struct {
		from  int32
		count int
		want  int32
	}{
		{0, 1, 1},
		{math.MaxInt32 - 1000, 1000, math.MaxInt32},
		{math.MaxInt32 - 1, 1, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 1, 2, 0},
		{math.MaxInt32, 1000, 999},
		{math.MaxInt32 - 999, 1000, 0},
	} {
		s := sender{stamp: recordbatch.Stamp{Sequence: c.from}}
		if s.advance(c.count); s.stamp.Sequence != c.want {
			t.Errorf("%d records behind %d: the next is %d, not %d", c.count, c.from, s.stamp.Sequence, c.want)
		}
	}
}

func TestAProducerWhoseEpochsAreUsedUpTakesAnotherID(t *testing.T) {
	s := sender{stamp: recordbatch.Stamp{ID: 7, Epoch: math.MaxInt16 - 1, Sequence: 5}, known: true}
	if s.bump(); !s.known || s.stamp != (recordbatch.Stamp{ID: 7, Epoch: math.MaxInt16, Sequence: 0}) {
		t.Errorf("the epoch before the last: %+v, known: %t", s.stamp, s.known)
	}
	if s.bump(); s.known {
		t.Errorf("the last epoch: %+v is still used", s.stamp)
	}
}

// A broker that has a batch, and whose answer to an earlier attempt was lost, says that it is a duplicate.
func TestTheNextMessageAfterADuplicateIsNotLost(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		appender, topic := answeredAppender(t, cluster, func(n int64) brokertest.Answer {
			return []brokertest.Answer{{Code: kafkago.DuplicateSequenceNumber}, {}}[min(n, 1)]
		})
		if err := <-appendOne(appender, "first"); err != nil {
			t.Fatalf("a duplicate came to %v", err)
		}
		expectNextIsAppended(t, cluster, appender, topic)
	})
}

// The sequence of a partition wraps after two billion records.
func TestRecordsAreAppendedOnceAcrossTheWrapOfTheSequence(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		if cluster.Options().Embedded {
			t.Skip("the embedded broker takes no new producer at another sequence than 0")
		}
		topic := testTopic(t, cluster, 1)
		appender := testAppender(t, cluster, topic, 1)
		defer appender.Close(brokertest.Context(t))
		s := appender.lanes[0].sender
		// The cluster may not know its brokers yet.
		brokertest.WaitUntil(t, func() bool { return s.introduce(brokertest.Context(t)) == nil })
		s.stamp.Sequence = math.MaxInt32 - 1
		for _, value := range []string{"a", "b", "c"} {
			if err := <-appendOne(appender, value); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
		}
		if got := s.stamp.Sequence; got != 1 {
			t.Errorf("the next sequence is %d", got)
		}
		if got := fmt.Sprint(logOf(t, cluster, topic, 1)[0]); got != "[a b c]" {
			t.Errorf("the log holds %s", got)
		}
	})
}

// An event that is shown is on all in-sync replicas (invariant of the design: durable before visible).
func TestAnAppendAsksForAllInSyncReplicasUnderItsStamp(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	var asked []*kmsg.ProduceRequest
	broker.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		produce, _ := request.(*kmsg.ProduceRequest)
		asked = append(asked, produce)
		return nil, nil, false
	})
	appender := testAppender(t, cluster, topic, 1)
	for _, value := range []string{"a", "b"} {
		if err := <-appendOne(appender, value); err != nil {
			t.Fatal(err)
		}
	}
	appender.Close(brokertest.Context(t))
	stamp := appender.lanes[0].sender.stamp
	if len(asked) != 2 {
		t.Fatalf("asked %d times", len(asked))
	}
	for i, produce := range asked {
		if produce.Acks != -1 || produce.TimeoutMillis != 2500 || produce.Topics[0].Topic != topic || produce.Topics[0].Partitions[0].Partition != 0 {
			t.Errorf("request %d: %+v", i, produce)
		}
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(produce.Topics[0].Partitions[0].Records); err != nil {
			t.Fatal(err)
		}
		if batch.ProducerID != stamp.ID || batch.ProducerEpoch != stamp.Epoch || batch.FirstSequence != int32(i) || batch.NumRecords != 1 {
			t.Errorf("batch %d: %+v, under the stamp %+v", i, batch, stamp)
		}
	}
}

func TestARequestWithoutAnAnswerMayHaveArrived(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	broker.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("the connection ends"), true
	})
	s := &sender{cluster: cluster, topic: topic}
	if got := sendOne(brokertest.Context(t), s); got.verdict != verdictRetry || !got.maybeSent || got.err == nil || !s.known {
		t.Errorf("it comes to %+v", got)
	}
	s = &sender{cluster: testCluster(t, []string{"127.0.0.1:1"}), topic: topic}
	s.known = true
	if got := sendOne(brokertest.Context(t), s); got.verdict != verdictRetry || got.maybeSent || got.err == nil {
		t.Errorf("without a broker: %+v", got)
	}
}

func TestAProducerTakesTheIDAndTheEpochThatItIsGiven(t *testing.T) {
	broker, cluster, topic := controlledTopic(t)
	asked := 0
	broker.ControlKey(int16(kmsg.InitProducerID), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		init, _ := request.(*kmsg.InitProducerIDRequest)
		if init.ProducerID != -1 || init.ProducerEpoch != -1 || init.TransactionalID != nil && *init.TransactionalID != "" {
			t.Errorf("it asks for %+v", init)
		}
		response, _ := init.ResponseKind().(*kmsg.InitProducerIDResponse)
		if asked++; asked == 1 {
			response.ErrorCode = int16(kafkago.GroupLoadInProgress)
			return response, nil, true
		}
		response.ProducerID, response.ProducerEpoch = 1<<40+5, 9
		return response, nil, true
	})
	s := &sender{cluster: cluster, topic: topic}
	if got := sendOne(brokertest.Context(t), s); got.verdict != verdictRetry || got.maybeSent || !errors.Is(got.err, kafkago.GroupLoadInProgress) || s.known {
		t.Errorf("while the coordinator loads: %+v", got)
	}
	if err := s.introduce(brokertest.Context(t)); err != nil || s.stamp != (recordbatch.Stamp{ID: 1<<40 + 5, Epoch: 9, Sequence: 0}) || !s.known {
		t.Errorf("the stamp is %+v, %v", s.stamp, err)
	}
}
