package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"
)

func TestWhoWatchesAPartitionIsWokenAndForgotten(t *testing.T) {
	var a appends
	p := func(topic string, number int32) partition { return partition{topic: topic, number: number} }
	both, stopBoth := a.watch([]partition{p("a", 0), p("a", 1)})
	one, stopOne := a.watch([]partition{p("a", 1)})
	woken := func(grown <-chan struct{}) bool {
		select {
		case <-grown:
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		grew      []partition
		both, one bool
	}{
		{nil, false, false},
		{[]partition{p("b", 0), p("a", 2)}, false, false},
		{[]partition{p("a", 0)}, true, false},
		{[]partition{p("a", 1), p("a", 0), p("a", 1)}, true, true}, // once, however many grew
	} {
		a.happened(c.grew)
		if gotBoth, gotOne := woken(both), woken(one); gotBoth != c.both || gotOne != c.one || woken(both) || woken(one) {
			t.Errorf("%v: woken %v and %v", c.grew, gotBoth, gotOne)
		}
	}
	stopBoth()
	a.happened([]partition{p("a", 0), p("a", 1)})
	if woken(both) || !woken(one) {
		t.Error("who has stopped is woken, or who has not is not")
	}
	stopOne()
	if len(a.waiting) != 0 {
		t.Errorf("%v is kept of who has stopped", a.waiting)
	}
}

func TestAnAnswerHasNewsIfItSaysAnything(t *testing.T) {
	answer := func(change func(*kmsg.FetchResponse)) []byte {
		response := kmsg.NewPtrFetchResponse()
		response.SetVersion(11)
		response.Topics = []kmsg.FetchResponseTopic{{Topic: "a", Partitions: []kmsg.FetchResponseTopicPartition{{}, {Partition: 1}}}}
		change(response)
		return frameAnswer(7, response)
	}
	for name, c := range map[string]struct {
		answer []byte
		news   bool
	}{
		"nothing":              {answer(func(*kmsg.FetchResponse) {}), false},
		"records":              {answer(func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[1].RecordBatches = []byte{1} }), true},
		"an error":             {answer(func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[1].ErrorCode = 1 }), true},
		"an error of them all": {answer(func(r *kmsg.FetchResponse) { r.ErrorCode = 1 }), true},
		"no topic":             {answer(func(r *kmsg.FetchResponse) { r.Topics = nil }), true},
		"unreadable":           {answer(func(*kmsg.FetchResponse) {})[:answerHead+3], true},
		"cut off":              {answer(func(*kmsg.FetchResponse) {})[:answerHead+40], true},
	} {
		if hasNews(c.answer, 11) != c.news {
			t.Errorf("%s: %v", name, !c.news)
		}
	}
}

// TestAFetchThatIsToldNotToWaitDoesNot, and sessions are refused in a way that clients do without.
func TestAFetchThatIsToldNotToWaitDoesNot(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "fetch", 2)
	conn := dialRaw(t, b.Addr()) // with a deadline of 30 s for all of it
	fetch := fetchRequest("fetch", 0, time.Hour)
	fetch.MinBytes = 0
	if err := asked(t, conn, fetch); err != nil {
		t.Errorf("a fetch of no bytes at least: %v", err)
	}
	fetch = fetchRequest("fetch", 0, time.Hour)
	fetch.MinBytes, fetch.SessionID, fetch.SessionEpoch = 1, 5, 1
	const noSession = 70
	if code := answered(t, b.Addr(), fetch).(*kmsg.FetchResponse).ErrorCode; code != noSession {
		t.Errorf("a fetch in a session: error %d", code)
	}
	// A new session is answered as no session.
	fetch = fetchRequest("fetch", 0, 0)
	fetch.SessionID, fetch.SessionEpoch = 0, 0
	if got := answered(t, b.Addr(), fetch).(*kmsg.FetchResponse); got.ErrorCode != 0 || got.SessionID != 0 {
		t.Errorf("a new session: %+v", got)
	}
}

