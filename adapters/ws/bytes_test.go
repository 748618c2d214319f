package ws

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"chatting/application"
	"chatting/application/ledger"
	"chatting/application/port"
	"chatting/domain"
)

// bounded returns an application whose connections may hold so many bytes in sum and for each user.
func bounded(limit, userLimit int) *chat {
	c := newChat()
	c.bytes = ledger.NewByteLedger(limit, userLimit, time.Now)
	return c
}

// stall delivers to a connection that is not read until so many bytes wait for it, or are held for it: the system takes no
// more. The ledger holds what was written of a long batch for a while, so that it may have twice as many as wait.
func stall(t *testing.T, conn application.Connection, bytes int) {
	t.Helper()
	c := conn.(*connection)
	ledger := c.server.deps.Bytes
	before := ledger.Held()
	data := []byte(strings.Repeat("x", 16<<10))
	stuck, chunks := 0, uint64(0)
	eventually(t, "the reader is stalled", func() bool {
		for {
			state := c.out.State()
			pending, begun := int(state.Total-state.Written), state.Writes
			switch {
			case state.Closing:
				t.Fatal("the connection is closing")
			case pending < bytes && ledger.Held()-before < bytes:
				stuck = 0
				conn.Deliver(data, "")
				continue
			case begun != chunks:
				stuck = 0
			default:
				stuck++
			}
			chunks = begun
			return stuck > 50 // looks, a millisecond apart
		}
	})
}

// fill delivers to a connection until somebody has to make room.
func fill(t *testing.T, f *fixture, conn application.Connection) {
	t.Helper()
	data := []byte(strings.Repeat("x", 16<<10))
	eventually(t, "somebody makes room", func() bool {
		conn.Deliver(data, "")
		return f.chat.bytes.Cuts() > 0
	})
}

func TestTheSlowestReaderMakesRoomNotWhoComesNext(t *testing.T) {
	f := serve(t, Options{QueueBytes: 1 << 20, Times: Times{Close: patience}}, bounded(1600<<10, 0))
	slowest, slow, fast := f.login(t, 7), f.login(t, 8), f.login(t, 9)
	stall(t, f.chat.connectionOf(t, 7), 300<<10)
	stall(t, f.chat.connectionOf(t, 8), 300<<10)
	second := f.login(t, 10)
	fill(t, f, f.chat.connectionOf(t, 10))
	eventually(t, "the slowest one closes", f.chat.connectionOf(t, 7).(*connection).out.isClosing)
	for range 20 {
		f.chat.connectionOf(t, 9).Deliver([]byte(`{"n":1}`), "")
		fast.next()
	}
	if code := slowest.closed(); code != 1013 {
		t.Errorf("the slowest one was closed with %d", code)
	}
	for _, c := range []*client{slow, second} {
		c.send(`{"target_id":99,"message":"still here"}`)
		for {
			if _, got, err := c.ReadMessage(); err != nil {
				t.Fatalf("another one was closed: %v", err)
			} else if bytes.Contains(got, []byte("No User or Offline")) {
				break
			}
		}
	}
}

func TestOneUserMakesRoomForItself(t *testing.T) {
	f := serve(t, Options{QueueBytes: 1 << 20, Times: Times{Close: patience}}, bounded(0, 1<<20))
	first := f.login(t, 7)
	old := f.chat.connectionOf(t, 7)
	stall(t, old, 300<<10)
	other := f.login(t, 8)
	stall(t, f.chat.connectionOf(t, 8), 700<<10)

	second := f.login(t, 7)
	f.chat.mu.Lock()
	var fresh application.Connection
	for conn := range f.chat.online[7] {
		if conn != old {
			fresh = conn
		}
	}
	f.chat.mu.Unlock()
	fill(t, f, fresh)
	if code := first.closed(); code != 1013 {
		t.Errorf("the first connection was closed with %d", code)
	}
	for _, c := range []*client{second, other} {
		if _, _, err := c.ReadMessage(); err != nil {
			t.Errorf("another one was closed: %v", err)
		}
	}
}

