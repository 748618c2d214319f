package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
	"chatting/test/kafkawire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is kfake behind a guard, with a log in memory.
type broker struct {
	*Guard
	disk *memoryLog
}

// memoryLog is a log that is synced as soon as somebody waits for it, unless it is held.
type memoryLog struct {
	grown func([]logdir.Partition)

	mu   sync.Mutex
	ends map[logdir.Partition]int64
	held chan struct{} // nil: nobody waits

	begun chan struct{} // gets an element when somebody is held
}

func (l *memoryLog) Synced(p logdir.Partition) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, known := l.ends[p]
	return end, known
}

func (l *memoryLog) Await(ends []logdir.End, gone <-chan struct{}) error {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held != nil {
		l.begun <- struct{}{}
		select {
		case <-held:
		case <-gone:
			return net.ErrClosed
		}
	}
	var grown []logdir.Partition
	l.mu.Lock()
	for _, end := range ends {
		l.ends[end.Partition] = max(l.ends[end.Partition], end.Offset)
		grown = append(grown, end.Partition)
	}
	l.mu.Unlock()
	l.grown(grown)
	return nil
}

func (l *memoryLog) AwaitGroups(<-chan struct{}) error { return nil }

// hold has all who append wait until release is called.
func (l *memoryLog) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := make(chan struct{})
	l.held = held
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = nil
		close(held)
	}
}

// serve runs a broker.
func serve(t *testing.T) *broker { return startWith(t, func(*Guard) {}) }

// startWith runs a broker whose guard change has changed before it lets clients in.
func startWith(t *testing.T, change func(*Guard)) *broker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	disk := &memoryLog{ends: make(map[logdir.Partition]int64), begun: make(chan struct{}, 1)}
	b := &broker{New(listener, disk, Config{Now: time.Now, TopicsChanged: func() {}, Logger: slog.New(slog.DiscardHandler)}), disk}
	disk.grown = b.Grown
	change(b.Guard)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.MaxVersions(protocol.EngineVersions()), kfake.DefaultNumPartitions(1),
		kfake.GroupMaxSessionTimeout(MaxSession),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.Engine(), nil }),
	)
	if err != nil {
		t.Fatal(err)
	}
	b.Start(func(error) {}) // one test ends the listener
	t.Cleanup(func() {
		cluster.Close()
		b.Shut()
		b.Wait()
	})
	return b
}

// Addr is the address for clients.
func (b *broker) Addr() string { return b.Guard.Addr().String() }

// stallAfter sets for how long a frame may not move, for clients that come from now on.
func (b *broker) stallAfter(limit time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times.stall = limit
}

// ownAsks has the server itself ask for something, as often as it likes.
func ownAsks(t *testing.T, b *broker, request kmsg.Request) {
	t.Helper()
	conn, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	kafkawire.MustAsk(t, "the server itself", conn, request)
}

// TestTheServerIsNotHungUpOn: however long it takes to read.
func TestTheServerIsNotHungUpOn(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.times = deadlines{time.Nanosecond, time.Nanosecond} })
	ownAsks(t, b, kafkawire.Versioned(kmsg.NewPtrMetadataRequest()))
}

func TestAConnectionThatAsksForNothingMakesRoomForAnother(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.limit, g.spareIdle = 2, 0 })
	first, second := kafkawire.Dial(t, b.Addr()), kafkawire.Dial(t, b.Addr())
	for _, conn := range []net.Conn{first, second} { // each asks, so that which one is idle longest is known
		if err := kafkawire.Asked(t, conn, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
		kafkawire.Until(t, func() bool { // which it is only a moment after its client has the answer
			b.mu.Lock()
			defer b.mu.Unlock()
			for c := range b.clients {
				if c.idleSince.Load() == 0 {
					return false
				}
			}
			return true
		})
	}
	third := kafkawire.Dial(t, b.Addr())
	if err := kafkawire.Asked(t, third, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Fatal(err)
	}
	kafkawire.IsClosed(t, first)
	if err := kafkawire.Asked(t, second, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Errorf("the connection that was idle for less time: %v", err)
	}
}

func TestAConnectionTooManyIsRefusedAndTheServerGetsIn(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.limit, g.spareIdle = 2, time.Hour })
	first, second := kafkawire.Dial(t, b.Addr()), kafkawire.Dial(t, b.Addr())
	for _, conn := range []net.Conn{first, second} {
		if err := kafkawire.Asked(t, conn, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
	}
	kafkawire.IsClosed(t, kafkawire.Dial(t, b.Addr()))
	for range 5 {
		ownAsks(t, b, kafkawire.Versioned(kmsg.NewPtrMetadataRequest()))
	}
	if err := kafkawire.Asked(t, first, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Errorf("a connection that had its place: %v", err)
	}
}

