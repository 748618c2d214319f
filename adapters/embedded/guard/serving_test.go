package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"

	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
	"chatting/test/kafkawire"
)

func TestWhoWatchesAPartitionIsWokenAndForgotten(t *testing.T) {
	var a appends
	p := func(topic string, number int32) logdir.Partition {
		return logdir.Partition{Topic: topic, Number: number}
	}
	both, stopBoth := a.watch([]logdir.Partition{p("a", 0), p("a", 1)})
	one, stopOne := a.watch([]logdir.Partition{p("a", 1)})
	woken := func(grown <-chan struct{}) bool {
		select {
		case <-grown:
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		grew      []logdir.Partition
		both, one bool
	}{
		{nil, false, false},
		{[]logdir.Partition{p("b", 0), p("a", 2)}, false, false},
		{[]logdir.Partition{p("a", 0)}, true, false},
		{[]logdir.Partition{p("a", 1), p("a", 0), p("a", 1)}, true, true}, // once, however many grew
	} {
		a.happened(c.grew)
		if gotBoth, gotOne := woken(both), woken(one); gotBoth != c.both || gotOne != c.one || woken(both) || woken(one) {
			t.Errorf("%v: woken %v and %v", c.grew, gotBoth, gotOne)
		}
	}
	stopBoth()
	a.happened([]logdir.Partition{p("a", 0), p("a", 1)})
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
		return protocol.FrameAnswer(7, response)
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
		"unreadable":           {answer(func(*kmsg.FetchResponse) {})[:protocol.AnswerHead+3], true},
		"cut off":              {answer(func(*kmsg.FetchResponse) {})[:protocol.AnswerHead+40], true},
	} {
		if got, news := (shown{new(memoryLog)}).fetched(c.answer, 11); news != c.news || !bytes.Equal(got, c.answer) {
			t.Errorf("%s: %v", name, !c.news)
		}
	}
}

// TestAFetchThatWaitsIsAnsweredByASync, of a client and of the server itself.
func TestAFetchThatWaitsIsAnsweredByASync(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "wait", 1)
	kafkawire.MustProduce(t, b.Addr(), "wait", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a"))
	fetched := make(chan int64, 2)
	for _, own := range []bool{false, true} {
		conn := kafkawire.Dial(t, b.Addr())
		if own {
			var err error
			if conn, err = b.Dial(); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kafkawire.FetchRequest("wait", 1, time.Hour), 7)); err != nil {
			t.Fatal(err)
		}
		go func() {
			response := kmsg.NewPtrFetchResponse()
			response.SetVersion(protocol.MaxVersion(kmsg.Fetch))
			if err := kafkawire.ReadAnswer(conn, response); err != nil || len(response.Topics) != 1 {
				fetched <- -1
				return
			}
			fetched <- response.Topics[0].Partitions[0].HighWatermark
		}()
	}
	kafkawire.Until(t, func() bool {
		b.appends.mu.Lock()
		defer b.appends.mu.Unlock()
		return len(b.appends.waiting[logdir.Partition{Topic: "wait"}]) == 2
	})
	release := b.disk.hold()
	answer := make(chan error, 1)
	go func() {
		request := kafkawire.ProduceRequest("wait", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "b"))
		answer <- kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind())
	}()
	<-b.disk.begun
	select {
	case <-fetched:
		t.Error("answered before the sync")
	default:
	}
	release()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	for range 2 {
		if end := <-fetched; end != 2 {
			t.Errorf("the end is %d", end)
		}
	}
}

