package ingest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

// sentMessages is the use case: it takes notes, and fails as often as it was told to.
type sentMessages struct {
	mu       sync.Mutex
	commands []messaging.SystemMessageCommand
	// refuse returns the outcome of the next try of a command; nil where it is delivered.
	refuse func(messaging.SystemMessageCommand) error
}

func (s *sentMessages) Execute(_ context.Context, c messaging.SystemMessageCommand) (domain.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(c); err != nil {
			return domain.Event{}, err
		}
	}
	s.commands = append(s.commands, c)
	return domain.Event{ID: c.ID, Body: c.Message}, nil
}

// texts returns what was delivered to a user, in order.
func (s *sentMessages) texts(to domain.UserID) (texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.commands {
		if c.Message.To == to {
			texts = append(texts, c.Message.Text.String())
		}
	}
	return texts
}

func (s *sentMessages) ids(to domain.UserID) (ids []domain.EventID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.commands {
		if c.Message.To == to {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// ingestWorld is an ingest of one partition with what is around it.
type ingestWorld struct {
	t       *testing.T
	cluster *logclient.Cluster
	names   kafka.TopicNames
	letters *letterLog
	sent    *sentMessages
	dead    *appending.Appender
}

func newIngestWorld(t *testing.T, cluster *logclient.Cluster) *ingestWorld {
	t.Helper()
	w := &ingestWorld{
		t: t, cluster: cluster, names: topictest.Topics(t, cluster, 1), letters: &letterLog{}, sent: &sentMessages{},
	}
	w.dead = topictest.Appender(t, cluster, w.names.DeadLetters, 1)
	t.Cleanup(func() { w.dead.Close(brokertest.Context(t)) })
	tail := logclient.NewTail(cluster, logclient.TailOptions{
		Topic: w.names.DeadLetters, From: map[int]int64{0: 0}, Handler: w.letters, Logger: brokertest.Logger(t),
	})
	brokertest.Run(t, tail.Run)
	return w
}

// ingest runs until the returned function is called, which waits for its end.
func (w *ingestWorld) ingest() (stop func()) {
	w.t.Helper()
	i := New(w.cluster, Options{
		Topic: w.names.SystemMessages, Group: w.names.SystemMessages, Messages: w.sent, DeadLetters: w.dead,
		Presence: func(context.Context) error { return nil }, Logger: brokertest.Logger(w.t),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// write writes records with kafka-go's own client, as any program would.
func (w *ingestWorld) write(messages ...kafkago.Message) {
	w.t.Helper()
	writer := kafkago.Writer{
		Addr: w.cluster.Client().Addr, Topic: w.names.SystemMessages, BatchBytes: 5 << 20, RequiredAcks: kafkago.RequireAll,
		BatchTimeout: time.Millisecond, Transport: w.cluster.Client().Transport,
	}
	for len(messages) > 0 {
		n := min(len(messages), 100)
		if len(messages[0].Value) > 1<<20 {
			n = 1
		}
		if err := writer.WriteMessages(brokertest.Context(w.t), messages[:n]...); err != nil {
			w.t.Fatal(err)
		}
		messages = messages[n:]
	}
}

// say returns a message to a user.
func say(to domain.UserID, text string) kafkago.Message {
	return kafkago.Message{Value: fmt.Appendf(nil, `{"target_id":%d,"message":%q}`, to, text)}
}

// letterLog reads dead letters.
type letterLog struct {
	mu      sync.Mutex
	letters []foreignRecord
}

func (l *letterLog) Record(r *recordbatch.StoredRecord) {
	copied := copyRecord("", r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(l.letters, copied)
}
func (l *letterLog) BatchEnd(int, int64)         {}
func (l *letterLog) LeftOut(recordbatch.LeftOut) {}
func (l *letterLog) Hole(int, int64, int64)      {}
func (l *letterLog) all() []foreignRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.letters)
}

func TestWhatCannotBeDeliveredBecomesADeadLetterAndTheNextOneIsDelivered(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		w.sent.refuse = func(c messaging.SystemMessageCommand) error {
			if c.Message.To == 404 {
				return domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
			}
			return nil
		}
		large := []byte(`{"target_id":7,"message":"` + strings.Repeat("x", 2<<20) + `"}`)
		largest := []byte(strings.Repeat("x", 4<<20-1000))
		poison := []struct {
			message kafkago.Message
			code    string
		}{
			{kafkago.Message{Value: []byte("poison")}, DeadInvalidJSON},
			{kafkago.Message{Key: []byte("key"), Value: nil}, DeadEmpty},
			{kafkago.Message{Key: []byte(strings.Repeat("k", 1000)), Value: []byte{}}, DeadEmpty},
			{kafkago.Message{Value: []byte(`{"target_id":[],"message":null}`)}, DeadInvalidMessage},
			{kafkago.Message{Value: large}, DeadTooLarge},
			{kafkago.Message{Value: largest}, DeadTooLarge},
			{kafkago.Message{Value: []byte(`{"target_id":404,"message":"m"}`), Headers: []kafkago.Header{textHeader("trace", "1")}}, DeadNoUserOrOffline},
			{kafkago.Message{Value: []byte(`{"target_id":0,"message":"m"}`)}, DeadNoUserOrOffline},
			{kafkago.Message{Value: []byte(`{}`), Headers: []kafkago.Header{textHeader("ce_id", "1")}}, DeadInvalidEvent},
		}
		var texts []string
		for i, p := range poison {
			texts = append(texts, fmt.Sprint(i))
			w.write(p.message, say(7, texts[i]))
		}
		w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) >= len(poison) && len(w.letters.all()) >= len(poison) })
		if got := w.sent.texts(7); !slices.Equal(got, texts) {
			t.Errorf("delivered %q, not %q", got, texts)
		}
		letters := w.letters.all()
		slices.SortFunc(letters, func(a, b foreignRecord) int { return int(a.origin().offset - b.origin().offset) })
		if len(letters) != len(poison) {
			t.Fatalf("%d dead letters, not %d", len(letters), len(poison))
		}
		for i, p := range poison {
			letter := letters[i]
			code, _ := letter.header(headerCode)
			sentence, _ := letter.header(headerSentence)
			if code != p.code || sentence == "" || letter.failures() != 1 {
				t.Errorf("%d: headers are %q", i, asLines(letter.headers))
			}
			if from := letter.origin(); from.topic != w.names.SystemMessages || from.partition != 0 || from.offset != int64(2*i) ||
				time.Since(time.UnixMilli(from.millis)) > time.Hour {
				t.Errorf("%d: it comes from %v", i, from)
			}
			if string(letter.value) != string(p.message.Value) || (letter.value == nil) != (p.message.Value == nil) {
				t.Errorf("%d: its value has %d bytes and is nil: %t", i, len(letter.value), letter.value == nil)
			}
			if string(letter.key) != string(p.message.Key) || (letter.key == nil) != (p.message.Key == nil) {
				t.Errorf("%d: its key is %q", i, letter.key)
			}
			for _, h := range p.message.Headers {
				if got, ok := letter.header(h.Key); !ok || got != string(h.Value) {
					t.Errorf("%d: its header %s is %q", i, h.Key, got)
				}
			}
		}
	})
}

