package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/async"
	"chatting/application/ledger"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// unbounded is a ledger with room for everybody.
func unbounded() *ledger.ByteLedger { return ledger.NewByteLedger(0, 0, time.Now) }

// saidLog is a topic with messages, and its past.
type saidLog struct {
	log  *Conversations
	past *Past
}

func newSaidLog(t *testing.T, cluster *logclient.Cluster, partitions int, options PastOptions) *saidLog {
	t.Helper()
	names := testTopics(t, cluster, partitions)
	appender := testAppender(t, cluster, names.Conversations, partitions)
	s := &saidLog{log: NewConversations(cluster, appender)}
	options.Topic = names.Conversations
	if options.Ledger == nil {
		options.Ledger = unbounded()
	}
	s.past = NewPast(cluster, options)
	t.Cleanup(func() {
		s.past.Close()
		s.log.Close()
		appender.Close(brokertest.Context(t))
	})
	return s
}

// say appends a message and returns its event.
func (s *saidLog) say(t *testing.T, from, to domain.UserID, text string) domain.EventID {
	t.Helper()
	event := domain.Event{
		ID: domain.DerivedID("test", t.Name()+text), Time: time.Now().UTC().Truncate(time.Millisecond),
		Body: domain.ChatMessage{From: from, To: to, Text: mustText(t, text)},
	}
	if err := port.AppendAndWait(brokertest.Context(t), s.log, event); err != nil {
		t.Fatal(err)
	}
	return event.ID
}

func (s *saidLog) ends(t *testing.T) []int64 {
	t.Helper()
	ends, err := s.log.EndOffsets(brokertest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// idsOf opens records, and returns the ids of their events by partition.
func idsOf(t *testing.T, records []port.Record) map[int][]domain.EventID {
	t.Helper()
	ids := make(map[int][]domain.EventID)
	last := make(map[int]int64)
	for _, record := range records {
		event, frame, err := record.Open()
		if err != nil || len(frame) == 0 || event.Body.Conversation() != record.Conversation() || record.Time().IsZero() || record.ConcernsInvites() {
			t.Errorf("record %v is %v, %q, %v", record.Place(), event, frame, err)
		}
		at := record.Place()
		if before, ok := last[at.Partition]; ok && at.Offset <= before {
			t.Errorf("offset %d comes after %d", at.Offset, before)
		}
		last[at.Partition] = at.Offset
		ids[at.Partition] = append(ids[at.Partition], event.ID)
	}
	return ids
}

func TestTheLogIsReadOnceMoreForWhoLogsIn(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		s := newSaidLog(t, cluster, 3, PastOptions{Records: 1000, Bytes: 1 << 20})
		s.say(t, 9, 10, "before")
		from := s.ends(t)
		var want []domain.EventID
		for n := range 20 {
			other := domain.UserID(20 + n)
			want = append(want, s.say(t, 9, other, fmt.Sprint("to ", n)), s.say(t, other, 9, fmt.Sprint("from ", n)))
			s.say(t, other, other+1, fmt.Sprint("of others ", n))
		}
		want = append(want, s.say(t, 9, 9, "to itself"))
		to := s.ends(t)
		s.say(t, 9, 10, "after")
		read, err := s.past.Read(brokertest.Context(t), past.Stretch{User: 9, From: from, To: to}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		got := make(map[domain.EventID]bool)
		for _, ids := range idsOf(t, read.Records) {
			for _, id := range ids {
				got[id] = true
			}
		}
		if len(read.Records) != len(want) || len(got) != len(want) || !slices.Equal(read.From, from) || !slices.Equal(read.To, to) {
			t.Errorf("%d records, %d events, complete from %v; want %d from %v", len(read.Records), len(got), read.From, len(want), from)
		}
		for _, id := range want {
			if !got[id] {
				t.Errorf("%s is missing", id)
			}
		}
		nothing, err := s.past.Read(brokertest.Context(t), past.Stretch{User: 9, From: to, To: from}, func() {})
		if err != nil || len(nothing.Records) != 0 || !slices.Equal(nothing.From, from) {
			t.Errorf("of no stretch at all: %v, %v", nothing, err)
		}
		nothing.Close()
	})
}

func TestReadersOfThePastShareScans(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		s := newSaidLog(t, cluster, 2, PastOptions{Records: 1000, Bytes: 1 << 20})
		const users = 30
		for user := domain.UserID(1); user <= users; user++ {
			s.say(t, user, user+1, fmt.Sprint(user))
		}
		to := s.ends(t)
		var readers sync.WaitGroup
		for user := domain.UserID(1); user <= users; user++ {
			readers.Go(func() {
				read, err := s.past.Read(brokertest.Context(t), past.Stretch{User: user, From: []int64{0, 0}, To: to}, func() {})
				if err != nil {
					t.Error(err)
					return
				}
				defer read.Close()
				if want := min(2, int(user)); len(read.Records) != want {
					t.Errorf("%d gets %d records, want %d", user, len(read.Records), want)
				}
			})
		}
		readers.Wait()
		if held := s.past.options.Ledger.Held(); held != 0 {
			t.Errorf("%d bytes are held though all have closed", held)
		}
	})
}

