package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// made returns an answer as a broker sends it, with its length and the correlation id 5, as franz-go writes it.
func made(version int16, partitions ...kmsg.FetchResponseTopicPartition) []byte {
	response := kmsg.NewPtrFetchResponse()
	response.Version = version
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.Partitions = "topic", partitions
	response.Topics = append(response.Topics, topic)
	body := response.AppendTo([]byte{0, 0, 0, 5})
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func madePartition(number int32, batches string) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.RecordBatches = number, 100, 90, 7, []byte(batches)
	return p
}

func TestAnAnswerIsReadInEveryVersion(t *testing.T) {
	first, second := madePartition(3, "some batches"), madePartition(4, "")
	first.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{
		{ProducerID: 1, FirstOffset: 10}, {ProducerID: 2, FirstOffset: 20},
	}
	second.ErrorCode, second.RecordBatches = 6, nil
	for version := int16(minFetchVersion); version <= maxFetchVersion; version++ {
		answer, err := readFetchAnswer(bytes.NewReader(made(version, first, second)), version, 5, 1000)
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		want := []fetchedPartition{
			{number: 3, highWatermark: 100, stable: 90, aborted: []abortedTransaction{{1, 10}, {2, 20}}, batches: []byte("some batches")},
			{number: 4, code: kafka.NotLeaderForPartition, highWatermark: 100, stable: 90, batches: []byte{}},
		}
		if !reflect.DeepEqual(answer.partitions, want) {
			t.Errorf("version %d: read %+v", version, answer.partitions)
		}
		if p := answer.partitions[0]; p.end(readCommitted) != 90 || p.end(readUncommitted) != 100 {
			t.Errorf("its ends are %d and %d", p.end(readCommitted), p.end(readUncommitted))
		}
		answer.release()
	}
}

// A broker answers with one batch that is longer than what was asked for, rather than with none.
func TestAnAnswerThatIsTooLongIsReadUpToTheBoundAndToItsEnd(t *testing.T) {
	const limit = 4 << 20
	long := made(11, madePartition(1, "whole"), madePartition(2, string(make([]byte, 40<<20))), madePartition(3, "lost"))
	stream := bytes.NewReader(append(long, "the next answer"...))
	var answer *fetchAnswer
	var err error
	took := allocated(func() { answer, err = readFetchAnswer(stream, 11, 5, limit) })
	if err != nil || len(answer.partitions) != 2 || string(answer.partitions[0].batches) != "whole" {
		t.Fatalf("not two partitions were read, the first one whole: %v", err)
	}
	if p := answer.partitions[1]; !p.cut || len(p.batches) == 0 || len(p.batches) > limit {
		t.Errorf("of the long one, %d bytes were kept, cut: %t", len(p.batches), p.cut)
	}
	if rest, _ := io.ReadAll(stream); string(rest) != "the next answer" {
		t.Errorf("%d bytes are left", len(rest))
	}
	if took > 4*limit {
		t.Errorf("%d bytes were allocated", took)
	}
}

func TestAnAnswerThatMakesNoSenseIsAnError(t *testing.T) {
	whole := made(11, madePartition(1, "batches"))
	for cut := 8; cut < len(whole); cut++ {
		short := bytes.Clone(whole[:cut])
		binary.BigEndian.PutUint32(short, uint32(cut-4))
		if _, err := readFetchAnswer(bytes.NewReader(short), 11, 5, 1000); !errors.Is(err, errFetchAnswer) {
			t.Fatalf("%d of %d bytes: %v", cut, len(whole), err)
		}
	}
	if _, err := readFetchAnswer(bytes.NewReader(whole), 11, 6, 1000); !errors.Is(err, errFetchAnswer) {
		t.Errorf("of another request: %v", err)
	}
	if _, err := readFetchAnswer(bytes.NewReader(whole[:len(whole)-1]), 11, 5, 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a connection that ends: %v", err)
	}
	refused := kmsg.NewPtrFetchResponse()
	refused.Version, refused.ErrorCode = 11, int16(kafka.RequestTimedOut)
	body := refused.AppendTo([]byte{0, 0, 0, 5})
	body = append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	if _, err := readFetchAnswer(bytes.NewReader(body), 11, 5, 1000); !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("an error for all of it: %v", err)
	}
}

func FuzzFetchAnswer(f *testing.F) {
	for _, version := range []int16{4, 5, 7, 11} {
		f.Add(made(version, madePartition(1, "batches"), madePartition(2, "")), version, 1000)
	}
	f.Add(made(11, madePartition(1, string(make([]byte, 500)))), int16(11), 100)
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 5}, int16(11), 100)
	f.Fuzz(func(t *testing.T, bytesSent []byte, version int16, limit int) {
		limit = min(max(limit, 0), 1<<16)
		answer, err := readFetchAnswer(bytes.NewReader(bytesSent), version, 5, limit)
		if err != nil {
			return
		}
		defer answer.release()
		sum := 0
		for _, p := range answer.partitions {
			sum += len(p.batches) + 16*len(p.aborted)
		}
		if sum > limit {
			t.Errorf("%d bytes were kept of at most %d", sum, limit)
		}
		if slices.ContainsFunc(answer.partitions[:max(len(answer.partitions)-1, 0)], func(p fetchedPartition) bool { return p.cut }) {
			t.Error("not the last one is cut")
		}
	})
}