// A compressed batch within the topic's limit may hold what no dead letter can.
func TestARecordThatIsLargerThanADeadLetterMayBeIsBuriedWithoutItsValue(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const size = 12 << 20
		w := newIngestWorld(t, cluster)
		writer := kafkago.Writer{
			Addr: cluster.Client().Addr, Topic: w.names.SystemMessages, RequiredAcks: kafkago.RequireAll, Transport: cluster.Client().Transport,
			BatchTimeout: time.Millisecond, BatchBytes: 2 * size, Compression: kafkago.Gzip,
		}
		err := writer.WriteMessages(brokertest.Context(t), kafkago.Message{Value: make([]byte, size)}, say(7, "after it"))
		if err != nil {
			t.Fatal(err)
		}
		w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 1 && len(w.letters.all()) == 1 })
		letter := describe(&w.letters.all()[0])
		if letter.Code != DeadTooLarge || !letter.LeftOut || letter.Size != size || letter.Value != nil || letter.FirstOffset != 0 {
			t.Errorf("the letter is of %d bytes, left out: %t, %s", letter.Size, letter.LeftOut, letter.Code)
		}
	})
}

// What is refused must not hold up the partition, however it was made too large.
func TestARecordThatIsLargeWithoutItsValueIsBuriedAllTheSame(t *testing.T) {
	large := make([]byte, 6<<20)
	for what, record := range map[string]struct {
		message      kafkago.Message
		headers, key string // how much of them is left out
	}{
		"a key":    {kafkago.Message{Key: large, Value: []byte("{"), Headers: []kafkago.Header{textHeader("a", "b")}}, "1", "6291456"},
		"a header": {kafkago.Message{Key: []byte("k"), Value: []byte("{"), Headers: []kafkago.Header{{Key: "a", Value: large}}}, "1", ""},
		"a name":   {kafkago.Message{Value: []byte("{"), Headers: []kafkago.Header{{Key: headerOriginalTopic, Value: large}, textHeader(headerOriginalPartition, "0"), textHeader(headerOriginalOffset, "0"), textHeader(headerOriginalTimestamp, "0")}}, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
				w := newIngestWorld(t, cluster)
				writer := kafkago.Writer{
					Addr: cluster.Client().Addr, Topic: w.names.SystemMessages, RequiredAcks: kafkago.RequireAll, Transport: cluster.Client().Transport,
					BatchTimeout: time.Millisecond, BatchBytes: 2 * int64(len(large)), Compression: kafkago.Gzip,
				}
				if err := writer.WriteMessages(brokertest.Context(t), record.message, say(7, "after it")); err != nil {
					t.Fatal(err)
				}
				w.ingest()
				brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 1 && len(w.letters.all()) == 1 })
				letter := w.letters.all()[0]
				headers, _ := letter.header(headerHeadersLeftOut)
				key, _ := letter.header(headerKeyLeftOut)
				if headers != record.headers || key != record.key {
					t.Errorf("%q headers and %q bytes of the key are left out", headers, key)
				}
				if described := describe(&letter); described.Code != DeadInvalidJSON {
					t.Errorf("it is buried as %s", described.Code)
				}
			})
		})
	}
}