// TestAConnectionServesOnAfterAFetchInVain: nobody else reads from it any more.
func TestAConnectionServesOnAfterAFetchInVain(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "vain", 1)
	conn := dialRaw(t, b.Addr())
	for range 50 {
		if err := asked(t, conn, fetchRequest("vain", 0, time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAConnectionHasOneWayToKfake, whatever it asks, and leaves none behind.
func TestAConnectionHasOneWayToKfake(t *testing.T) {
	b := start(t, t.TempDir())
	lanes := func() int {
		b.guard.engine.mu.Lock()
		defer b.guard.engine.mu.Unlock()
		return len(b.guard.engine.lanes)
	}
	isAlive(t, b.Addr())
	isAlive(t, b.Addr()) // both turns have a lane now
	before := lanes()
	conn, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := exchange(conn, frameOf(versioned(kmsg.NewPtrMetadataRequest()))); err != nil {
			t.Fatal(err)
		}
	}
	if now := lanes(); now != before+1 {
		t.Errorf("%d ways to kfake, before the connection there were %d", now, before)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return lanes() == before })
	until(t, func() bool {
		b.guard.mu.Lock()
		defer b.guard.mu.Unlock()
		return len(b.guard.own) == 0 && len(b.guard.clients) == 0
	})
}

// TestNewMembersAndProducersHaveARateEach, which the server itself has not.
func TestNewMembersAndProducersHaveARateEach(t *testing.T) {
	for _, full := range []kmsg.Key{kmsg.JoinGroup, kmsg.InitProducerID} {
		b := startWith(t, func(g *guard) {
			none := rate.NewLimiter(1, 0)
			if full == kmsg.JoinGroup {
				g.joins = none
			} else {
				g.producers = none
			}
		})
		join := versioned(kmsg.NewPtrJoinGroupRequest())
		join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "g", 6000, 6000, "consumer"
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		for _, request := range []kmsg.Request{join, versioned(kmsg.NewPtrInitProducerIDRequest())} {
			err := ask(t.Context(), b.Addr(), request, responseTo(request))
			if isFull := kmsg.Key(request.Key()) == full; (err != nil) != isFull {
				t.Errorf("%T where there is room for none with key %d: %v", request, full, err)
			} else if isFull {
				ownAsks(t, b, request)
			}
		}
	}
}

// TestRoomIsGivenBack after large requests and answers, good ones and bad ones.
func TestRoomIsGivenBack(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "room", 1)
	large := batchOf(noStamp, time.Now(), strings.Repeat("x", 900<<10))
	for range 3 {
		mustProduce(t, b.Addr(), "room", large)
		if _, code, _ := produce(t, b.Addr(), "no-such-topic", large); code == 0 {
			t.Error("produced to a topic that is not there")
		}
		answered(t, b.Addr(), fetchRequest("room", 0, 0))
		broken := append(binary.BigEndian.AppendUint32(nil, 1<<20), frameOf(produceRequest("room", 0, large))...)
		conn := dialRaw(t, b.Addr())
		_, _ = conn.Write(broken)
		_ = conn.Close()
	}
	until(t, func() bool {
		b.guard.mu.Lock()
		defer b.guard.mu.Unlock()
		return len(b.guard.clients) == 0
	})
	if !b.guard.requests.TryAcquire(MinClientBytes/2) || !b.guard.answers.TryAcquire(MinClientBytes/2) {
		t.Error("room is held by nobody")
	}
	b.guard.requests.Release(MinClientBytes / 2)
	b.guard.answers.Release(MinClientBytes / 2)
	more := newGuard(b.guard.listener, Options{ClientBytes: 2 * MinClientBytes})
	defer more.cancel()
	if !more.requests.TryAcquire(MinClientBytes) || more.requests.TryAcquire(1) || !more.answers.TryAcquire(MinClientBytes) || more.answers.TryAcquire(1) {
		t.Error("not half of what is configured for requests, and half for answers")
	}
}

