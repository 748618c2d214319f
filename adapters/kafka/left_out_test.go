package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// produceRaw writes a batch as it is, under no producer id. refused is the broker's error.
func produceRaw(t testing.TB, cluster *Cluster, topic string, partition int, batch []byte) (refused error) {
	t.Helper()
	set := append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...)
	response, err := cluster.transport.RoundTrip(testContext(t), cluster.addr, &rawproduce.Request{
		Acks: -1, Timeout: 30_000, Topics: []rawproduce.RequestTopic{{Topic: topic, Partitions: []rawproduce.RequestPartition{{
			Partition: int32(partition), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(set)},
		}}}},
	})
	if err != nil {
		return err
	}
	answer, _ := response.(*produce.Response)
	if code := kafka.Error(answer.Topics[0].Partitions[0].ErrorCode); code != 0 {
		return code
	}
	return nil
}

// packedZeros is a batch of records with a key and so many zeros each as their value, which nobody ever had in memory.
func packedZeros(t testing.TB, sizes ...int64) []byte {
	t.Helper()
	var packed bytes.Buffer
	encoder, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		head := binary.AppendVarint(append(binary.AppendVarint([]byte{0, 0}, int64(i)), 2, 'k'), size)
		length := binary.AppendVarint(nil, int64(len(head))+size+1)
		record := io.MultiReader(bytes.NewReader(append(length, head...)), zeros(size).reader(), bytes.NewReader([]byte{0}))
		if _, err := io.Copy(encoder, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := encoder.Close(); err != nil {
		t.Fatal(err)
	}
	made := madeBatch{count: int32(len(sizes)), producer: -1, packing: packing{codecZstd, func(testing.TB, io.Reader) []byte { return packed.Bytes() }}}
	return made.bytes(t)
}

// stampedNow sets the times of a batch.
func stampedNow(batch []byte) []byte {
	millis := uint64(now().UnixMilli())
	binary.BigEndian.PutUint64(batch[batchFirstAt:], millis)
	binary.BigEndian.PutUint64(batch[batchFirstAt+8:], millis)
	return sealed(batch)
}

// committed returns how far the group of the ingest is.
func (w *ingestWorld) committed() int64 {
	w.t.Helper()
	response, err := w.cluster.client.OffsetFetch(testContext(w.t), &kafka.OffsetFetchRequest{
		GroupID: w.names.SystemMessages, Topics: map[string][]int{w.names.SystemMessages: {0}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return response.Topics[w.names.SystemMessages][0].CommittedOffset
}

func TestWhatUnpacksToTooMuchBecomesDeadLettersAndTheNextOnesAreDelivered(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		w := newIngestWorld(t, cluster)
		w.write(say(7, "before"))
		sizes := []int64{10, 900 << 20}
		for range 2 * maxLeftOutLetters {
			sizes = append(sizes, 10)
		}
		bomb := stampedNow(packedZeros(t, sizes...))
		t.Logf("%d bytes", len(bomb))
		if err := produceRaw(t, cluster, w.names.SystemMessages, 0, bomb); err != nil {
			if strings.HasSuffix(t.Name(), "embedded") {
				t.Skipf("the embedded broker takes no such batch: %v", err)
			}
			t.Fatal(err)
		}
		w.write(say(7, "after"))
		stop := w.ingest()
		took := allocated(func() {
			waitUntil(t, func() bool { return slices.Equal(w.sent.texts(7), []string{"before", "after"}) })
		})
		if took > 6*MaxForeignBatch {
			t.Errorf("%d bytes were allocated", took)
		}
		waitUntil(t, func() bool { return len(w.letters.all()) == 1+maxLeftOutLetters })
		waitUntil(t, func() bool { return w.committed() == int64(len(sizes)+2) })
		stop()
		var letters []DeadLetter
		for _, record := range w.letters.all() {
			letters = append(letters, describe(&record))
		}
		slices.SortFunc(letters, func(a, b DeadLetter) int { return int(a.FirstOffset - b.FirstOffset) })
		if first := letters[0]; first.Code != DeadInvalidJSON || first.FirstOffset != 1 || first.Size != 10 {
			t.Errorf("the record before the large one: %+v", first)
		}
		if large := letters[1]; large.Code != DeadTooLarge || large.FirstOffset != 2 || !large.LeftOut || large.Size != 900<<20 ||
			string(large.Key) != "k" {
			t.Errorf("the large record: %+v", large)
		}
		last := letters[maxLeftOutLetters]
		if last.Code != DeadTooLarge || !last.LeftOut || last.Size != -1 ||
			!strings.Contains(last.Reason, fmt.Sprintf("the %d records after it", len(sizes)-1-maxLeftOutLetters)) {
			t.Errorf("the last letter: %+v", last)
		}

		// The group is past it: the next generation reads none of it again.
		w.write(say(7, "later"))
		w.ingest()
		waitUntil(t, func() bool { return len(w.sent.texts(7)) >= 3 })
		if got := w.sent.texts(7); len(got) != 3 || len(w.letters.all()) != 1+maxLeftOutLetters {
			t.Errorf("delivered %q, with %d dead letters", got, len(w.letters.all()))
		}
	})
}

// Whoever forges such a batch must not close everybody's connection.
func TestAForgedBatchOfConversationsIsLeftOutAndIsNoHole(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 2)
		appender := testAppender(t, cluster, names.Conversations, 2)
		defer appender.Close(testContext(t))
		appendAll(t, appender, 0, "before")
		bomb := stampedNow(packedZeros(t, 30<<20))
		for range 40 {
			if err := produceRaw(t, cluster, names.Conversations, 0, bomb); err != nil {
				t.Fatal(err)
			}
		}
		appendAll(t, appender, 0, "after")
		var tail *Tail
		var log *readLog
		took := allocated(func() {
			tail, log = startTail(t, cluster, names.Conversations, 2)
			waitForValues(t, tail, log, 0, 2)
		})
		if got := log.of(0); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("read %d records", len(got))
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		if log.holes != 0 || len(log.leftOut) != 40 || !log.leftOut[39].TooLarge || log.leftOut[39].From != 40 || log.leftOut[39].To != 41 {
			t.Errorf("%d holes, %d left out", log.holes, len(log.leftOut))
		}
		if took > 1<<30 { // all of it is 1.2 GB, unpacked once; each costs three times the bound at most
			t.Errorf("%d bytes were allocated", took)
		}
	})
}

