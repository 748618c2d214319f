package ws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/time/rate"

	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/socket"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/delivery"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// stuck is a connection whose writes go on only as the test reads: the pipe between them holds no byte.
type stuck struct {
	*reader
	t    *testing.T
	peer net.Conn
	got  *session
	long time.Duration // socket.Elapsed when the peer had been silent for long
}

func newStuck(t *testing.T, options Options) *stuck {
	t.Helper()
	return newStuckOf(t, options, newChat())
}

func newStuckOf(t *testing.T, options Options, chat *chat) *stuck {
	t.Helper()
	server, err := New(withDefaults(options), partsOf(chat, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	own, peer := net.Pipe()
	s := &stuck{t: t, peer: peer, got: &session{chat: chat, user: 7}}
	s.reader = server.newReader(nil, &socket.Conn{Conn: own}, netip.Addr{})
	s.session, s.user, s.number = s.got, 7, 0
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

// pending returns how many bytes are known not to be written.
func (s *stuck) pending() int {
	state := s.out.State()
	return int(state.Total - state.Written)
}

func xs(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// framed is a text frame of the server's.
func framed(payload []byte) []byte { return appendFrame(nil, opText, payload) }

func closeFrame(cause closeCause) []byte { return socket.CloseFrame(cause) }

func TestRoomIsHalfTheQueueForWhoMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		synctest.Wait()
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
		synctest.Wait()
		s.Close(port.CloseRestart)
		if <-never { // although what was queued is still being written
			t.Error("a closing connection has room")
		}
	})
}

const (
	longHeader = 4     // of a frame below 64 KiB
	askBytes   = 2 + 8 // of a question
)

func (s *stuck) confirmed() []domain.Place {
	s.got.chat.mu.Lock()
	defer s.got.chat.mu.Unlock()
	return slices.Concat(s.got.received...)
}

// What was dropped makes the queue empty, too: that is no receipt.
func TestAConnectionThatDropsDuringTheLastWaitConfirmsNothing(t *testing.T) {
	for name, drop := range map[string]func(*stuck){
		"lost": func(s *stuck) { s.abort() },
		"slow": func(s *stuck) {
			s.Close(port.CloseSlow)
			go func() { _, _ = io.Copy(io.Discard, s.peer) }()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStuck(t, Options{})
			s.DeliverAt(xs(10), at(1, 1))
			s.gets(1)
			s.DeliverAt(xs(20), at(1, 2))
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				s.received(s.receipts.closedByClient())
			}()
			synctest.Wait() // for the write
			drop(s)
			<-closed
			if got := s.confirmed(); len(got) != 0 {
				t.Errorf("%s: confirmed %v", name, got)
			}
		})
	}
}

func TestAClientsCloseWaitsForNoWriteIfNothingIsToBeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck(t, Options{})
		s.Deliver(xs(10), "")
		s.gets(1)
		began := time.Now()
		s.received(s.receipts.closedByClient())
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it waits for %v", waited)
		}
	})
}

// aWrite is more than goes into one write with other frames.
const aWrite = 40 << 10

// The places below stand in frames that are longer than a write takes in one, so that each is a write by itself.
func TestAClientsCloseConfirmsWhatWasWrittenBeforeTheWriteThatIsStuck(t *testing.T) {
	long := delivery.Replayed{Frame: append(append([]byte(`{"x":"`), xs(aWrite)...), `"}`...), At: &domain.Place{Partition: 1, Offset: 1}}
	longBytes := longHeader + len(long.Frame) + len(`,"replayed":true`)
	for name, row := range map[string]struct {
		taken int
		want  []domain.Place
	}{
		"in the frame":                             {longBytes - 1, nil},
		"in the question behind it":                {longBytes + 1, []domain.Place{at(1, 1)}},
		"in the next frame":                        {longBytes + askBytes + 1, []domain.Place{at(1, 1)}},
		"behind a frame of which nobody was asked": {2*longBytes + askBytes + 1, []domain.Place{at(1, 1)}},
	} {
		s := newStuck(t, Options{})
		s.Deliver([]byte("{}"), "")
		s.gets(1) // so that the writer takes all that follows at once
		s.Replay([]delivery.Replayed{long})
		s.DeliverAt(wire.WithReplayed(long.Frame, ""), at(1, 2))
		s.Deliver([]byte("{}"), "")
		s.gets(3 + row.taken)
		s.received(s.receipts.closedByClient())
		if got := s.confirmed(); !slices.Equal(got, row.want) {
			t.Errorf("stuck %s: confirmed %v, want %v", name, got, row.want)
		}
	}
}

func TestTheLastWaitEndsWithTheWriteThatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		await := func(s *stuck) <-chan struct{} {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				awaitWrite(&s.out, time.Hour)
			}()
			return ended
		}
		s := newStuck(t, Options{})
		<-await(s) // nothing is being written
		s.Deliver(xs(10), "")
		s.gets(1)
		s.Deliver(xs(20), "")
		ended := await(s)
		synctest.Wait()
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
	})
}

func TestAQuestionCountsTowardsTheBoundOfTheQueue(t *testing.T) {
	s := newStuck(t, Options{QueueBytes: 1000, Times: Times{Receipt: time.Hour}})
	s.Deliver(xs(10), "")
	s.gets(1)
	s.DeliverAt(xs(966), at(1, 1)) // 12+970+18 is 1000
	asked := func() int { return s.ask() }
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
	s := newStuckOf(t, Options{}, bounded(2<<10, 0))
	s.DeliverAt(xs(4<<10), at(1, 1))
	if !s.out.isClosing() || s.receipts.open != nil {
		t.Fatalf("the frame is lost and the connection stays; receipts: %+v", s.receipts.open)
	}
	if got, want := s.rest(), closeFrame(closeSlow); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

// waits tells whether the reading goroutine waits for something of the server's.
func (s *stuck) waits() bool { return s.reading.IsPaused() }

// silentForLong makes the peer one that the keeper would ping, were the connection reading.
func (s *stuck) silentForLong() {
	s.named.Store(true)
	// Nothing was ever heard of it.
	s.server.options.Times.Silence, s.long = 1, socket.Elapsed()
}

func (s *stuck) isPinged() bool {
	s.keep(s.long)
	return s.pinged != 0
}

func TestAConnectionThatLeavesReadsNothingUntilItCloses(t *testing.T) {
	s := newStuck(t, Options{})
	if s.reading.IsLeaving() || !s.reading.Claim() {
		t.Fatal("a connection leaves that nobody told to")
	}
	s.leave()
	if s.out.isClosing() {
		t.Fatal("it closes before its append has an outcome")
	}
	s.silentForLong()
	left := make(chan bool, 1)
	go func() {
		s.reading.AwaitEnd()
		left <- s.reading.IsLeaving()
	}()
	eventually(t, "it waits", s.waits)
	if s.isPinged() {
		t.Error("the client is blamed for the wait")
	}
	select {
	case <-left:
		t.Fatal("it reads on")
	default:
	}
	s.settle(frames.Request{}, nil)
	if !<-left || !s.out.isClosing() {
		t.Error("it does not close once its append has an outcome")
	}
	if got, want := s.rest(), closeFrame(closeRestart); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAnOutcomeLetsTheNextAppendBegin(t *testing.T) {
	s := newStuck(t, Options{})
	for range socket.MaxUnderWay {
		if !s.reading.Claim() || s.waits() {
			t.Fatal("an append below the bound waits")
		}
	}
	s.silentForLong()
	claimed := make(chan bool, 1)
	go func() { claimed <- s.reading.Claim() }()
	eventually(t, "it waits", s.waits)
	if s.isPinged() {
		t.Error("the client is blamed for the wait")
	}
	select {
	case <-claimed:
		t.Fatal("there is no bound")
	default:
	}
	s.settle(frames.Request{}, nil)
	if !<-claimed || s.waits() {
		t.Errorf("it waits: %t", s.waits())
	}
	if s.isPinged() {
		t.Error("the silence so far counts, although nothing was read")
	}
	go func() { claimed <- s.reading.Claim() }()
	eventually(t, "it waits", s.waits)
	s.out.Close(closeRestart, "")
	if <-claimed {
		t.Error("an append begins on a closing connection")
	}
}

func TestControlFramesCountForTheConnectionAndForItsUser(t *testing.T) {
	s := newStuck(t, Options{})
	r := &notedRate{}
	s.server.deps.Rates.Frames = r
	for range 3 * throttle.MaxRefusals {
		if err := s.controlled(); err != nil {
			t.Fatalf("one within the rate: %v", err)
		}
	}
	if len(r.taken) != 3*throttle.MaxRefusals || slices.Max(r.taken) != 1 || slices.Min(r.taken) != 1 {
		t.Errorf("%d were counted", len(r.taken))
	}
	r.wait = 1
	began, over := time.Now(), 0
	for s.controlled() == nil {
		over++
	}
	if more := 10*int(time.Since(began)/time.Second) + 10; over < throttle.MaxRefusals || over > throttle.MaxRefusals+more {
		t.Errorf("%d over the rate are taken", over)
	}
	s.session = nil // nobody's yet
	if err := s.controlled(); err != nil {
		t.Errorf("before the login: %v", err)
	}
	s.throttle.Frames = rate.NewLimiter(rate.Every(time.Hour), 2)
	for i, want := range []error{nil, nil, errFlood} {
		if err := s.controlled(); !errors.Is(err, want) {
			t.Errorf("number %d over the connection's rate: %v", i, err)
		}
	}
}

func TestALoginIsGivenUpWhenItsConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(*stuck){
		"lost": func(s *stuck) { s.abort() }, "closed": func(s *stuck) { s.out.Close(closeRestart, "") }, "slow": func(s *stuck) { s.out.CloseAsSlow() },
	} {
		s := newStuck(t, Options{Times: Times{Login: time.Hour}})
		s.silentForLong()
		s.checking(func(ctx context.Context) {
			if s.isPinged() {
				t.Errorf("%s: the client is blamed for the wait", name)
			}
			if ctx.Err() != nil {
				t.Errorf("%s: it is given up at once", name)
			}
			end(s)
			<-ctx.Done()
		})
		s.checking(func(ctx context.Context) {
			if ctx.Err() == nil {
				t.Errorf("%s: a connection that has ended waits", name)
			}
		})
		if s.waits() {
			t.Errorf("%s: something is left of the wait", name)
		}
	}
	s := newStuck(t, Options{Times: Times{Login: time.Hour}})
	s.silentForLong()
	s.checking(func(context.Context) {})
	if s.isPinged() {
		t.Error("the silence so far counts, although nothing was read")
	}
}

func TestAConnectionThatIsClosingIsAskedNothing(t *testing.T) {
	s := newStuck(t, Options{Times: Times{Receipt: 1}})
	s.DeliverAt(xs(10), at(1, 1))
	s.Close(port.CloseRestart)
	s.keep(socket.Elapsed())
	if got, want := s.rest(), append(framed(xs(10)), closeFrame(closeRestart)...); !bytes.Equal(got, want) {
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
		s.receipts.open.since = time.Now().Add(-row.since)
		s.receipts.ask(s.server.options.Times.Receipt)
		asked := len(s.receipts.open.asked)
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
	if s.server.deps.Rates.TakeLogin(netip.Addr{}) != 0 || s.server.deps.Rates.LoginWait(netip.Addr{}) != 0 {
		t.Error("it has to wait")
	}
}

// A client that comes again at once gets one attempt in that time on each socket.
func TestALoginThatCameTooEarlyIsHeldBeforeItIsRefused(t *testing.T) {
	s := newStuck(t, Options{})
	logs := &logBuffer{}
	s.server.deps.Notices = notice.NewLog(slog.New(slog.NewTextHandler(logs, nil)), time.Now)
	began := time.Now()
	s.visit.failed(&application.LoginError{User: 8, Err: domain.NewRateLimited("Later.", time.Second)})
	if held := time.Since(began); held < loginHold {
		t.Errorf("it is held for %v", held)
	}
	if got, want := s.rest(), closeFrame(closeLoginRate); !bytes.Equal(got, want) || !strings.Contains(logs.text(), "user=8") {
		t.Errorf("the peer got %q, want %q; log is %s", got, want, logs.text())
	}
}

func TestALoginIsRefusedAsItsErrorDemands(t *testing.T) {
	for code, row := range map[domain.Code]struct {
		want   closeCause
		logged bool
	}{
		domain.CodeUnauthenticated: {closeBadToken, false}, domain.CodeUnavailable: {closeTryLater, true}, domain.CodeInternal: {closeInternal, true},
	} {
		s := newStuck(t, Options{})
		logs := &logBuffer{}
		s.server.deps.Notices = notice.NewLog(slog.New(slog.NewTextHandler(logs, nil)), time.Now)
		s.visit.failed(domain.NewError(code, "x"))
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
	s.out.Held().Close()
	asked := s.ask()
	if got, want := s.rest(), closeFrame(closeSlow); !bytes.Equal(got, want) || asked != 0 {
		t.Errorf("the peer got %q, want %q; %d questions", got, want, asked)
	}
}

func TestReceiptsLastUntilAllIsConfirmed(t *testing.T) {
	frameAt := func(offset int64) []delivery.Replayed {
		return []delivery.Replayed{{Frame: []byte("{}"), At: &domain.Place{Partition: 1, Offset: offset}}}
	}
	s := newStuck(t, Options{})
	go func() { _, _ = io.Copy(io.Discard, s.peer) }()
	s.Replay(frameAt(1))
	s.Replay(frameAt(2))
	if !s.answers(0) || s.receipts.open == nil {
		t.Fatal("the second question is forgotten with the first")
	}
	s.DeliverAt([]byte("{}"), at(1, 3)) // nobody was asked about it
	if !s.answers(0) || s.receipts.open == nil || len(s.receipts.open.noted) != 1 {
		t.Fatal("what was not asked about is forgotten")
	}
	s.Replay(frameAt(4))
	if !s.answers(0) || s.receipts.open != nil {
		t.Error("something is kept of what is confirmed")
	}
	if got, want := s.confirmed(), []domain.Place{at(1, 1), at(1, 2), at(1, 4)}; !slices.Equal(got, want) {
		t.Errorf("confirmed %v, want %v", got, want)
	}
	if s.gives("12345678") || s.gives("1") {
		t.Error("a pong to nothing is an answer")
	}
}

func TestWhatAClosingConnectionDoesNotSendIsNotNoted(t *testing.T) {
	s := newStuck(t, Options{})
	s.Close(port.CloseRestart)
	s.DeliverAt([]byte("{}"), at(1, 1))
	s.Replay([]delivery.Replayed{{At: &domain.Place{Partition: 1, Offset: 2}}})
	if s.receipts.open != nil {
		t.Errorf("%+v", s.receipts.open)
	}
	full := newStuck(t, Options{QueueBytes: 100})
	full.Replay([]delivery.Replayed{
		{Frame: append(xs(200), '}'), At: &domain.Place{Partition: 1, Offset: 1}}, {At: &domain.Place{Partition: 1, Offset: 2}},
	})
	if full.receipts.open != nil || !full.out.isClosing() {
		t.Errorf("%+v", full.receipts.open)
	}
}

func TestACloseWithTheServersCodeIsNoAnswerBeforeTheServerHasSentIt(t *testing.T) {
	s := newStuck(t, Options{})
	s.DeliverAt([]byte("{}"), at(1, 1))
	s.gets(1)
	s.Close(port.CloseRestart)
	s.closeAnswered(&websocket.CloseError{Code: 1012})
	if got := s.confirmed(); len(got) != 0 {
		t.Fatalf("confirmed %v", got)
	}
	s.gets(3 + len(closeFrame(closeRestart)))
	s.closeAnswered(io.EOF)
	s.closeAnswered(&websocket.CloseError{Code: 1000})
	if got := s.confirmed(); len(got) != 0 {
		t.Fatalf("confirmed %v", got)
	}
	s.closeAnswered(&websocket.CloseError{Code: 1012})
	if got := s.confirmed(); !slices.Equal(got, []domain.Place{at(1, 1)}) {
		t.Errorf("confirmed %v", got)
	}
}