func TestATransientFailureIsTriedAgainUnderTheSameIDAndNeverBuried(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const each = 5
		w := newIngestWorld(t, cluster)
		tries := make(map[domain.EventID]int)
		outcomes := []error{
			domain.NewError(domain.CodeUnavailable, "away"), domain.NewError(domain.CodeUnconfirmed, "unknown"),
			fmt.Errorf("a database that is away"), domain.NewError(domain.CodeInternal, "broken"), domain.NewError(domain.CodeUnavailable, "away"),
		}
		w.sent.refuse = func(c messaging.SystemMessageCommand) error {
			tries[c.ID]++
			if try := tries[c.ID]; try <= each {
				return outcomes[try-1]
			}
			return nil
		}
		w.write(say(7, "a"), say(7, "b"), say(8, "c"))
		stop := w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 2 && len(w.sent.texts(8)) == 1 })
		stop()
		if got := w.sent.texts(7); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("delivered %q", got)
		}
		if len(tries) != 3 {
			t.Errorf("tried under %d ids", len(tries))
		}
		if letters := w.letters.all(); len(letters) > 0 {
			t.Errorf("%d dead letters", len(letters))
		}
	})
}

func TestAUserWhoseLoginIsStillBeingReadIsNotTakenToBeOffline(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		online := false
		w.sent.refuse = func(messaging.SystemMessageCommand) error {
			if !online {
				return domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
			}
			return nil
		}
		i := New(cluster, Options{Messages: w.sent, DeadLetters: w.dead, Logger: brokertest.Logger(t), Presence: func(context.Context) error {
			w.sent.mu.Lock()
			defer w.sent.mu.Unlock()
			online = true
			return nil
		}})
		record := foreign(good)
		(&partition{ingest: i}).deliverAll(brokertest.Context(t), []foreignRecord{record})
		if got := w.sent.texts(7); len(got) != 1 {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestRecordsAreDeliveredUnderTheirOwnIDsInTheirForms(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		event := kafkago.Message{Value: []byte(good), Headers: []kafkago.Header{
			textHeader(ceSpecVersion, "1.0"), textHeader(ceID, "a"), textHeader(ceSource, "/games"), textHeader(ceType, "t"),
		}}
		whole := kafkago.Message{
			Value: []byte(structured(`"data":` + good)), Headers: []kafkago.Header{textHeader("content-type", "application/cloudevents+json")},
		}
		w.write(event, whole, say(7, "m"), say(7, "m"))
		w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.ids(7)) >= 4 })
		ids := w.sent.ids(7)
		if want := domain.DerivedID(idKind, "/games\na"); ids[0] != want || ids[1] != want {
			t.Errorf("the event's ids are %s and %s, not %s", ids[0], ids[1], want)
		}
		if ids[2] == ids[3] || ids[2] == ids[0] {
			t.Errorf("other records' ids are %s and %s", ids[2], ids[3])
		}
	})
}

