package socket

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/ws/rfc6455"
	"chatting/application/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCause is a cause with a code of its own.
type testCause int

const (
	lost    testCause = 1006
	restart testCause = 1012
	slow    testCause = 1013
	other   testCause = 3000
)

func (c testCause) Code() int      { return int(c) }
func (c testCause) Reason() string { return "reason" }
func (c testCause) String() string { return "why" }

// newOutbound returns the outbound of a socket by itself.
func newOutbound(sock *Conn, queueBytes int) *Outbound {
	o := &Outbound{}
	initOutbound(o, sock, &Reading{}, queueBytes, ledger.NewByteLedger(0, 0, time.Now))
	return o
}

func initOutbound(o *Outbound, sock *Conn, reading *Reading, queueBytes int, bytesHeld *ledger.ByteLedger) {
	o.Init(&Options{
		QueueBytes: queueBytes, Write: 10 * time.Second, Close: 5 * time.Second, Drain: 2 * time.Second, Slow: slow, Lost: lost,
		Guard: func(f, instead func()) {
			defer func() {
				if recover() != nil {
					instead()
				}
			}()
			f()
		},
	}, sock, reading, bytesHeld.Open(o.Cut))
}

// awaitWriter waits until nothing is left to be written.
func (o *Outbound) awaitWriter() {
	o.Await(context.Background(), func(now State) bool { return !now.Writing })
}

// stuck is a connection whose writes go on only as the test reads: the pipe between them holds no byte.
type stuck struct {
	t       *testing.T
	peer    net.Conn
	sock    *Conn
	out     Outbound
	reading Reading
	bytes   *ledger.ByteLedger
}

func newStuck(t *testing.T, queueBytes int) *stuck {
	t.Helper()
	own, peer := net.Pipe()
	s := &stuck{t: t, peer: peer, sock: &Conn{Conn: own}, bytes: ledger.NewByteLedger(0, 0, time.Now)}
	initOutbound(&s.out, s.sock, &s.reading, queueBytes, s.bytes)
	t.Cleanup(func() {
		s.out.Abort()
		s.out.awaitWriter()
		_ = peer.Close()
	})
	_ = peer.SetReadDeadline(time.Now().Add(time.Minute)) // so that a test that hangs ends
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

func (s *stuck) held() int { return s.bytes.Held() }

// pending returns how many bytes are known not to be written.
func (s *stuck) pending() int {
	state := s.out.State()
	return int(state.Total - state.Written)
}

func xs(n int) []byte { return bytes.Repeat([]byte("x"), n) }

// framed is a text frame of the server's.
func framed(payload []byte) []byte { return rfc6455.Append(nil, rfc6455.Text, payload) }

// nowhere is a connection that takes everything at once.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
func (nowhere) Close() error                     { return nil }