// TestAFetchThatWaitsIsWokenByWhoeverWrites: a client or the server itself.
func TestAFetchThatWaitsIsWokenByWhoeverWrites(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "woken", 1)
	write := kafkawire.ProduceRequest("woken", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	for i, produce := range []func(){
		func() { kafkawire.Answered(t, b.Addr(), write) }, func() { ownAsks(t, b, write) },
	} {
		answer := make(chan int, 1)
		go func() {
			request := kafkawire.FetchRequest("woken", int64(i), maxFetchWait)
			response := request.ResponseKind().(*kmsg.FetchResponse)
			if err := kafkawire.Ask(t.Context(), b.Addr(), request, response); err != nil || len(response.Topics) != 1 {
				answer <- -1
				return
			}
			answer <- len(response.Topics[0].Partitions[0].RecordBatches)
		}()
		kafkawire.Until(t, func() bool {
			b.appends.mu.Lock()
			defer b.appends.mu.Unlock()
			return len(b.appends.waiting) == 1
		})
		kafkawire.Until(t, func() bool { // it has asked once, and holds room for no answer
			return b.answers.TryAcquire(MinClientBytes/2) && func() bool { b.answers.Release(MinClientBytes / 2); return true }()
		})
		produce()
		if size := <-answer; size <= 0 {
			t.Errorf("writer %d: the fetch was answered with %d bytes", i, size)
		}
		kafkawire.Until(t, func() bool {
			b.appends.mu.Lock()
			defer b.appends.mu.Unlock()
			return len(b.appends.waiting) == 0
		})
	}
}

// TestAFetchThatIsToldNotToWaitDoesNot, and sessions are refused in a way that clients do without.
func TestAFetchThatIsToldNotToWaitDoesNot(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "fetch", 2)
	conn := kafkawire.Dial(t, b.Addr()) // with a deadline of 30 s for all of it
	fetch := kafkawire.FetchRequest("fetch", 0, time.Hour)
	fetch.MinBytes = 0
	if err := kafkawire.Asked(t, conn, fetch); err != nil {
		t.Errorf("a fetch of no bytes at least: %v", err)
	}
	fetch = kafkawire.FetchRequest("fetch", 0, time.Hour)
	fetch.MinBytes, fetch.SessionID, fetch.SessionEpoch = 1, 5, 1
	const noSession = 70
	if code := kafkawire.Answered(t, b.Addr(), fetch).(*kmsg.FetchResponse).ErrorCode; code != noSession {
		t.Errorf("a fetch in a session: error %d", code)
	}
	// A new session is answered as no session.
	fetch = kafkawire.FetchRequest("fetch", 0, 0)
	fetch.SessionID, fetch.SessionEpoch = 0, 0
	if got := kafkawire.Answered(t, b.Addr(), fetch).(*kmsg.FetchResponse); got.ErrorCode != 0 || got.SessionID != 0 {
		t.Errorf("a new session: %+v", got)
	}
}

// TestAConnectionServesOnAfterAFetchInVain: nobody else reads from it any more.
func TestAConnectionServesOnAfterAFetchInVain(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "vain", 1)
	conn := kafkawire.Dial(t, b.Addr())
	for range 50 {
		if err := kafkawire.Asked(t, conn, kafkawire.FetchRequest("vain", 0, time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAConnectionHasOneWayToKfake, whatever it asks, and leaves none behind.
func TestAConnectionHasOneWayToKfake(t *testing.T) {
	b := serve(t)
	lanes := func() int {
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		return len(b.engine.lanes)
	}
	kafkawire.IsAlive(t, b.Addr())
	kafkawire.IsAlive(t, b.Addr()) // both turns have a lane now
	const before = turnsAtOnce
	kafkawire.Until(t, func() bool { return lanes() == before }) // retention has some of its own for a moment
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := kafkawire.Exchange(conn, kafkawire.FrameOf(kafkawire.Versioned(kmsg.NewPtrMetadataRequest()))); err != nil {
			t.Fatal(err)
		}
	}
	kafkawire.Until(t, func() bool { return lanes() == before+1 })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	kafkawire.Until(t, func() bool { return lanes() == before })
	kafkawire.Until(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.own) == 0 && len(b.clients) == 0
	})
}