// A reader that needs much has a slow broker read for long.
func TestReadersWhoNeedLittleDoNotWaitForThoseWhoNeedMuch(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		s := newSaidLog(t, cluster, 1, PastOptions{Records: 1000, Bytes: 1 << 20})
		for n := range 10 {
			s.say(t, 8, 9, fmt.Sprint(n))
		}
		s.past.little = 5
		begun, goOn := make(chan struct{}), make(chan struct{})
		s.past.far = async.NewRounds(0, func(waiting []*pastReader) (struct{}, error) {
			close(begun)
			<-goOn
			return struct{}{}, s.past.read(waiting, 1000)
		})
		to := s.ends(t)
		read := func(records int64) int {
			read, err := s.past.Read(brokertest.Context(t), past.Stretch{User: 9, From: []int64{to[0] - records}, To: to}, func() {})
			if err != nil {
				t.Error(err)
				return 0
			}
			defer read.Close()
			return len(read.Records)
		}
		far := make(chan int)
		go func() { far <- read(6) }()
		<-begun
		if got := read(5); got != 5 {
			t.Errorf("who needs little gets %d records, want 5", got)
		}
		close(goOn)
		if got := <-far; got != 6 {
			t.Errorf("who needs much gets %d records, want 6", got)
		}
	})
}

// newReader is a reader of one or more partitions, each from its first offset to its second.
func newReader(records, bytes int, user domain.UserID, stretches ...[2]int64) *pastReader {
	wanted := past.Stretch{User: user}
	for _, stretch := range stretches {
		wanted.From, wanted.To = append(wanted.From, stretch[0]), append(wanted.To, stretch[1])
	}
	return newPastReader(PastOptions{Records: records, Bytes: bytes, Ledger: unbounded()}, wanted, func() {})
}

func TestAScanIsForAllWhoWaitAsFarAsItStaysShort(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		s := newSaidLog(t, cluster, 2, PastOptions{Records: 10, Bytes: 1 << 20})
		for n := range 40 {
			s.say(t, 9, domain.UserID(10+n), fmt.Sprint(n))
		}
		ends := s.ends(t)
		oldest := newReader(10, 1<<20, 1, [2]int64{0, min(10, ends[0])}, [2]int64{0, 0})
		near := newReader(10, 1<<20, 2, [2]int64{2, min(7, ends[0])}, [2]int64{0, 3})
		far := newReader(10, 1<<20, 3, [2]int64{0, 0}, [2]int64{ends[1] - 2, ends[1]})
		if ends[1] < 14 {
			t.Fatalf("the keys are badly spread: %v", ends)
		}
		oldest.since = oldest.since.Add(-time.Minute)
		if err := s.past.read([]*pastReader{far, near, oldest}, 10); err != nil {
			t.Fatal(err)
		}
		// In the order of their waiting: 10 records, then 3 more, and then 11 more would be too many.
		far.since = far.since.Add(time.Minute)
		if !oldest.served || oldest.refused {
			t.Error("who has waited longest is not served")
		}
		if near.served == far.served && !near.served {
			t.Error("nobody shares the scan")
		}
	})
}