// TestWhoNeverAskedForAnythingMakesRoom as well.
func TestWhoNeverAskedForAnythingMakesRoom(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.limit, g.spareIdle = 1, 0 })
	silent := kafkawire.Dial(t, b.Addr())
	kafkawire.Until(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.clients) == 1
	})
	if err := kafkawire.Asked(t, kafkawire.Dial(t, b.Addr()), kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Error(err)
	}
	kafkawire.IsClosed(t, silent)
}

func TestAFrameThatDoesNotComeHoldsNoRoomAndIsCut(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.times.stall = 100 * time.Millisecond })
	kafkawire.CreateTopic(t, b.Addr(), "room", 1)
	announce := append(binary.BigEndian.AppendUint32(nil, protocol.MaxProduceFrame), 0, 0, 0, 3)
	for range 20 { // the head alone holds nothing, so that these do not keep others out
		if _, err := kafkawire.Dial(t, b.Addr()).Write(announce); err != nil {
			t.Fatal(err)
		}
	}
	var slow []net.Conn
	for range 9 { // more than there is room for
		conn := kafkawire.Dial(t, b.Addr())
		if _, err := conn.Write(append(announce, make([]byte, smallFrame)...)); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	large := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 500<<10))
	ownAsks(t, b, kafkawire.ProduceRequest("room", 0, large))
	kafkawire.IsAlive(t, b.Addr())
	for _, conn := range slow {
		kafkawire.IsClosed(t, conn)
	}
	b.stallAfter(time.Hour) // a busy machine may take its time for a long frame
	kafkawire.MustProduce(t, b.Addr(), "room", large)
}

// TestAnswersThatNobodyReadsAreBounded: clients fetch all there is and do not read.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	b := startWith(t, func(g *Guard) { g.times.stall = time.Hour })
	kafkawire.CreateTopic(t, b.Addr(), "unread", 1)
	for range 20 {
		kafkawire.MustProduce(t, b.Addr(), "unread", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 1<<20-200)))
	}
	b.stallAfter(100 * time.Millisecond)
	request := kafkawire.FrameOf(kafkawire.FetchRequest("unread", 0, 0))
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)
	var conns []net.Conn
	for range 30 {
		conn := kafkawire.Dial(t, b.Addr())
		if tcp, ok := conn.(*net.TCPConn); !ok || tcp.SetReadBuffer(4096) != nil {
			t.Fatal("no small buffer")
		}
		if _, err := conn.Write(bytes.Repeat(frame, 20)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	ownAsks(t, b, kafkawire.FetchRequest("unread", 0, 0))
	for b.refusals.Load() < int64(len(conns)) { // each is cut off in the end; the test's time is the bound
		kafkawire.IsAlive(t, b.Addr())
	}
	if !b.answers.TryAcquire(MinClientBytes / 2) {
		t.Error("who was cut off holds room still")
	}
}

// TestAClientThatLeavesWhileItWaitsIsForgotten: its place is free long before its wait is over.
func TestAClientThatLeavesWhileItWaitsIsForgotten(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "leave", 1)
	waiting := func() (busy bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for c := range b.clients {
			busy = busy || c.idleSince.Load() == 0
		}
		return busy
	}
	conn := kafkawire.Dial(t, b.Addr())
	frame := kafkawire.FrameOf(kafkawire.FetchRequest("leave", 0, maxFetchWait))
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	kafkawire.Until(t, waiting)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	kafkawire.Until(t, func() bool { return !waiting() })
	if took := time.Since(begin); took > maxFetchWait/3 {
		t.Errorf("it had its place for %s", took)
	}
}

func TestThereAreOnlySoManyGroups(t *testing.T) {
	b := serve(t)
	kafkawire.CreateTopic(t, b.Addr(), "offsets", 1)
	const refused = 30
	commit := func(group string) int16 {
		return kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest(group, "offsets", "", 0)).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	}
	for n := range maxGroups {
		if code := commit(fmt.Sprint("group ", n)); code != 0 {
			t.Fatalf("group %d: error %d", n, code)
		}
	}
	if code := commit("one more"); code != refused {
		t.Errorf("one more: error %d", code)
	}
	join := kafkawire.Versioned(kmsg.NewPtrJoinGroupRequest())
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "one more", 6000, 6000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	if code := kafkawire.Answered(t, b.Addr(), join).(*kmsg.JoinGroupResponse).ErrorCode; code != refused {
		t.Errorf("joining one more: error %d", code)
	}
	if n := b.refusals.Load(); n != 2 {
		t.Errorf("%d refusals are counted", n)
	}
	if code := commit("group 7"); code != 0 {
		t.Errorf("a group that is there: error %d", code)
	}
	ownAsks(t, b, kafkawire.CommitRequest("the server's", "offsets", "", 0)) // under no such bound
	if code := commit("the server's"); code != 0 {
		t.Errorf("a group that the server made: error %d", code)
	}
}

