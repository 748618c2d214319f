package ws

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// stuck is a connection whose writes go on only as the test reads: the pipe between them holds no byte.
type stuck struct {
	*connection
	t    *testing.T
	peer net.Conn
	got  *session
}

func newStuck(t *testing.T, options Options) *stuck {
	t.Helper()
	chat := newChat()
	server, err := New(options, Deps{
		Login: chat.login, Messages: messagesOf{chat}, Invites: invitesOf{chat}, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Bytes: application.NewByteLedger(0, 0, time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	own, peer := net.Pipe()
	s := &stuck{t: t, peer: peer, got: &session{chat: chat, user: 7}}
	s.connection = &connection{server: server, sock: &socket{Conn: own}, session: s.got, user: 7}
	s.out.init(s.sock, server.options.QueueBytes, &server.options.Times, server.guard, server.deps.Bytes)
	t.Cleanup(func() {
		s.abort()
		s.out.awaitWriter()
		_ = peer.Close()
	})
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	return s
}

// gets reads so many bytes. That the first of a write has come means that the whole write has begun.
func (s *stuck) gets(n int) []byte {
	s.t.Helper()
	data := make([]byte, n)
	if _, err := io.ReadFull(s.peer, data); err != nil {
		s.t.Fatalf("reading %d bytes: %v", n, err)
	}
	return data
}

// rest reads until the connection ends its side.
func (s *stuck) rest() []byte {
	s.t.Helper()
	go func() {
		s.out.awaitWriter()
		_ = s.sock.Close() // as the reading goroutine does
	}()
	data, err := io.ReadAll(s.peer)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s *stuck) held() int { return s.server.deps.Bytes.Held() }

// pending returns how many bytes are known not to be written.
func (s *stuck) pending() int {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.out.pendingLocked()
}

func xs(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// framed is a text frame of the server's.
func framed(payload []byte) []byte { return appendFrame(nil, opText, payload) }

func closeFrame(code closeCode) []byte { return appendFrame(nil, opClose, code.payload()) }

func TestBytesBeingWrittenCountTowardsTheBoundOfTheQueue(t *testing.T) {
	s := newStuck(t, Options{QueueBytes: 1000})
	s.Deliver(xs(500), "")
	first := s.gets(1)
	if got := s.pending(); got != 504 {
		t.Errorf("%d bytes are on their way, want 504", got)
	}
	s.Deliver(xs(486), "") // 1000 with the longest header
	if s.out.isClosing() {
		t.Fatal("what fits to the byte is refused")
	}
	s.Deliver(nil, "")
	if !s.out.isClosing() {
		t.Fatal("the bytes being written do not count")
	}
	// What is being written is ended, and what waits behind it is dropped.
	if got, want := append(first, s.rest()...), append(framed(xs(500)), closeFrame(1013)...); !bytes.Equal(got, want) {
		t.Errorf("the peer got %d bytes that end %q, want %d", len(got), got[max(0, len(got)-10):], len(want))
	}
	if held := s.held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

func TestAFrameByItselfMayFillTheQueue(t *testing.T) {
	s := newStuck(t, Options{QueueBytes: 1000})
	s.Deliver(xs(990), "")
	if s.out.isClosing() {
		t.Fatal("it is refused")
	}
	s.gets(994)
	s.out.awaitWriter()
	if pending, held := s.pending(), s.held(); pending != 0 || held != 0 {
		t.Errorf("afterwards %d bytes are on their way and %d are held", pending, held)
	}
	s.Deliver(xs(991), "")
	if !s.out.isClosing() {
		t.Error("one that is longer is not")
	}
}

func TestWhatASlowReaderHasGotOfALongBatchIsNotHeld(t *testing.T) {
	s := newStuck(t, Options{})
	s.Deliver(xs(10), "")
	s.gets(1)
	for range 4 {
		s.Deliver(xs(30_000), "") // each is a write by itself
	}
	s.gets(11)
	s.gets(2*30_004 + 1)
	if held := s.held(); held != 4*30_004 {
		t.Errorf("with half of it written, %d bytes are held", held)
	}
	s.gets(30_004)
	if held := s.held(); held != 30_004 {
		t.Errorf("with all but the last frame written, %d bytes are held", held)
	}
	s.gets(30_003)
	s.out.awaitWriter()
	if held := s.held(); held != 0 {
		t.Errorf("at the end %d bytes are held", held)
	}
}

func TestRoomIsHalfTheQueueForWhoMayWait(t *testing.T) {
	s := newStuck(t, Options{QueueBytes: 1000})
	room := func(bytes int) <-chan bool {
		there := make(chan bool, 1)
		go func() {
			there <- s.AwaitRoom(t.Context(), bytes) == nil
		}()
		return there
	}
	if !<-room(5000) {
		t.Error("an empty queue has no room for a long frame")
	}
	s.Deliver(xs(298), "") // 302 with its header
	s.gets(1)
	if !<-room(198) {
		t.Error("half of the queue is not room")
	}
	late := room(199)
	eventually(t, "it waits", func() bool {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		return s.out.waiting
	})
	select {
	case <-late:
		t.Fatal("more than half of the queue is room")
	default:
	}
	s.gets(301)
	if !<-late {
		t.Error("there is no room although all was written")
	}
	s.out.awaitWriter()
	s.Deliver(xs(800), "")
	s.gets(1)
	never := room(1)
	eventually(t, "it waits", func() bool {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		return s.out.waiting
	})
	s.Close(application.CloseRestart)
	if <-never { // although what was queued is still being written
		t.Error("a closing connection has room")
	}
}

func TestAnIdleConnectionSendsControlFramesAtOnce(t *testing.T) {
	s := newStuck(t, Options{})
	for want, send := range map[string]func(){
		string(appendFrame(nil, opPing, nil)): s.out.ping, string(appendFrame(nil, opPong, []byte("x"))): func() { s.out.pong("x") },
	} {
		s.out.awaitWriter()
		send()
		if got := s.gets(len(want)); string(got) != want {
			t.Errorf("the peer got %q, want %q", got, want)
		}
	}
}

func TestAControlFrameDoesNotWaitForABatch(t *testing.T) {
	s := newStuck(t, Options{})
	s.Deliver(xs(10), "")
	got := s.gets(1)
	s.Deliver(xs(30_000), "")
	s.Deliver(xs(30_001), "")
	s.out.pong("early")
	s.out.pong("late") // instead of the early one
	s.out.ping()
	want := slices.Concat(framed(xs(10)), appendFrame(nil, opPing, nil), appendFrame(nil, opPong, []byte("late")), framed(xs(30_000)))
	got = append(got, s.gets(len(want)-1)...)
	if !bytes.Equal(got, want) {
		t.Fatalf("the peer got %.40q… that ends %.20q", got, got[len(got)-20:])
	}
	got = s.gets(1)
	s.out.pong("between")
	want = append(framed(xs(30_001)), appendFrame(nil, opPong, []byte("between"))...)
	if got = append(got, s.gets(len(want)-1)...); !bytes.Equal(got, want) {
		t.Fatalf("the peer got %d bytes that end %q", len(got), got[len(got)-20:])
	}
}

func TestNothingComesAfterTheCloseFrame(t *testing.T) {
	s := newStuck(t, Options{})
	s.Deliver(xs(10), "")
	got := s.gets(1)
	s.Deliver(xs(20), "")
	s.out.ping()
	s.out.pong("x")
	s.Close(application.CloseRestart)
	s.Close(application.CloseExpired)
	s.out.closeDropping(closeSlow)
	s.out.ping()
	s.out.pong("x")
	s.Deliver(xs(30), "")
	want := slices.Concat(framed(xs(10)), framed(xs(20)), closeFrame(1012))
	if got = append(got, s.rest()...); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAnAbortedConnectionSaysNothingMore(t *testing.T) {
	s := newStuck(t, Options{})
	s.Deliver(xs(10), "")
	s.gets(1)
	s.Deliver(xs(20), "")
	s.abort()
	s.Deliver(xs(30), "")
	s.out.ping()
	s.out.awaitWriter()
	if data, err := io.ReadAll(s.peer); err != nil || len(data) > 0 {
		t.Errorf("the peer got %q, %v", data, err)
	}
	if held, pending := s.held(), s.pending(); held != 0 || pending != 0 {
		t.Errorf("%d bytes are held and %d on their way", held, pending)
	}
}

const (
	longHeader = 4     // of a frame below 64 KiB
	askBytes   = 2 + 8 // of a question
)

func (s *stuck) confirmed() []application.Position {
	s.got.chat.mu.Lock()
	defer s.got.chat.mu.Unlock()
	return slices.Concat(s.got.received...)
}

// What was dropped makes the queue empty, too: that is no receipt.
func TestAConnectionThatDropsDuringTheLastWaitConfirmsNothing(t *testing.T) {
	for name, drop := range map[string]func(*stuck){
		"lost": func(s *stuck) { s.abort() },
		"slow": func(s *stuck) {
			s.Close(application.CloseSlow)
			go func() { _, _ = io.Copy(io.Discard, s.peer) }()
		},
	} {
		s := newStuck(t, Options{})
		s.DeliverAt(xs(10), at(1, 1))
		s.gets(1)
		s.DeliverAt(xs(20), at(1, 2))
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			s.receivedBeforeClose()
		}()
		eventually(t, "the close waits for the write", func() bool {
			s.out.mu.Lock()
			defer s.out.mu.Unlock()
			return s.out.waiting
		})
		drop(s)
		<-closed
		if got := s.confirmed(); len(got) != 0 {
			t.Errorf("%s: confirmed %v", name, got)
		}
	}
}

// The places below stand in frames that are longer than a write takes in one, so that each is a write by itself.
func TestAClientsCloseConfirmsWhatWasWrittenBeforeTheWriteThatIsStuck(t *testing.T) {
	long := application.Replayed{Frame: append(append([]byte(`{"x":"`), xs(coalesce)...), `"}`...), At: &application.Position{Partition: 1, Offset: 1}}
	longBytes := longHeader + len(long.Frame) + len(`,"replayed":true`)
	for name, row := range map[string]struct {
		taken int
		want  []application.Position
	}{
		"in the frame":                             {longBytes - 1, nil},
		"in the question behind it":                {longBytes + 1, []application.Position{at(1, 1)}},
		"in the next frame":                        {longBytes + askBytes + 1, []application.Position{at(1, 1)}},
		"behind a frame of which nobody was asked": {2*longBytes + askBytes + 1, []application.Position{at(1, 1)}},
	} {
		s := newStuck(t, Options{})
		s.out.mu.Lock()
		s.out.writing = true // so that all stands in what the writer takes at once
		s.out.mu.Unlock()
		s.Replay([]application.Replayed{long})
		s.DeliverAt(frame.WithReplayed(long.Frame), at(1, 2))
		s.Deliver([]byte("{}"), "")
		s.out.mu.Lock()
		s.out.writing = false
		s.out.wakeLocked()
		s.out.mu.Unlock()
		s.gets(row.taken)
		s.receivedBeforeClose()
		if got := s.confirmed(); !slices.Equal(got, row.want) {
			t.Errorf("stuck %s: confirmed %v, want %v", name, got, row.want)
		}
	}
}

func TestTheLastWaitEndsWithTheWriteThatItWaitsFor(t *testing.T) {
	await := func(s *stuck) <-chan struct{} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.out.mu.Lock()
			defer s.out.mu.Unlock()
			s.out.awaitWriteLocked(time.Hour)
		}()
		return ended
	}
	s := newStuck(t, Options{})
	<-await(s) // nothing is being written
	s.Deliver(xs(10), "")
	s.gets(1)
	s.Deliver(xs(20), "")
	ended := await(s)
	eventually(t, "it waits", func() bool {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		return s.out.waiting
	})
	select {
	case <-ended:
		t.Fatal("it does not wait for the write under way")
	default:
	}
	s.gets(12) // the first, and the beginning of the next
	<-ended
	ended = await(s)
	s.gets(21)
	<-ended
	if got := s.pending(); got != 0 {
		t.Errorf("%d bytes are on their way", got)
	}
}

func TestAQuestionCountsTowardsTheBoundOfTheQueue(t *testing.T) {
	s := newStuck(t, Options{QueueBytes: 1000, Times: Times{Receipt: time.Hour}})
	s.Deliver(xs(10), "")
	s.gets(1)
	s.DeliverAt(xs(966), at(1, 1)) // 12+970+18 is 1000
	asked := func() int {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		s.askLocked(time.Time{})
		return len(s.receipts.asked)
	}
	if asked() != 1 {
		t.Error("a question that fits to the byte is not asked")
	}
	if asked() != 1 {
		t.Error("there is a question about nothing")
	}
	s = newStuck(t, Options{QueueBytes: 1000, Times: Times{Receipt: time.Hour}})
	s.Deliver(xs(10), "")
	s.gets(1)
	s.DeliverAt(xs(967), at(1, 1))
	if asked() != 0 || s.out.isClosing() {
		t.Error("a question above the bound is asked")
	}
}

func TestAFrameForWhichTheServerHasNoRoomEndsItsConnection(t *testing.T) {
	s := newStuck(t, Options{})
	s.out.held.Close()
	s.out.held = application.NewByteLedger(2<<10, 0, time.Now).Open(s.out.cut)
	s.DeliverAt(xs(4<<10), at(1, 1))
	if !s.out.isClosing() || s.receipts != nil {
		t.Fatalf("the frame is lost and the connection stays; receipts: %+v", s.receipts)
	}
	if got, want := s.rest(), closeFrame(1013); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

// waits tells whether the reading goroutine waits for something of the server's.
func (s *stuck) waits() bool {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.busy
}

// silentForLong makes the peer one that the keeper would ping, were the connection reading.
func (s *stuck) silentForLong() {
	s.named = true
	s.sock.heard.Store(int64(time.Since(started) - time.Hour))
}

func (s *stuck) isPinged() bool {
	s.keep()
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return !s.pinged.IsZero()
}

func TestAConnectionThatLeavesReadsNothingUntilItCloses(t *testing.T) {
	s := newStuck(t, Options{})
	if s.left() {
		t.Fatal("a connection leaves that nobody told to")
	}
	s.underWay = 1
	s.leave()
	if s.out.isClosing() {
		t.Fatal("it closes before its append has an outcome")
	}
	s.silentForLong()
	left := make(chan bool, 1)
	go func() { left <- s.left() }()
	eventually(t, "it waits", s.waits)
	if s.isPinged() {
		t.Error("the client is blamed for the wait")
	}
	select {
	case <-left:
		t.Fatal("it reads on")
	default:
	}
	s.settle(request{}, nil)
	if !<-left || !s.out.isClosing() {
		t.Error("it does not close once its append has an outcome")
	}
	if got, want := s.rest(), closeFrame(1012); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAnOutcomeLetsTheNextAppendBegin(t *testing.T) {
	s := newStuck(t, Options{})
	for range maxUnderWay {
		if !s.claim() || s.waits() {
			t.Fatal("an append below the bound waits")
		}
	}
	s.silentForLong()
	claimed := make(chan bool, 1)
	go func() { claimed <- s.claim() }()
	eventually(t, "it waits", s.waits)
	if s.isPinged() {
		t.Error("the client is blamed for the wait")
	}
	select {
	case <-claimed:
		t.Fatal("there is no bound")
	default:
	}
	s.settle(request{}, nil)
	if !<-claimed || s.waits() || s.underWay != maxUnderWay {
		t.Errorf("%d are under way; it waits: %t", s.underWay, s.waits())
	}
	if s.isPinged() {
		t.Error("the silence so far counts, although nothing was read")
	}
	go func() { claimed <- s.claim() }()
	eventually(t, "it waits", s.waits)
	s.out.close(closeRestart)
	if <-claimed || s.underWay != maxUnderWay {
		t.Errorf("a closing connection has one more of %d under way", s.underWay)
	}
}

func TestControlFramesCountForTheConnectionAndForItsUser(t *testing.T) {
	s := newStuck(t, Options{})
	r := &notedRate{}
	s.server.deps.Rates.Frames = r
	for range 3 * maxRefused {
		if err := s.control(); err != nil {
			t.Fatalf("one within the rate: %v", err)
		}
	}
	if len(r.taken) != 3*maxRefused || slices.Max(r.taken) != 1 || slices.Min(r.taken) != 1 {
		t.Errorf("%d were counted", len(r.taken))
	}
	r.wait = 1
	began, over := time.Now(), 0
	for s.control() == nil {
		over++
	}
	if more := 10*int(time.Since(began)/time.Second) + 10; over < maxRefused || over > maxRefused+more {
		t.Errorf("%d over the rate are taken", over)
	}
	s.session = nil // nobody's yet
	if err := s.control(); err != nil {
		t.Errorf("before the login: %v", err)
	}
	s.frames = rate.NewLimiter(rate.Every(time.Hour), 2)
	for i, want := range []error{nil, nil, errFlood} {
		if err := s.control(); !errors.Is(err, want) {
			t.Errorf("number %d over the connection's rate: %v", i, err)
		}
	}
}

func TestALongMessageIsCountedWhileItIsReceivedAndCarriedOut(t *testing.T) {
	for size, want := range map[int]int{10: 0, uncounted - 1: 0, uncounted: 2 * uncounted, 2 * uncounted: 2 * uncounted, 3*uncounted - 1: 2 * uncounted, 3 * uncounted: 6 * uncounted, 7 * uncounted: 14 * uncounted} {
		s := newStuck(t, Options{})
		s.receiving = s.server.deps.Bytes.Open(s.cutReceiving)
		data := new(bytes.Buffer)
		if err := s.receive(data, bytes.NewReader(xs(size))); err != nil || !bytes.Equal(data.Bytes(), xs(size)) {
			t.Fatalf("%d bytes became %d, %v", size, data.Len(), err)
		}
		if held := s.held(); held != want {
			t.Errorf("for %d bytes %d are held, want %d", size, held, want)
		}
		s.letGo(data)
		if held := s.held(); held != 0 {
			t.Errorf("after a message of %d bytes %d are held", size, held)
		}
	}
	s := newStuck(t, Options{})
	s.receiving = application.NewByteLedger(0, 0, time.Now).Open(func() {})
	s.receiving.Close()
	if err := s.receive(new(bytes.Buffer), bytes.NewReader(xs(2*uncounted))); !errors.Is(err, errNoRoom) {
		t.Errorf("without room: %v", err)
	}
	if err := s.receive(new(bytes.Buffer), bytes.NewReader(xs(uncounted-1))); err != nil {
		t.Errorf("a short one without room: %v", err)
	}
	if err := s.receive(new(bytes.Buffer), io.MultiReader(bytes.NewReader(xs(10)), failing{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message that breaks off: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestALostConnectionLetsNothingWait(t *testing.T) {
	for name, wait := range map[string]func(*stuck) bool{
		"for its appends to leave": func(s *stuck) bool {
			s.underWay = 1
			s.leave()
			return !s.left()
		},
		"for an append to end": func(s *stuck) bool {
			s.underWay = maxUnderWay
			return s.claim()
		},
	} {
		s := newStuck(t, Options{})
		ended := make(chan bool, 1)
		go func() { ended <- wait(s) }()
		eventually(t, "it waits", s.waits)
		s.abort()
		if <-ended {
			t.Errorf("%s: it goes on", name)
		}
	}
}

func TestALoginIsGivenUpWhenItsConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(*stuck){
		"lost": func(s *stuck) { s.abort() }, "closed": func(s *stuck) { s.out.close(closeRestart) }, "slow": func(s *stuck) { s.out.closeDropping(closeSlow) },
	} {
		s := newStuck(t, Options{Times: Times{Login: time.Hour}})
		s.silentForLong()
		s.waiting(func(ctx context.Context) {
			if s.isPinged() {
				t.Errorf("%s: the client is blamed for the wait", name)
			}
			if ctx.Err() != nil {
				t.Errorf("%s: it is given up at once", name)
			}
			end(s)
			<-ctx.Done()
		})
		s.waiting(func(ctx context.Context) {
			if ctx.Err() == nil {
				t.Errorf("%s: a connection that has ended waits", name)
			}
		})
		if s.waits() || s.out.cancel != nil {
			t.Errorf("%s: something is left of the wait", name)
		}
	}
	s := newStuck(t, Options{Times: Times{Login: time.Hour}})
	s.silentForLong()
	s.waiting(func(context.Context) {})
	if s.isPinged() {
		t.Error("the silence so far counts, although nothing was read")
	}
}

func TestAConnectionThatIsClosingIsAskedNothing(t *testing.T) {
	s := newStuck(t, Options{Times: Times{Receipt: 1}})
	s.DeliverAt(xs(10), at(1, 1))
	s.Close(application.CloseRestart)
	s.keep()
	if got, want := s.rest(), append(framed(xs(10)), closeFrame(1012)...); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAClientIsAskedOnceItsTimeHasCome(t *testing.T) {
	s := newStuck(t, Options{Times: Times{Receipt: time.Hour}})
	for _, row := range []struct {
		since time.Duration
		want  int
	}{{59 * time.Minute, 0}, {61 * time.Minute, 1}} {
		s.DeliverAt([]byte("{}"), at(1, 1))
		s.gets(4)
		s.out.mu.Lock()
		s.receipts.since = time.Now().Add(-row.since)
		s.askLocked(time.Now())
		asked := len(s.receipts.asked)
		s.out.mu.Unlock()
		if asked != row.want {
			t.Errorf("after %v there are %d questions", row.since, asked)
		}
	}
}

// noAddresses is a rate that no client without an address may be counted in.
type noAddresses struct{ t *testing.T }

func (n noAddresses) Take(netip.Addr, int) time.Duration {
	n.t.Error("it is counted")
	return time.Hour
}

func (n noAddresses) Wait(netip.Addr, int) time.Duration {
	n.t.Error("it is asked for")
	return time.Hour
}

func TestAClientWithoutAnAddressIsInNoRateOfAddresses(t *testing.T) {
	s := newStuck(t, Options{})
	s.server.deps.Rates.Logins = noAddresses{t}
	if s.server.takeLogin(netip.Addr{}) != 0 || s.server.loginWait(netip.Addr{}) != 0 {
		t.Error("it has to wait")
	}
}

// A client that comes again at once gets one attempt in that time on each socket.
func TestALoginThatCameTooEarlyIsHeldBeforeItIsRefused(t *testing.T) {
	s := newStuck(t, Options{})
	logs := &logBuffer{}
	s.server.deps.Notices = application.NewNotices(slog.New(slog.NewTextHandler(logs, nil)), time.Now)
	began := time.Now()
	s.loginFailed(&application.LoginError{User: 8, Err: domain.NewRateLimited("Later.", time.Second)})
	if held := time.Since(began); held < loginHold {
		t.Errorf("it is held for %v", held)
	}
	if got, want := s.rest(), closeFrame(1013); !bytes.Equal(got, want) || !strings.Contains(logs.text(), "user=8") {
		t.Errorf("the peer got %q, want %q; log is %s", got, want, logs.text())
	}
}

func TestALoginIsRefusedAsItsErrorDemands(t *testing.T) {
	for code, row := range map[domain.Code]struct {
		want   closeCode
		logged bool
	}{
		domain.CodeUnauthenticated: {3401, false}, domain.CodeUnavailable: {1013, true}, domain.CodeInternal: {1011, true},
	} {
		s := newStuck(t, Options{})
		logs := &logBuffer{}
		s.server.deps.Notices = application.NewNotices(slog.New(slog.NewTextHandler(logs, nil)), time.Now)
		s.loginFailed(domain.NewError(code, "x"))
		if got, want := s.rest(), closeFrame(row.want); !bytes.Equal(got, want) || row.logged != strings.Contains(logs.text(), "login failed") {
			t.Errorf("%s: the peer got %q, want %q; log is %s", code, got, want, logs.text())
		}
	}
}

func TestAQuestionForWhichTheServerHasNoRoomEndsItsConnection(t *testing.T) {
	s := newStuck(t, Options{})
	s.DeliverAt([]byte("{}"), at(1, 1))
	s.gets(4)
	s.out.awaitWriter()
	s.out.held.Close()
	s.out.mu.Lock()
	s.askLocked(time.Time{})
	asked := len(s.receipts.asked)
	s.out.mu.Unlock()
	if got, want := s.rest(), closeFrame(1013); !bytes.Equal(got, want) || asked != 0 {
		t.Errorf("the peer got %q, want %q; %d questions", got, want, asked)
	}
}

// answers takes the pong to the question that was asked n-th of those that are open.
func (s *stuck) answers(n int) bool {
	s.out.mu.Lock()
	behind := s.receipts.asked[n].behind
	s.out.mu.Unlock()
	return s.received(string(binary.BigEndian.AppendUint64(nil, behind)))
}

func TestReceiptsLastUntilAllIsConfirmed(t *testing.T) {
	frameAt := func(offset int64) []application.Replayed {
		return []application.Replayed{{Frame: []byte("{}"), At: &application.Position{Partition: 1, Offset: offset}}}
	}
	s := newStuck(t, Options{})
	go func() { _, _ = io.Copy(io.Discard, s.peer) }()
	s.Replay(frameAt(1))
	s.Replay(frameAt(2))
	if !s.answers(0) || s.receipts == nil {
		t.Fatal("the second question is forgotten with the first")
	}
	s.DeliverAt([]byte("{}"), at(1, 3)) // nobody was asked about it
	if !s.answers(0) || s.receipts == nil || len(s.receipts.noted) != 1 {
		t.Fatal("what was not asked about is forgotten")
	}
	s.Replay(frameAt(4))
	if !s.answers(0) || s.receipts != nil {
		t.Error("something is kept of what is confirmed")
	}
	if got, want := s.confirmed(), []application.Position{at(1, 1), at(1, 2), at(1, 4)}; !slices.Equal(got, want) {
		t.Errorf("confirmed %v, want %v", got, want)
	}
	if s.received("12345678") || s.received("1") {
		t.Error("a pong to nothing is an answer")
	}
}

func TestWhatAClosingConnectionDoesNotSendIsNotNoted(t *testing.T) {
	s := newStuck(t, Options{})
	s.Close(application.CloseRestart)
	s.DeliverAt([]byte("{}"), at(1, 1))
	s.Replay([]application.Replayed{{At: &application.Position{Partition: 1, Offset: 2}}})
	if s.receipts != nil {
		t.Errorf("%+v", s.receipts)
	}
	full := newStuck(t, Options{QueueBytes: 100})
	full.Replay([]application.Replayed{
		{Frame: append(xs(200), '}'), At: &application.Position{Partition: 1, Offset: 1}}, {At: &application.Position{Partition: 1, Offset: 2}},
	})
	if full.receipts != nil || !full.out.isClosing() {
		t.Errorf("%+v", full.receipts)
	}
}

func TestACloseWithTheServersCodeIsNoAnswerBeforeTheServerHasSentIt(t *testing.T) {
	s := newStuck(t, Options{})
	s.DeliverAt([]byte("{}"), at(1, 1))
	s.gets(1)
	s.Close(application.CloseRestart)
	s.closeAnswered(&websocket.CloseError{Code: 1012})
	if got := s.confirmed(); len(got) != 0 {
		t.Fatalf("confirmed %v", got)
	}
	s.gets(3 + 4)
	s.closeAnswered(io.EOF)
	s.closeAnswered(&websocket.CloseError{Code: 1000})
	if got := s.confirmed(); len(got) != 0 {
		t.Fatalf("confirmed %v", got)
	}
	s.closeAnswered(&websocket.CloseError{Code: 1012})
	if got := s.confirmed(); !slices.Equal(got, []application.Position{at(1, 1)}) {
		t.Errorf("confirmed %v", got)
	}
}