// A node that dies after it delivered and before it committed has its records delivered again.
func TestWhatWasNotCommittedIsDeliveredAgainUnderTheSameIDs(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		w.write(say(7, "a"), say(7, "b"), say(8, "stuck"))
		block := true
		w.sent.refuse = func(c messaging.SystemMessageCommand) error {
			if c.Message.To == 8 && block {
				return domain.NewError(domain.CodeUnavailable, "away")
			}
			return nil
		}
		stop := w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.ids(7)) == 2 })
		stop() // the three are one run, which is not committed
		w.sent.mu.Lock()
		block = false
		w.sent.mu.Unlock()
		stop = w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.ids(8)) == 1 && len(w.sent.ids(7)) >= 4 })
		stop()
		ids := w.sent.ids(7)
		if len(ids) != 4 || ids[0] != ids[2] || ids[1] != ids[3] || ids[0] == ids[1] {
			t.Errorf("delivered as %v", ids)
		}
		// What was committed is not.
		w.write(say(9, "last"))
		w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.ids(9)) == 1 })
		if len(w.sent.ids(7)) != 4 || len(w.sent.ids(8)) != 1 {
			t.Errorf("delivered again: %v %v", w.sent.ids(7), w.sent.ids(8))
		}
	})
}

func TestTheOrderOfMessagesToOneUserIsKept(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const users, each = 10, 100
		w := newIngestWorld(t, cluster)
		var messages []kafkago.Message
		var want []string
		for i := range each {
			want = append(want, fmt.Sprint(i))
			for user := range domain.UserID(users) {
				messages = append(messages, say(user+1, fmt.Sprint(i)))
			}
		}
		w.write(messages...)
		w.ingest()
		for user := range domain.UserID(users) {
			brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(user+1)) >= each })
			if got := w.sent.texts(user + 1); !slices.Equal(got, want) {
				t.Errorf("user %d got %q", user+1, got)
			}
		}
	})
}

// As an embedded topic does whose records have all expired.
func TestTheIngestOfATopicMadeAnewReadsItFromItsStart(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		w := newIngestWorld(t, cluster)
		logtest.Commit(t, cluster, w.names.SystemMessages, w.names.SystemMessages, 1000)
		w.write(say(7, "a"))
		w.ingest()
		brokertest.WaitUntil(t, func() bool { return len(w.sent.texts(7)) == 1 })
	})
}