// TestASmallRequestNeedsNoRoom: it is answered while large ones hold all there is.
func TestASmallRequestNeedsNoRoom(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "small", 1)
	if !b.guard.requests.TryAcquire(MinClientBytes / 2) {
		t.Fatal("room is held by nobody")
	}
	defer b.guard.requests.Release(MinClientBytes / 2)
	isAlive(t, b.Addr())
	of := func(size int) kmsg.Request {
		return produceRequest("small", 0, batchOf(noStamp, time.Now(), strings.Repeat("x", size)))
	}
	size := smallFrame - (len(frameOf(of(smallFrame/2))) - smallFrame/2)
	if n := len(frameOf(of(size))); n != smallFrame {
		t.Fatalf("%d bytes", n)
	}
	if err := asked(t, dialRaw(t, b.Addr()), of(size)); err != nil {
		t.Errorf("the largest of the small ones: %v", err)
	}
}

// TestALargeAnswerWaitsForRoom, which the server's own does not need.
func TestALargeAnswerWaitsForRoom(t *testing.T) {
	b := startWith(t, func(g *guard) { g.stallTimeout = time.Second })
	describe := versioned(kmsg.NewPtrDescribeConfigsRequest())
	create := versioned(kmsg.NewPtrCreateTopicsRequest())
	for i := range maxNamed {
		name := fmt.Sprint("topic-with-settings-", i)
		create.Topics = append(create.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1})
		describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name})
	}
	answered(t, b.Addr(), create)
	answer := answered(t, b.Addr(), describe)
	if size := len(answer.AppendTo(nil)); size <= smallFrame {
		t.Fatalf("%d bytes show nothing about room", size)
	}
	until(t, func() bool { return b.guard.answers.TryAcquire(MinClientBytes / 2) })
	if err := ask(t.Context(), b.Addr(), describe, responseTo(describe)); err == nil {
		t.Error("answered without room")
	}
	isAlive(t, b.Addr()) // a small answer needs none
	ownAsks(t, b, describe)
	b.guard.answers.Release(MinClientBytes / 2)
	answered(t, b.Addr(), describe)
}

// engineOf serves lanes as kfake does, with an answer of a size that it claims.
func engineOf(t *testing.T, answer func(request []byte) []byte) *engine {
	t.Helper()
	e := newEngine(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := e.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					var size [4]byte
					if _, err := io.ReadFull(conn, size[:]); err != nil {
						return
					}
					request := make([]byte, binary.BigEndian.Uint32(size[:]))
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					if _, err := conn.Write(answer(request)); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = e.Close(); <-served })
	return e
}