// logged takes log lines.
type logged struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func TestALookFromOutsideSaysWhatItLeftOutAndGoesOn(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		appender := testAppender(t, cluster, names.DeadLetters, 1)
		defer appender.Close(testContext(t))
		appendAll(t, appender, 0, "before")
		if err := produceRaw(t, cluster, names.DeadLetters, 0, stampedNow(packedZeros(t, MaxForeignBatch+1))); err != nil {
			if cluster.options.Embedded {
				t.Skipf("the embedded broker takes no such batch: %v", err)
			}
			t.Fatal(err)
		}
		appendAll(t, appender, 0, "after")

		said := &logged{}
		var read []string
		err := cluster.ReadTopic(testContext(t), TopicReading{
			Topic: names.DeadLetters, Logger: slog.New(slog.NewTextHandler(said, nil)),
		}, func(r *TailRecord) error { read = append(read, string(r.Value)); return nil })
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("read %q, error %v, said %s", read, err, said)
		}

		ctx, stop := context.WithCancel(testContext(t))
		defer stop()
		said, read = &logged{}, nil
		err = cluster.ReadTopic(ctx, TopicReading{
			Topic: names.DeadLetters, Follow: true, Logger: slog.New(slog.NewTextHandler(said, nil)),
		}, func(r *TailRecord) error {
			if read = append(read, string(r.Value)); len(read) == 2 {
				stop()
			}
			return nil
		})
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("following: read %q, error %v, said %s", read, err, said)
		}

		said = &logged{}
		letters, err := OpenDeadLetters(testContext(t), cluster, names, slog.New(slog.NewTextHandler(said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		read = nil
		err = letters.Each(testContext(t), DeadLetterFilter{}, func(l DeadLetter) error { read = append(read, string(l.Value)); return nil })
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("dead letters: read %q, error %v, said %s", read, err, said)
		}
	})
}
