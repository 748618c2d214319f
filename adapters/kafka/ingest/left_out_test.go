package ingest

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

// committed returns how far the group of the ingest is.
func (w *ingestWorld) committed() int64 {
	w.t.Helper()
	response, err := w.cluster.Client().OffsetFetch(brokertest.Context(w.t), &kafkago.OffsetFetchRequest{
		GroupID: w.names.SystemMessages, Topics: map[string][]int{w.names.SystemMessages: {0}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return response.Topics[w.names.SystemMessages][0].CommittedOffset
}

func TestWhatUnpacksToTooMuchBecomesDeadLettersAndTheNextOnesAreDelivered(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		w.write(say(7, "before"))
		sizes := []int64{10, 900 << 20}
		for range 2 * maxLeftOutLetters {
			sizes = append(sizes, 10)
		}
		bomb := brokertest.StampedNow(brokertest.PackedZeros(t, sizes...))
		t.Logf("%d bytes", len(bomb))
		if err := brokertest.Produce(t, cluster, w.names.SystemMessages, 0, bomb); err != nil {
			if strings.HasSuffix(t.Name(), "embedded") {
				t.Skipf("the embedded broker takes no such batch: %v", err)
			}
			t.Fatal(err)
		}
		w.write(say(7, "after"))
		stop := w.ingest()
		took := brokertest.Allocated(func() {
			brokertest.WaitUntil(t, func() bool { return slices.Equal(w.sent.texts(7), []string{"before", "after"}) })
		})
		if took > 6*logclient.MaxForeignBatch {
			t.Errorf("%d bytes were allocated", took)
		}
		brokertest.WaitUntil(t, func() bool { return len(w.letters.all()) == 1+maxLeftOutLetters })
		brokertest.WaitUntil(t, func() bool { return w.committed() == int64(len(sizes)+2) })
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
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) >= 3 })
		if got := w.sent.texts(7); len(got) != 3 || len(w.letters.all()) != 1+maxLeftOutLetters {
			t.Errorf("delivered %q, with %d dead letters", got, len(w.letters.all()))
		}
	})
}

func TestDeadLettersThatCannotBeReadAreSaidAndTheOthersAreFound(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := topictest.Topics(t, cluster, 1)
		appender := topictest.Appender(t, cluster, names.DeadLetters, 1)
		defer appender.Close(brokertest.Context(t))
		logtest.Append(t, appender, 0, "before")
		bomb := brokertest.StampedNow(brokertest.PackedZeros(t, logclient.MaxForeignBatch+1))
		if err := brokertest.Produce(t, cluster, names.DeadLetters, 0, bomb); err != nil {
			if cluster.Options().Embedded {
				t.Skipf("the embedded broker takes no such batch: %v", err)
			}
			t.Fatal(err)
		}
		logtest.Append(t, appender, 0, "after")
		var said lines
		letters, err := OpenDeadLetterTopic(brokertest.Context(t), cluster, names, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		var read []string
		take := func(l DeadLetter) error { read = append(read, string(l.Value)); return nil }
		err = letters.Each(brokertest.Context(t), DeadLetterFilter{}, take)
		if err != nil || !slices.Equal(read, []string{"before", "after"}) || strings.Count(said.String(), "left out") != 1 {
			t.Errorf("read %q, error %v, said %s", read, err, said.String())
		}
	})
}

// lines takes log lines.
type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}
