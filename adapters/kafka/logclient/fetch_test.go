package logclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
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
			{Batches: recordbatch.Batches{Partition: 3, Aborted: []recordbatch.AbortedTransaction{{Producer: 1, First: 10}, {Producer: 2, First: 20}}, Bytes: []byte("some batches")}, highWatermark: 100, stable: 90},
			{Batches: recordbatch.Batches{Partition: 4, Bytes: []byte{}}, code: kafkago.NotLeaderForPartition, highWatermark: 100, stable: 90},
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
	took := brokertest.Allocated(func() { answer, err = readFetchAnswer(stream, 11, 5, limit) })
	if err != nil || len(answer.partitions) != 2 || string(answer.partitions[0].Bytes) != "whole" {
		t.Fatalf("not two partitions were read, the first one whole: %v", err)
	}
	if p := answer.partitions[1]; !p.Cut || len(p.Bytes) == 0 || len(p.Bytes) > limit {
		t.Errorf("of the long one, %d bytes were kept, cut: %t", len(p.Bytes), p.Cut)
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
		if _, err := readFetchAnswer(bytes.NewReader(short), 11, 5, 1000); !errors.Is(err, ErrAnswer) {
			t.Fatalf("%d of %d bytes: %v", cut, len(whole), err)
		}
	}
	if _, err := readFetchAnswer(bytes.NewReader(whole), 11, 6, 1000); !errors.Is(err, ErrAnswer) {
		t.Errorf("of another request: %v", err)
	}
	if _, err := readFetchAnswer(bytes.NewReader(whole[:len(whole)-1]), 11, 5, 1000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a connection that ends: %v", err)
	}
	refused := kmsg.NewPtrFetchResponse()
	refused.Version, refused.ErrorCode = 11, int16(kafkago.RequestTimedOut)
	body := refused.AppendTo([]byte{0, 0, 0, 5})
	body = append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	if _, err := readFetchAnswer(bytes.NewReader(body), 11, 5, 1000); !errors.Is(err, kafkago.RequestTimedOut) {
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
			sum += len(p.Bytes) + 16*len(p.Aborted)
		}
		if sum > limit {
			t.Errorf("%d bytes were kept of at most %d", sum, limit)
		}
		if slices.ContainsFunc(answer.partitions[:max(len(answer.partitions)-1, 0)], func(p fetchedPartition) bool { return p.Cut }) {
			t.Error("not the last one is cut")
		}
	})
}

// exchange is a connection to a broker that answers one request.
type exchange struct {
	written bytes.Buffer
	body    []byte // behind the correlation id
	answer  *bytes.Reader
}

func (e *exchange) Write(p []byte) (int, error) { return e.written.Write(p) }

func (e *exchange) Read(p []byte) (int, error) {
	if e.answer == nil {
		e.answer = bytes.NewReader(slices.Concat(
			binary.BigEndian.AppendUint32(nil, uint32(4+len(e.body))), e.written.Bytes()[8:12], e.body))
	}
	return e.answer.Read(p)
}

func TestAFetchSpeaksTheVersionsThatItKnows(t *testing.T) {
	for version, known := range map[int16]bool{3: false, minFetchVersion: true, 7: true, maxFetchVersion: true, 12: false} {
		tail := NewTail(&Cluster{transport: &kafkago.Transport{ClientID: "us"}}, TailOptions{Topic: "topic", From: map[int]int64{1: 5}})
		request := tail.fetcher.request([]int{1}, tail.positions)
		if !request.Required(map[protocol.ApiKey]int16{protocol.Fetch: version}) {
			t.Fatal("kafka-go would read the answer itself")
		}
		broker := &exchange{body: made(version, madePartition(1, "batches"))[8:]}
		message, err := request.RawExchange(broker)
		if (err == nil) != known {
			t.Errorf("version %d: %v", version, err)
		}
		if !known {
			if broker.written.Len() > 0 {
				t.Errorf("version %d: the broker is asked in it", version)
			}
			continue
		}
		answer, _ := message.(*fetchAnswer)
		if answer == nil || len(answer.partitions) != 1 || string(answer.partitions[0].Bytes) != "batches" {
			t.Fatalf("version %d: %+v", version, message)
		}
		answer.release()
		asked := kmsg.NewPtrFetchRequest()
		asked.Version = version
		head := 4 + 2 + 2 + 4 + 2 + len("us")
		if err := asked.ReadFrom(broker.written.Bytes()[head:]); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		p := asked.Topics[0].Partitions[0]
		if asked.ReplicaID != -1 || asked.MaxWaitMillis != 500 || asked.MinBytes != 1 || asked.MaxBytes != 8<<20 || asked.IsolationLevel != 1 ||
			asked.Topics[0].Topic != "topic" || p.Partition != 1 || p.FetchOffset != 5 || p.PartitionMaxBytes != 1<<20 ||
			version >= 7 && asked.SessionEpoch != -1 || version >= 9 && p.CurrentLeaderEpoch != -1 {
			t.Errorf("version %d asks for %+v", version, asked)
		}
	}
}