func TestALaneCarriesOneAnswer(t *testing.T) {
	e := engineOf(t, func(request []byte) []byte { return request })
	if _, err := e.dial(e.addr); err != nil { // it stays
		t.Fatal(err)
	}
	for claimed, c := range map[uint32]struct {
		body int
		good bool
	}{4: {4, true}, 5: {5, true}, 3: {3, false}, 0: {0, false}, maxAnswer + 1: {0, false}, 1<<32 - 1: {0, false}} {
		l, err := e.dial(e.addr)
		if err != nil {
			t.Fatal(err)
		}
		want := append(binary.BigEndian.AppendUint32(nil, claimed), make([]byte, c.body)...)
		got, err := l.send(want, laneLimit)
		if (err == nil) != c.good || c.good && string(got) != string(want) {
			t.Errorf("an answer of %d bytes: %d, %v", claimed, len(got), err)
		}
		l.close()
	}
	if len(e.lanes) != 1 {
		t.Errorf("%d lanes are known", len(e.lanes))
	}
	silent := engineOf(t, func([]byte) []byte { return nil })
	l, err := silent.dial(silent.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.send([]byte("x"), time.Nanosecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if err := errors.Join(silent.Close(), silent.Close()); err != nil {
		t.Error(err)
	}
	if _, err := silent.dial(silent.addr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := silent.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after Close: %v", err)
	}
}

func TestATurnIsGivenBackWhateverBecameOfIt(t *testing.T) {
	e := engineOf(t, func(request []byte) []byte { return request })
	turns := newTurns(e, 2)
	never := make(chan struct{})
	first, err := turns.take(never)
	if err != nil {
		t.Fatal(err)
	}
	second, err := turns.take(never)
	if err != nil || first == second {
		t.Fatalf("%v, one lane for two turns: %v", err, first == second)
	}
	gone := make(chan struct{})
	close(gone)
	if _, err := turns.take(gone); !errors.Is(err, errGone) {
		t.Errorf("a third turn: %v", err)
	}
	turns.giveBack(first, nil)
	if again, err := turns.take(never); err != nil || again != first {
		t.Errorf("the lane is not used again: %v", err)
	}
	turns.giveBack(first, errors.New("broken"))
	fresh, err := turns.take(never)
	if err != nil || fresh == first || len(e.lanes) != 2 {
		t.Errorf("a broken lane is used again: %v, %d lanes", err, len(e.lanes))
	}
	turns.giveBack(fresh, errors.New("broken"))
	_ = e.Close()
	for range 3 { // a turn is not lost where there is no lane
		if _, err := turns.take(never); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
	// What was refused before it was sent has not used the lane.
	e = engineOf(t, func(request []byte) []byte { return request })
	c := &client{guard: &guard{turns: newTurns(e, 1)}, ctx: t.Context()}
	var used []*lane
	for _, outcome := range []error{refuse("no"), nil, errors.New("broken"), nil} {
		if err := c.turn(func(l *lane) error { used = append(used, l); return outcome }); !errors.Is(err, outcome) {
			t.Errorf("%v, want %v", err, outcome)
		}
	}
	if used[0] != used[1] || used[1] != used[2] || used[2] == used[3] {
		t.Errorf("lanes %p", used)
	}
}

// TestTheLogIsWatched without anybody asking: the broker ends within seconds when its files are taken away.
func TestTheLogIsWatched(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "watched", 1)
	mustProduce(t, b.Addr(), "watched", batchOf(noStamp, time.Now(), "x"))
	b.checkFiles()
	if err := os.RemoveAll(filepath.Join(dir, partsDir)); err != nil {
		t.Fatal(err)
	}
	<-b.Failed()
}

// TestRetentionGoesByTheRecordsTimeToTheMillisecond, each topic by its own and by seven days where it has none.
func TestRetentionGoesByTheRecordsTimeToTheMillisecond(t *testing.T) {
	b := start(t, t.TempDir())
	now := time.UnixMilli(time.Now().Add(30 * time.Minute).UnixMilli()) // after what the broker itself applies meanwhile
	for name, keep := range map[string]string{"week": "", "hour": "3600000", "none": "0", "ever": "-1", "eras": "9223372036854775807", "1970": fmt.Sprint(now.UnixMilli() + 1)} {
		var configs []string
		if keep != "" {
			configs = []string{"retention.ms", keep}
		}
		createTopic(t, b.Addr(), name, 2, configs...) // the second partition stays empty
		for i := range 3 {
			mustProduce(t, b.Addr(), name, batchOf(noStamp, now, fmt.Sprint(i)))
		}
	}
	r := &retention{cluster: b.cluster, engine: b.guard.engine, logger: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		after time.Duration
		left  map[string]int
	}{
		{0, map[string]int{"week": 3, "hour": 3, "none": 3, "ever": 3, "eras": 3, "1970": 3}},
		{time.Millisecond, map[string]int{"week": 3, "hour": 3, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{time.Hour, map[string]int{"week": 3, "hour": 3, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{time.Hour + time.Millisecond, map[string]int{"week": 3, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{7 * 24 * time.Hour, map[string]int{"week": 3, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{7*24*time.Hour + time.Millisecond, map[string]int{"week": 1, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
	} {
		if err := r.apply(t.Context(), now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		for name, want := range c.left {
			if begin := listOffset(t, b.Addr(), name, -2); begin != int64(3-want) {
				t.Errorf("after %v %s begins at %d, want %d left", c.after, name, begin, want)
			}
		}
	}
}

// TestRetentionBeginsWithTheBroker, not with its clock's first tick.
func TestRetentionBeginsWithTheBroker(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 40 * time.Hour, 0} {
		mustProduce(t, b.Addr(), "old", batchOf(noStamp, time.Now().Add(-age), "x"))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	until(t, func() bool { return listOffset(t, b.Addr(), "old", -2) == 2 })
	if err := b.Close(); err != nil || logged.Len() > 0 {
		t.Errorf("%v, logged: %s", err, &logged)
	}
}

// TestPartsOfOneAnswerAreOneTopics: what is refused and what is stored of a topic are answered together.
func TestPartsOfOneAnswerAreOneTopics(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "a", 2)
	createTopic(t, b.Addr(), "b", 1)
	bad := batchOf(noStamp, time.Now().Add(48*time.Hour), "x")
	request := produceRequest("a", 0, bad)
	request.Topics[0].Partitions = append(request.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: 1, Records: batchOf(noStamp, time.Now(), "x")})
	request.Topics = append(request.Topics, produceRequest("b", 0, bad).Topics...)
	var got []string
	for _, topic := range answered(t, b.Addr(), request).(*kmsg.ProduceResponse).Topics {
		for _, of := range topic.Partitions {
			got = append(got, fmt.Sprint(topic.Topic, of.Partition, " ", of.ErrorCode, " ", of.BaseOffset))
		}
	}
	if want := []string{"a0 32 -1", "b0 32 -1", "a1 0 0"}; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFramesOfEachSizeArriveWhole: they are read and written in parts, from some sizes on.
func TestFramesOfEachSizeArriveWhole(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "sizes", 1)
	value := func(n int) string {
		return strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ#", n/63+1)[:n] // 63 letters: no part is like the next
	}
	var want []string
	for _, size := range []int{smallFrame - 1, smallFrame, smallFrame + 1, 2*smallFrame - 1, 2 * smallFrame, 2*smallFrame + 1, 5*smallFrame + 17} {
		n := size
		for frame := 0; frame != size; n -= frame - size {
			frame = len(frameOf(produceRequest("sizes", 0, batchOf(noStamp, time.Now(), value(n)))))
			if frame == size {
				break
			}
		}
		want = append(want, value(n))
		mustProduce(t, b.Addr(), "sizes", batchOf(noStamp, time.Now(), value(n)))
	}
	records := readAll(t, b.Addr(), "sizes")
	for i, record := range records {
		if record.value != want[i] {
			t.Errorf("record %d of %d bytes is another, of %d", i, len(want[i]), len(record.value))
		}
	}
	if len(records) != len(want) {
		t.Errorf("%d records, want %d", len(records), len(want))
	}
}

// TestWhoNeverAskedForAnythingMakesRoom as well.
func TestWhoNeverAskedForAnythingMakesRoom(t *testing.T) {
	b := startWith(t, func(g *guard) { g.limit, g.spareIdle = 1, 0 })
	silent := dialRaw(t, b.Addr())
	until(t, func() bool {
		b.guard.mu.Lock()
		defer b.guard.mu.Unlock()
		return len(b.guard.clients) == 1
	})
	if err := asked(t, dialRaw(t, b.Addr()), versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Error(err)
	}
	isClosed(t, silent)
}

// TestAFetchThatWaitsIsWokenByWhoeverWrites: a client or the server itself.
func TestAFetchThatWaitsIsWokenByWhoeverWrites(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "woken", 1)
	write := produceRequest("woken", 0, batchOf(noStamp, time.Now(), "x"))
	for i, produce := range []func(){
		func() { answered(t, b.Addr(), write) }, func() { ownAsks(t, b, write) },
	} {
		answer := make(chan int, 1)
		go func() {
			request := fetchRequest("woken", int64(i), maxFetchWait)
			response := responseTo(request).(*kmsg.FetchResponse)
			if err := ask(t.Context(), b.Addr(), request, response); err != nil || len(response.Topics) != 1 {
				answer <- -1
				return
			}
			answer <- len(response.Topics[0].Partitions[0].RecordBatches)
		}()
		until(t, func() bool {
			b.guard.appends.mu.Lock()
			defer b.guard.appends.mu.Unlock()
			return len(b.guard.appends.waiting) == 1
		})
		until(t, func() bool { // it has asked once, and holds room for no answer
			return b.guard.answers.TryAcquire(MinClientBytes/2) && func() bool { b.guard.answers.Release(MinClientBytes / 2); return true }()
		})
		produce()
		if size := <-answer; size <= 0 {
			t.Errorf("writer %d: the fetch was answered with %d bytes", i, size)
		}
		until(t, func() bool {
			b.guard.appends.mu.Lock()
			defer b.guard.appends.mu.Unlock()
			return len(b.guard.appends.waiting) == 0
		})
	}
}