func TestStretchesAreShortenedToWhatIsNearestToTheirEnd(t *testing.T) {
	for _, test := range []struct {
		from, to []int64
		limit    int64
		want     []int64
	}{
		{[]int64{0, 0}, []int64{5, 5}, 10, []int64{0, 0}},
		{[]int64{0, 0}, []int64{5, 6}, 10, []int64{0, 1}},
		{[]int64{0, 0}, []int64{100, 100}, 10, []int64{95, 95}},
		{[]int64{0, 90, 0}, []int64{100, 92, 100}, 12, []int64{95, 90, 95}},
		{[]int64{7, 0}, []int64{7, 100}, 10, []int64{7, 90}},
		{[]int64{-5, 9}, []int64{3, 4}, 10, []int64{0, 4}},
		{[]int64{0, 0, 0}, []int64{1, 1, 1}, 0, []int64{1, 1, 1}},
		{nil, nil, 10, nil},
	} {
		if got := nearest(test.from, test.to, test.limit); !slices.Equal(got, test.want) {
			t.Errorf("from %v to %v, at most %d: from %v, want %v", test.from, test.to, test.limit, got, test.want)
		}
	}
}

func TestTheUnionOfStretchesHasBoth(t *testing.T) {
	from, to := union([]int64{0, 5, 9}, []int64{10, 5, 20}, []int64{3, 1, 30}, []int64{12, 2, 30})
	if !slices.Equal(from, []int64{0, 1, 9}) || !slices.Equal(to, []int64{12, 2, 20}) {
		t.Errorf("the union goes from %v to %v", from, to)
	}
	if from, to = union(nil, nil, []int64{1}, []int64{2}); !slices.Equal(from, []int64{1}) || !slices.Equal(to, []int64{2}) {
		t.Errorf("that of one goes from %v to %v", from, to)
	}
}

// recordOf is a record of a user with a value of so many bytes.
func recordOf(partition int, offset int64, bytes int) storedRecord {
	return storedRecord{at: domain.Place{Partition: partition, Offset: offset}, value: make([]byte, bytes)}
}

func TestAReaderKeepsTheNewestRecordsThatFit(t *testing.T) {
	const each = 1000 - pastBytes
	r := newReader(1000, 4*1000, 9, [2]int64{0, 100}, [2]int64{10, 100})
	for offset := range int64(4) {
		r.take(recordOf(0, offset, each))
	}
	if r.bytes != 4000 || r.from[0] != 0 {
		t.Fatalf("%d bytes from %v on", r.bytes, r.from)
	}
	r.take(recordOf(1, 9, each)) // before its stretch
	r.take(recordOf(1, 100, each))
	r.take(recordOf(1, 50, each)) // one of partition 0 has to leave
	r.take(recordOf(0, 4, each))
	if got := len(r.records()); got != 4 || !slices.Equal(r.from, []int64{2, 10}) {
		t.Errorf("%d records, complete from %v", got, r.from)
	}
	r.take(recordOf(1, 60, 5000)) // more than fits at all
	if got := len(r.records()); got != 0 || !slices.Equal(r.from, []int64{5, 61}) {
		t.Errorf("%d records, complete from %v", got, r.from)
	}
	if r.bytes != 0 {
		t.Errorf("%d bytes are left", r.bytes)
	}
}

func TestAReaderThatWantsTheBeginningKeepsTheFirstRecordsThatFit(t *testing.T) {
	const each = 1000 - pastBytes
	r := newReader(1000, 3*1000, 9, [2]int64{0, 100}, [2]int64{10, 100}, [2]int64{0, 5})
	r.beginningFirst = true
	for offset := range int64(4) {
		r.take(recordOf(0, offset, each))
	}
	r.take(recordOf(0, 4, 1)) // behind one that was left
	r.take(recordOf(1, 20, each))
	if got := len(r.records()); got != 3 || r.bytes != 3000 || !slices.Equal(r.from, []int64{0, 10, 0}) || !slices.Equal(r.upTo, []int64{3, 20, 5}) {
		t.Errorf("%d records, complete from %v to %v", got, r.from, r.upTo)
	}
	r = newReader(1000, 1000, 9, [2]int64{0, 100})
	r.beginningFirst = true
	r.take(recordOf(0, 0, 5000)) // it would never fit
	r.take(recordOf(0, 1, 1))
	if got := len(r.records()); got != 1 || r.upTo[0] != 1 {
		t.Errorf("%d records, complete up to %v", got, r.upTo)
	}
	if r.lose(0, 7); r.from[0] != 7 || r.upTo[0] != 7 || len(r.records()) != 0 {
		t.Errorf("if all is lost it is complete from %v to %v", r.from, r.upTo)
	}
}