// A whole batch of the largest size that is unpacked has to fit, with what stands around it.
func TestWhatIsKeptOfAnAnswerHasRoomForItsLargestBatch(t *testing.T) {
	for maxBatch, size := range map[int]int{DefaultMaxBatch: fetchBytes, fetchBytes + 1<<20: fetchBytes + 1<<20} {
		request := &fetchRequest{maxBatch: maxBatch, version: maxFetchVersion}
		message, err := request.RawExchange(&exchange{body: made(maxFetchVersion, madePartition(1, string(make([]byte, size))))[8:]})
		answer, _ := message.(*fetchAnswer)
		if err != nil || answer == nil || answer.partitions[0].Cut || len(answer.partitions[0].Bytes) != size {
			t.Fatalf("batches of at most %d: %v", maxBatch, err)
		}
		answer.release()
		message, err = request.RawExchange(&exchange{body: made(maxFetchVersion, madePartition(1, string(make([]byte, size+maxFraming))))[8:]})
		if answer, _ = message.(*fetchAnswer); err != nil || answer == nil || !answer.partitions[0].Cut {
			t.Fatalf("batches of at most %d: more is kept, %v", maxBatch, err)
		}
		if answer.release(); answer.buffer != nil {
			t.Error("a second release would give two answers the same bytes")
		}
	}
}

func TestOnlyAPartitionWhoseEndWasNotKeptIsCut(t *testing.T) {
	whole := made(11, madePartition(1, "batches"))
	size := len(whole) - 8
	both := made(11, madePartition(1, "batches"), madePartition(2, "more"))
	for what, c := range map[string]struct {
		answer  []byte
		limit   int
		batches string
		cut     bool
	}{
		"all is kept":                {whole, size, "batches", false},
		"a byte is not":              {whole, size - 1, "batche", true},
		"the next one is not":        {both, size, "batches", false},
		"no byte of its batches is":  {whole, size - 7, "", true},
		"and a byte of the next one": {both, size + 1, "batches", false},
	} {
		answer, err := readFetchAnswer(bytes.NewReader(c.answer), 11, 5, c.limit)
		if err != nil || len(answer.partitions) != 1 {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if p := answer.partitions[0]; string(p.Bytes) != c.batches || p.Cut != c.cut {
			t.Errorf("%s: it has %q, cut: %t", what, p.Bytes, p.Cut)
		}
		answer.release()
	}
}

func TestAnAnswerThatClaimsWhatItHasNotIsAnError(t *testing.T) {
	claim := func(fields ...any) []byte {
		body := []byte{0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // the correlation id, throttling, error, session
		for _, field := range fields {
			body, _ = binary.Append(body, binary.BigEndian, field)
		}
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	const many = int32(1<<31 - 1)
	name, partition := [3]byte{0, 1, 'x'}, [22]byte{}
	for what, answer := range map[string][]byte{
		"a length below zero":       {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5},
		"no room for the id":        {0, 0, 0, 3, 0, 0, 0, 5},
		"nothing":                   {0, 0, 0, 4, 0, 0, 0, 5},
		"many topics":               claim(many),
		"a name below zero":         claim(int32(1), int16(-2), int32(0)),
		"many partitions":           claim(int32(1), name, many),
		"many aborted transactions": claim(int32(1), name, int32(1), partition, int64(0), many),
		"many bytes":                claim(int32(1), name, int32(1), partition, int64(0), int32(0), int32(0), many),
	} {
		took := brokertest.Allocated(func() {
			if _, err := readFetchAnswer(bytes.NewReader(answer), 11, 5, 1000); !errors.Is(err, ErrAnswer) {
				t.Errorf("%s: %v", what, err)
			}
		})
		if took > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", what, took)
		}
	}
}

func TestTheEndOfWhatCanBeReadIsTheStableOneIfTheBrokerSaysIt(t *testing.T) {
	for stable, want := range map[int64]int64{-1: 100, 0: 0, 1: 1, 100: 100} {
		p := fetchedPartition{highWatermark: 100, stable: stable}
		if got := p.end(readCommitted); got != want || p.end(readUncommitted) != 100 {
			t.Errorf("with %d: %d, and uncommitted %d", stable, got, p.end(readUncommitted))
		}
	}
}

// An answer that is released twice would share its bytes with another one.
func TestNoTwoAnswersHaveOneBuffer(t *testing.T) {
	sizes := []int{10, 5000, 4096, 4097, 100, 1 << 20, 0, 9000}
	for range 4 {
		held := make(map[*byte]bool)
		var answers []*fetchAnswer
		for _, size := range sizes {
			buffer := newAnswerBuffer(size)
			if len(*buffer) != size {
				t.Fatalf("a buffer for %d bytes has %d", size, len(*buffer))
			}
			first := &(*buffer)[:1][0]
			if held[first] {
				t.Fatal("two answers have one buffer")
			}
			held[first] = true
			answers = append(answers, &fetchAnswer{buffer: buffer})
		}
		for _, answer := range answers {
			answer.release()
			answer.release()
		}
	}
}
