package socket

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"chatting/adapters/ws/rfc6455"
)

func TestBytesBeingWrittenCountTowardsTheBoundOfTheQueue(t *testing.T) {
	s := newStuck(t, 1000)
	s.out.Send(xs(500))
	first := s.gets(1)
	if got := s.pending(); got != 504 {
		t.Errorf("%d bytes are on their way, want 504", got)
	}
	s.out.Send(xs(486)) // 1000 with the longest header
	if s.out.State().Closing {
		t.Fatal("what fits to the byte is refused")
	}
	s.out.Send(nil)
	if !s.out.State().Closing {
		t.Fatal("the bytes being written do not count")
	}
	// What is being written is ended, and what waits behind it is dropped.
	if got, want := append(first, s.rest()...), append(framed(xs(500)), CloseFrame(slow)...); !bytes.Equal(got, want) {
		t.Errorf("the peer got %d bytes that end %q, want %d", len(got), got[max(0, len(got)-10):], len(want))
	}
	if held := s.held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

func TestAFrameByItselfMayFillTheQueue(t *testing.T) {
	s := newStuck(t, 1000)
	s.out.Send(xs(990))
	if s.out.State().Closing {
		t.Fatal("it is refused")
	}
	s.gets(994)
	s.out.awaitWriter()
	if pending, held := s.pending(), s.held(); pending != 0 || held != 0 {
		t.Errorf("afterwards %d bytes are on their way and %d are held", pending, held)
	}
	s.out.Send(xs(991))
	if !s.out.State().Closing {
		t.Error("one that is longer is not")
	}
}

func TestWhatASlowReaderHasGotOfALongBatchIsNotHeld(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	s.gets(1)
	for range 4 {
		s.out.Send(xs(30_000)) // each is a write by itself
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

func TestAnIdleConnectionSendsControlFramesAtOnce(t *testing.T) {
	s := newStuck(t, 1<<20)
	for want, send := range map[string]func(){
		string(rfc6455.Append(nil, rfc6455.Ping, nil)): s.out.Ping, string(rfc6455.Append(nil, rfc6455.Pong, []byte("x"))): func() { s.out.Pong("x") },
	} {
		s.out.awaitWriter()
		send()
		if got := s.gets(len(want)); string(got) != want {
			t.Errorf("the peer got %q, want %q", got, want)
		}
	}
}

func TestAControlFrameDoesNotWaitForABatch(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	got := s.gets(1)
	s.out.Send(xs(30_000))
	s.out.Send(xs(30_001))
	s.out.Pong("early")
	s.out.Pong("late") // instead of the early one
	s.out.Ping()
	want := slices.Concat(framed(xs(10)), rfc6455.Append(nil, rfc6455.Ping, nil), rfc6455.Append(nil, rfc6455.Pong, []byte("late")), framed(xs(30_000)))
	got = append(got, s.gets(len(want)-1)...)
	if !bytes.Equal(got, want) {
		t.Fatalf("the peer got %.40q… that ends %.20q", got, got[len(got)-20:])
	}
	got = s.gets(1)
	s.out.Pong("between")
	want = append(framed(xs(30_001)), rfc6455.Append(nil, rfc6455.Pong, []byte("between"))...)
	if got = append(got, s.gets(len(want)-1)...); !bytes.Equal(got, want) {
		t.Fatalf("the peer got %d bytes that end %q", len(got), got[len(got)-20:])
	}
}

func TestNothingComesAfterTheCloseFrame(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	got := s.gets(1)
	s.out.Send(xs(20))
	s.out.Ping()
	s.out.Pong("x")
	s.out.Close(restart, "")
	s.out.Close(other, "")
	s.out.CloseAsSlow()
	s.out.Ping()
	s.out.Pong("x")
	s.out.Send(xs(30))
	want := slices.Concat(framed(xs(10)), framed(xs(20)), CloseFrame(restart))
	if got = append(got, s.rest()...); !bytes.Equal(got, want) {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAnAbortedConnectionSaysNothingMore(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	s.gets(1)
	s.out.Send(xs(20))
	s.out.Abort()
	s.out.Send(xs(30))
	s.out.Ping()
	s.out.awaitWriter()
	if data, err := io.ReadAll(s.peer); err != nil || len(data) > 0 {
		t.Errorf("the peer got %q, %v", data, err)
	}
	if held, pending := s.held(), s.pending(); held != 0 || pending != 0 {
		t.Errorf("%d bytes are held and %d on their way", held, pending)
	}
}

// What the writer took from the queue with the frame that is stuck is dropped as the queue is.
func TestStuckWriteClosesAsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck(t, 64<<20)
		s.out.Send(xs(10))
		s.gets(1)
		for range 32 {
			s.out.Send(xs(1 << 20))
		}
		frame := framed(xs(1 << 20))
		got := s.gets(11 + 1000)[11:]
		closing := s.out.Await(t.Context(), func(now State) bool { return now.Closing })
		if closing.Cause != slow || closing.Why != "why" {
			t.Errorf("it closes because of %v, %q", closing.Cause, closing.Why)
		}
		if got = append(got, s.rest()...); !bytes.Equal(got, append(frame, CloseFrame(slow)...)) {
			t.Errorf("the peer got %d bytes that end %q", len(got), got[len(got)-20:])
		}
		if held := s.held(); held != 0 {
			t.Errorf("%d bytes are held", held)
		}
	})
}

func TestASlowReaderGetsNothingMoreOfWhatTheWriterTook(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	s.gets(1)
	for range 3 {
		s.out.Send(xs(coalesce)) // each is a write by itself
	}
	got := s.gets(11 + 1)[11:]
	if !s.out.CloseAsSlow() {
		t.Fatal("it was closing already")
	}
	if got = append(got, s.rest()...); !bytes.Equal(got, append(framed(xs(coalesce)), CloseFrame(slow)...)) {
		t.Errorf("the peer got %d bytes that end %q", len(got), got[len(got)-20:])
	}
}

func TestWhatTheLedgerCutsOffClosesAsSlow(t *testing.T) {
	s := newStuck(t, 1<<20)
	s.out.Send(xs(10))
	s.gets(1)
	s.out.Send(xs(20))
	s.out.Cut()
	if got, want := s.rest(), append(framed(xs(10))[1:], CloseFrame(slow)...); !bytes.Equal(got, want) || !s.out.State().CutOff {
		t.Errorf("the peer got %q, want %q", got, want)
	}
}

func TestAnIdleConnectionHasNeitherWriterNorBuffer(t *testing.T) {
	s := newStuck(t, 1<<20)
	for range 3 {
		s.out.Send(xs(10))
		s.gets(12)
		s.out.awaitWriter()
		if s.out.queue.frames != nil {
			t.Error("it has a buffer")
		}
	}
}

// panicking is a connection that cannot be written to.
type panicking struct{ net.Conn }

func (panicking) Write([]byte) (int, error) { panic("a secret") }

func TestAWriterThatPanicsEndsItsConnection(t *testing.T) {
	o := newOutbound(&Conn{Conn: panicking{nowhere{}}}, 1<<20)
	o.Send(xs(10))
	o.awaitWriter()
	if state := o.State(); state.Cause != lost || !state.Sent || !state.Dropped {
		t.Errorf("it is %+v", state)
	}
}

// BenchmarkOutbound compares frames written one by one with frames that may share writes. Compare the two, not their
// values.
func BenchmarkOutbound(b *testing.B) {
	data := []byte(`{"type":"chat_message","message":"` + strings.Repeat("x", 100) + `"}`)
	for _, burst := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			received := make(chan struct{})
			var count atomic.Int64
			go func() {
				defer close(received)
				peer, err := net.Dial("tcp", listener.Addr().String())
				if err != nil {
					return
				}
				defer func() { _ = peer.Close() }()
				buffer := make([]byte, 1<<20)
				for {
					n, err := peer.Read(buffer)
					count.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
			conn, err := listener.Accept()
			if err != nil {
				b.Fatal(err)
			}
			out := newOutbound(&Conn{Conn: conn}, 1<<20)
			b.ResetTimer()
			for n := 0; n < b.N; n += burst {
				for range burst {
					out.Send(data)
				}
				out.awaitWriter()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			b.StopTimer()
			out.Close(restart, "")
			out.awaitWriter()
			_ = conn.Close()
			<-received
		})
	}
}