// TestNewMembersAndProducersHaveARateEach, which the server itself has not.
func TestNewMembersAndProducersHaveARateEach(t *testing.T) {
	for _, full := range []kmsg.Key{kmsg.JoinGroup, kmsg.InitProducerID} {
		b := startWith(t, func(g *Guard) {
			none := rate.NewLimiter(1, 0)
			if full == kmsg.JoinGroup {
				g.joins = none
			} else {
				g.producers = none
			}
		})
		join := kafkawire.Versioned(kmsg.NewPtrJoinGroupRequest())
		join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "g", 6000, 6000, "consumer"
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		for _, request := range []kmsg.Request{join, kafkawire.Versioned(kmsg.NewPtrInitProducerIDRequest())} {
			err := kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind())
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
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "room", 1)
	large := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 900<<10))
	for range 3 {
		kafkawire.MustProduce(t, b.Addr(), "room", large)
		if _, code, _ := kafkawire.Produce(t, b.Addr(), "no-such-topic", large); code == 0 {
			t.Error("produced to a topic that is not there")
		}
		kafkawire.Answered(t, b.Addr(), kafkawire.FetchRequest("room", 0, 0))
		broken := append(binary.BigEndian.AppendUint32(nil, 1<<20), kafkawire.FrameOf(kafkawire.ProduceRequest("room", 0, large))...)
		conn := kafkawire.Dial(t, b.Addr())
		_, _ = conn.Write(broken)
		_ = conn.Close()
	}
	kafkawire.Until(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.clients) == 0
	})
	if !b.requests.TryAcquire(MinClientBytes/2) || !b.answers.TryAcquire(MinClientBytes/2) {
		t.Error("room is held by nobody")
	}
	b.requests.Release(MinClientBytes / 2)
	b.answers.Release(MinClientBytes / 2)
	more := New(b.listener, b.log, Config{ClientBytes: 2 * MinClientBytes})
	defer more.cancel()
	if !more.requests.TryAcquire(MinClientBytes) || more.requests.TryAcquire(1) || !more.answers.TryAcquire(MinClientBytes) || more.answers.TryAcquire(1) {
		t.Error("not half of what is configured for requests, and half for answers")
	}
}

// TestASmallRequestNeedsNoRoom: it is answered while large ones hold all there is.
func TestASmallRequestNeedsNoRoom(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "small", 1)
	if !b.requests.TryAcquire(MinClientBytes / 2) {
		t.Fatal("room is held by nobody")
	}
	defer b.requests.Release(MinClientBytes / 2)
	kafkawire.IsAlive(t, b.Addr())
	of := func(size int) kmsg.Request {
		return kafkawire.ProduceRequest("small", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", size)))
	}
	size := smallFrame - (len(kafkawire.FrameOf(of(smallFrame/2))) - smallFrame/2)
	if n := len(kafkawire.FrameOf(of(size))); n != smallFrame {
		t.Fatalf("%d bytes", n)
	}
	if err := kafkawire.Asked(t, kafkawire.Dial(t, b.Addr()), of(size)); err != nil {
		t.Errorf("the largest of the small ones: %v", err)
	}
}

// TestALargeAnswerWaitsForRoom, which the server's own does not need.
func TestALargeAnswerWaitsForRoom(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.times.stall = time.Second })
	describe := kafkawire.Versioned(kmsg.NewPtrDescribeConfigsRequest())
	create := kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest())
	for i := range 200 {
		name := fmt.Sprint("topic-with-settings-", i)
		create.Topics = append(create.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1})
		describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name})
	}
	kafkawire.Answered(t, b.Addr(), create)
	answer := kafkawire.Answered(t, b.Addr(), describe)
	if size := len(answer.AppendTo(nil)); size <= smallFrame {
		t.Fatalf("%d bytes show nothing about room", size)
	}
	kafkawire.Until(t, func() bool { return b.answers.TryAcquire(MinClientBytes / 2) })
	if err := kafkawire.Ask(t.Context(), b.Addr(), describe, describe.ResponseKind()); err == nil {
		t.Error("answered without room")
	}
	kafkawire.IsAlive(t, b.Addr()) // a small answer needs none
	ownAsks(t, b, describe)
	b.answers.Release(MinClientBytes / 2)
	kafkawire.Answered(t, b.Addr(), describe)
}