// TestRefusalsAreCountedAndLoggedNowAndThen, with what was refused, from where and why.
func TestRefusalsAreCountedAndLoggedNowAndThen(t *testing.T) {
	var logged bytes.Buffer
	g := New(nopListener{}, new(memoryLog), Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	defer g.cancel()
	for range 5 {
		g.refused("request", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, io.ErrUnexpectedEOF)
	}
	if n := g.refusals.Load(); n != 5 || strings.Count(logged.String(), "\n") != 1 {
		t.Errorf("%d refusals, logged: %s", n, &logged)
	}
	for _, want := range []string{"what=request", "address=192.0.2.1:5", `reason="unexpected EOF"`, "refusals=1"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %s in %s", want, &logged)
		}
	}
}

type nopListener struct{ net.Listener }

func (nopListener) Addr() net.Addr { return &net.TCPAddr{} }

// failingListener fails once, as where no more files can be opened, and is closed then.
type failingListener struct {
	nopListener
	failed bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failed {
		return nil, net.ErrClosed
	}
	l.failed = true
	return nil, errors.New("too many open files")
}

// TestAFailedAcceptIsToldAndTriedAgain.
func TestAFailedAcceptIsToldAndTriedAgain(t *testing.T) {
	var logged bytes.Buffer
	g := New(new(failingListener), new(memoryLog), Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	defer g.cancel()
	if err := g.accept(); !errors.Is(err, net.ErrClosed) || g.refusals.Load() != 1 || !strings.Contains(logged.String(), "too many open files") {
		t.Errorf("%v, logged: %s", err, &logged)
	}
}

// TestTheIdlestIsWhoHasAskedForNothingLongest, and nobody that is being answered or was a moment ago.
func TestTheIdlestIsWhoHasAskedForNothingLongest(t *testing.T) {
	g := &Guard{spareIdle: time.Minute, clients: make(map[*client]struct{}), ctx: t.Context()}
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	now := time.Duration(newClient(g, theirs, false).idleSince.Load())
	add := func(idleSince int64) *client {
		c := new(client)
		c.idleSince.Store(idleSince)
		g.clients[c] = struct{}{}
		return c
	}
	if c := g.idlest(); c != nil {
		t.Error("somebody of nobody")
	}
	add(0)                           // busy
	add(int64(now))                  // a moment ago
	add(int64(now - 30*time.Second)) // within the time that is spared
	if c := g.idlest(); c != nil {
		t.Errorf("idle since %d", c.idleSince.Load())
	}
	add(int64(now - 2*time.Minute))
	want := add(int64(now - 3*time.Minute))
	add(int64(now - 2*time.Minute))
	for range 20 { // whatever the order of the map
		if c := g.idlest(); c != want {
			t.Errorf("idle since %d, not %d", c.idleSince.Load(), want.idleSince.Load())
		}
	}
}

func TestAGuardWhoseListenerEndsSaysSo(t *testing.T) {
	b := serve(t)
	failed := make(chan error, 1)
	b.Start(func(err error) { failed <- err })
	_ = b.listener.Close()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "no more clients") {
		t.Errorf("it tells %v", err)
	}
}

// TestAfterShutNobodyIsServed: clients and the server itself are hung up on, and nobody gets in.
func TestAfterShutNobodyIsServed(t *testing.T) {
	b := serve(t)
	own, err := b.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, conn := range []net.Conn{own, kafkawire.Dial(t, b.Addr())} {
		if err := kafkawire.Asked(t, conn, kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
	}
	b.Shut()
	b.Wait()
	if _, err := b.Dial(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server gets in: %v", err)
	}
	late, peer := net.Pipe()
	defer func() { _, _ = late.Close(), peer.Close() }()
	if err := b.admit(late); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a client gets in: %v", err)
	}
	if len(b.clients) != 0 || len(b.own) != 0 {
		t.Errorf("%d clients and %d of the server itself are served", len(b.clients), len(b.own))
	}
}