func TestReadersThatNeverReadHoldNoMoreThanTheSum(t *testing.T) {
	const limit = 4 << 20
	f := serve(t, Options{QueueBytes: 1 << 20, Times: Times{Close: 100 * time.Millisecond, Drain: 100 * time.Millisecond}}, bounded(limit, 0))
	data := []byte(strings.Repeat("x", 48<<10))
	for user := range 60 {
		f.login(t, user+1)
	}
	for range 40 {
		for user := range 60 {
			f.chat.mu.Lock()
			for conn := range f.chat.online[domain.UserID(user+1)] {
				conn.Deliver(data, "")
			}
			f.chat.mu.Unlock()
			if held := f.chat.bytes.Held(); held > limit {
				t.Fatalf("%d bytes are held", held)
			}
		}
	}
	if f.chat.bytes.Cuts() == 0 {
		t.Fatal("nobody was cut off")
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(f.logs.text(), "cut off") })
}

func TestWhatEndedHoldsNothing(t *testing.T) {
	f := serve(t, Options{QueueBytes: 1 << 20, Times: Times{Close: 50 * time.Millisecond, Drain: 50 * time.Millisecond}}, bounded(8<<20, 1<<20))
	c := f.login(t, 7)
	stall(t, f.chat.connectionOf(t, 7), 500<<10)
	_ = c.Close()
	f.login(t, 8)
	stall(t, f.chat.connectionOf(t, 8), 500<<10)
	f.chat.connectionOf(t, 8).Close(port.CloseRestart)
	quiet := f.login(t, 9)
	for range 10 {
		quiet.send(`{"target_id":9,"message":"` + strings.Repeat("x", 40<<10) + `"}`)
		quiet.next()
	}
	eventually(t, "nothing is held", func() bool { return f.chat.bytes.Held() == 0 })
}

// half sends the head of a frame of so many bytes and half of its payload.
func half(t *testing.T, conn net.Conn, payload int) {
	t.Helper()
	frame := textFrame(strings.Repeat("x", payload))
	if _, err := io.WriteString(conn, frame[:len(frame)/2]); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesThatDoNotEndAreBoundedInSum(t *testing.T) {
	const limit = 1 << 20
	f := serve(t, Options{Times: Times{Close: patience}}, bounded(limit, 0))
	conns := make([]net.Conn, 50)
	for i := range conns {
		conns[i] = f.raw(t)
		if _, err := io.WriteString(conns[i], upgradeHead+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are upgraded", func() bool { return f.Connections() == len(conns) })
	for _, conn := range conns {
		before := f.chat.bytes.Held() + int(f.chat.bytes.Cuts())
		half(t, conn, 60<<10)
		eventually(t, "the message is being received", func() bool { return f.chat.bytes.Held()+int(f.chat.bytes.Cuts()) != before })
		if held := f.chat.bytes.Held(); held > limit {
			t.Fatalf("%d bytes are held", held)
		}
	}
	// The first one was cut off, with the code that says so.
	answer, err := io.ReadAll(conns[0])
	if err != nil || !bytes.HasSuffix(answer, closeFrame(closeOverload)) {
		t.Errorf("the first one got %q, %v", answer, err)
	}
	// Who sends whole messages is served.
	c := f.login(t, 7)
	c.send(`{"target_id":7,"message":"` + strings.Repeat("x", 60<<10) + `"}`)
	if got := c.next(); got["type"] != "chat_message" {
		t.Errorf("got %v", got)
	}
}

func TestAConnectionThatIsClosingCanBeCutOff(t *testing.T) {
	f := serve(t, Options{QueueBytes: 1 << 20, Times: Times{Close: time.Hour, Drain: time.Millisecond}}, bounded(1<<20, 0))
	f.login(t, 7)
	leaving := f.chat.connectionOf(t, 7)
	stall(t, leaving, 600<<10)
	leaving.Close(port.CloseRestart)
	f.login(t, 8)
	stall(t, f.chat.connectionOf(t, 8), 600<<10)
	eventually(t, "the first one is cut off, and ends", func() bool {
		f.chat.mu.Lock()
		defer f.chat.mu.Unlock()
		// The other one may be cut off behind it.
		return leaving.(*connection).out.State().CutOff && f.chat.ended > 0
	})
	f.chat.connectionOf(t, 8).(*connection).abort()
}