// TestFramesOfEachSizeArriveWhole: they are read and written in parts, from some sizes on.
func TestFramesOfEachSizeArriveWhole(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "sizes", 1)
	value := func(n int) string {
		return strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ#", n/63+1)[:n] // 63 letters: no part is like the next
	}
	var want []string
	for _, size := range []int{smallFrame - 1, smallFrame, smallFrame + 1, 2*smallFrame - 1, 2 * smallFrame, 2*smallFrame + 1, 5*smallFrame + 17} {
		n := size
		for frame := 0; frame != size; n -= frame - size {
			frame = len(kafkawire.FrameOf(kafkawire.ProduceRequest("sizes", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), value(n)))))
			if frame == size {
				break
			}
		}
		want = append(want, value(n))
		kafkawire.MustProduce(t, b.Addr(), "sizes", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), value(n)))
	}
	records := kafkawire.ReadAll(t, b.Addr(), "sizes")
	for i, record := range records {
		if record.Value != want[i] {
			t.Errorf("record %d of %d bytes is another, of %d", i, len(want[i]), len(record.Value))
		}
	}
	if len(records) != len(want) {
		t.Errorf("%d records, want %d", len(records), len(want))
	}
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
	}{4: {4, true}, 5: {5, true}, 7: {6, false}, 8: {9, false}, 3: {3, false}, 0: {0, false}, maxAnswer + 1: {0, false}, 1<<32 - 1: {0, false}} {
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
	if _, err := turns.take(gone); !errors.Is(err, net.ErrClosed) {
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
	c := &client{guard: &Guard{turns: newTurns(e, 1)}, ctx: t.Context()}
	var used []*lane
	for _, outcome := range []error{protocol.Refuse("no"), nil, errors.New("broken"), nil} {
		if err := c.turn(func(l *lane) error { used = append(used, l); return outcome }); !errors.Is(err, outcome) {
			t.Errorf("%v, want %v", err, outcome)
		}
	}
	if used[0] != used[1] || used[1] != used[2] || used[2] == used[3] {
		t.Errorf("lanes %p", used)
	}
}

func TestAProducerThatWantsNoAnswerGetsNone(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "quiet", 1)
	conn := kafkawire.Dial(t, b.Addr())
	quiet := kafkawire.ProduceRequest("quiet", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	quiet.Acks = 0
	frame := kafkawire.FrameOf(quiet)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	const next = 8 // the correlation id, unlike that of quiet
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kafkawire.Versioned(kmsg.NewPtrMetadataRequest()), next)); err != nil {
		t.Fatal(err)
	}
	var head [protocol.AnswerHead]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	if id := binary.BigEndian.Uint32(head[4:]); id != next {
		t.Errorf("the first answer is to request %d", id)
	}
	if end := kafkawire.ListOffset(t, b.Addr(), "quiet", -1); end != 1 {
		t.Errorf("the log ends at %d", end)
	}
	// It learns of what is not even looked at by the end of its connection.
	conn = kafkawire.Dial(t, b.Addr())
	for number := range int32(5000) {
		quiet.Topics[0].Partitions = append(quiet.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: number})
	}
	frame = kafkawire.FrameOf(quiet)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	kafkawire.IsClosed(t, conn)
}

// TestPartitionsOfClientsAreCounted, however a request names them.
func TestPartitionsOfClientsAreCounted(t *testing.T) {
	b := serve(t)
	request := kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest())
	for i, partitions := range []int32{1000 - 2, -1, 1, 1} { // -1: the default, one
		request.Topics = append(request.Topics, kmsg.CreateTopicsRequestTopic{Topic: fmt.Sprint("t", i), NumPartitions: partitions, ReplicationFactor: 1})
	}
	assigned := kmsg.CreateTopicsRequestTopic{Topic: "assigned", NumPartitions: -1, ReplicationFactor: -1}
	for number := range int32(2) {
		assigned.ReplicaAssignment = append(assigned.ReplicaAssignment,
			kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: number, Replicas: []int32{0}})
	}
	request.Topics = append(request.Topics, assigned)
	request.ValidateOnly = true
	const invalidPartitions = 37
	for _, topic := range kafkawire.Answered(t, b.Addr(), request).(*kmsg.CreateTopicsResponse).Topics {
		refused := topic.Topic == "t3" || topic.Topic == "assigned"
		if refused != (topic.ErrorCode == invalidPartitions) {
			t.Errorf("%s: error %d", topic.Topic, topic.ErrorCode)
		}
	}
}