// Without the changes behind its part, a reader could not tell what the blocks were in it.
func TestAReaderThatWantsTheBeginningGetsAllChangesOfBlocks(t *testing.T) {
	value, err := EncodeEvent(domain.Event{
		ID: domain.DerivedID("test", "x"), Body: domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	change := func(offset int64) storedRecord {
		return storedRecord{at: domain.Place{Offset: offset}, value: value}
	}
	r := newReader(10_000, 1000, 9, [2]int64{0, 10_000})
	r.beginningFirst = true
	r.take(change(0))
	r.take(recordOf(0, 1, 900))
	r.take(change(2))
	r.take(recordOf(0, 3, 1))
	r.take(change(4))
	var offsets []int64
	for _, record := range r.records() {
		offsets = append(offsets, record.Place().Offset)
	}
	if !slices.Equal(offsets, []int64{0, 2, 4}) || r.upTo[0] != 1 || r.refused {
		t.Errorf("it gets %v, and is complete up to %v", offsets, r.upTo)
	}
	for offset := range int64(20) {
		r.take(change(10 + offset))
	}
	if !r.refused || r.bytes > 3*1000 {
		t.Errorf("it gets %d bytes of changes", r.bytes)
	}
}

func TestWhatTheLogHasLostIsNotComplete(t *testing.T) {
	scan := &pastScan{readers: make(map[domain.UserID][]*pastReader)}
	r := newReader(1000, 1<<20, 9, [2]int64{3, 10}, [2]int64{5, 5})
	scan.readers[9] = []*pastReader{r}
	scan.Lost(0, 2)
	r.take(recordOf(0, 3, 1))
	r.take(recordOf(0, 6, 1))
	scan.Lost(1, 8) // of which nothing is wanted
	if !slices.Equal(r.from, []int64{3, 5}) || len(r.records()) != 2 {
		t.Errorf("it is complete from %v", r.from)
	}
	scan.Lost(0, 6)
	if got := r.records(); r.from[0] != 6 || len(got) != 1 || got[0].Place().Offset != 6 {
		t.Errorf("behind a hole it is complete from %v, with %d records", r.from, len(got))
	}
	if scan.Lost(0, 20); r.from[0] != 10 || len(r.records()) != 0 {
		t.Errorf("if all is lost it is complete from %v", r.from)
	}
}

func TestWhatIsReadCountsForItsUserUntilItIsGivenBack(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		room := ledger.NewByteLedger(0, 3000, time.Now)
		s := newSaidLog(t, cluster, 1, PastOptions{Records: 1000, Bytes: 1 << 20, Ledger: room})
		s.say(t, 9, 10, strings.Repeat("a", 500))
		wanted := past.Stretch{User: 9, From: []int64{0}, To: s.ends(t)}
		first, err := s.past.Read(brokertest.Context(t), wanted, func() { t.Error("it was cut off") })
		if err != nil || room.Held() < 1000 {
			t.Fatalf("%d bytes are held, %v", room.Held(), err)
		}
		s.say(t, 9, 10, strings.Repeat("b", 1000))
		wanted.To = s.ends(t)
		if _, err := s.past.Read(brokertest.Context(t), wanted, func() {}); codeOf(err) != domain.CodeUnavailable {
			t.Errorf("without room: %v", err)
		}
		first.Close()
		first.Close()
		if room.Held() != 0 {
			t.Errorf("%d bytes are held once it is closed", room.Held())
		}
		again, err := s.past.Read(brokertest.Context(t), wanted, func() {})
		if err != nil || len(again.Records) != 2 {
			t.Fatalf("with room again: %v, %v", again, err)
		}
		again.Close()
	})
}

func TestAPastThatCannotBeReadIsUnavailable(t *testing.T) {
	cluster := logclient.NewCluster(logclient.ClusterOptions{Brokers: []string{"127.0.0.1:1"}, ClientID: "chatting"})
	t.Cleanup(cluster.Close)
	room := unbounded()
	log := NewPast(cluster, PastOptions{Topic: "away", Records: 10, Bytes: 1000, Ledger: room})
	wanted := past.Stretch{User: 9, From: []int64{0}, To: []int64{5}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := log.Read(ctx, wanted, func() {}); codeOf(err) != domain.CodeUnavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("of who leaves: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := log.Read(context.Background(), wanted, func() {})
		ended <- err
	}()
	log.stop() // the scan under way ends, and later ones do not begin
	if err := <-ended; codeOf(err) != domain.CodeUnavailable {
		t.Errorf("once it is closed: %v", err)
	}
	log.Close()
	if room.Held() != 0 {
		t.Errorf("%d bytes are held", room.Held())
	}
}

// 5,000 logins read what was said by everybody: what is none of theirs must cost them nothing.
func TestRecordsOfOthersMakeNoGarbageInAScan(t *testing.T) {
	scan := &pastScan{options: PastOptions{Live: func() bool { return false }}, readers: make(map[domain.UserID][]*pastReader)}
	for user := range domain.UserID(5000) {
		scan.readers[1000+user] = []*pastReader{newReader(1000, 1000, 1000+user, [2]int64{0, 10})}
	}
	_, value := saidBy9(t, "hello")
	record := &recordbatch.StoredRecord{Offset: 3, Key: []byte("9:10"), Value: value}
	if garbage := testing.AllocsPerRun(1000, func() { _ = scan.Take(record) }); garbage > 0 {
		t.Errorf("a record makes %v allocations", garbage)
	}
}

func TestScansHavePausesWhileChatIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := true
		p := &pauses{live: func() bool { return live }}
		scan := func(took time.Duration) (waited time.Duration) {
			asked := time.Now()
			p.await(t.Context())
			waited = time.Since(asked)
			began := time.Now()
			time.Sleep(took)
			p.scanned(began)
			return waited
		}
		long := 2 * maxPause
		for i, want := range []time.Duration{0, pauseAfter * time.Millisecond, pauseAfter * 2 * time.Millisecond, maxPause} {
			if waited := scan([]time.Duration{time.Millisecond, 2 * time.Millisecond, long, long}[i]); waited != want {
				t.Errorf("scan %d waited %s, want %s", i, waited, want)
			}
		}
		ended, end := context.WithCancel(t.Context())
		end()
		began := time.Now()
		p.await(ended)
		live = false
		p.await(t.Context())
		if waited := time.Since(began); waited != 0 {
			t.Errorf("without chat, or once the past is closed, a scan waited %s", waited)
		}
	})
}

func TestThoseWhomAScanServedGoOnInTurns(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		var turns atomic.Int32
		s := newSaidLog(t, cluster, 1, PastOptions{
			Records: 10, Bytes: 1000, Turns: async.NewTurns(1, time.Hour, func() bool { turns.Add(1); return false }),
		})
		s.say(t, 9, 10, "hello")
		for i := range int32(2) {
			read, err := s.past.Read(brokertest.Context(t), past.Stretch{User: 9, From: []int64{0}, To: s.ends(t)}, func() {})
			if err != nil || len(read.Records) != 1 || turns.Load() != i+1 {
				t.Fatalf("%d records, %v, %d turns", len(read.Records), err, turns.Load())
			}
			read.Close()
		}
	})
}

func TestAScanRestsWhileChatIsDelivered(t *testing.T) {
	asked := 0
	scan := &pastScan{options: PastOptions{Live: func() bool { asked++; return false }}, readers: make(map[domain.UserID][]*pastReader)}
	for range 3 * restAfter {
		_ = scan.Take(&recordbatch.StoredRecord{Key: []byte("9:10")})
	}
	if asked != 3 {
		t.Errorf("it was asked %d times whether chat is delivered", asked)
	}
}
