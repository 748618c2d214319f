package socket

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/fasthttp/websocket"

	"chatting/application/ledger"
)

const (
	// uncounted is how many bytes of a message every connection may have without asking the ledger.
	uncounted = 4 << 10
	// keepMessage is the largest buffer that goes back to the pool.
	keepMessage = 16 << 10
	// drainBytes bounds what is read and thrown away of a closing connection, for its peer to see the close frame: a
	// socket closed with unread bytes is reset.
	drainBytes = 4 << 20
)

// messages are buffers for one message each. A connection that waits for a message has none.
var messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// What a message may be refused for, beside what the library refuses. See also ErrTooMuch and ErrNoRoom.
var (
	ErrBinary  = errors.New("a binary message")
	ErrNotUTF8 = errors.New("a text message that is not UTF-8")
)

// MessageReader reads the messages of one client, of all their fragments. It belongs to the reading goroutine.
type MessageReader struct {
	inner  *websocket.Conn
	sock   *Conn
	held   *ledger.Holding
	cutOff atomic.Bool // by the ledger
}

// Init makes it read from inner, which reads from sock. held counts the bytes of the message that is being received and carried
// out. The caller opened it with Cut, and closes it when nothing is read any more.
func (m *MessageReader) Init(inner *websocket.Conn, sock *Conn, held *ledger.Holding) {
	m.inner, m.sock, m.held = inner, sock, held
}

// Held returns where the bytes are counted.
func (m *MessageReader) Held() *ledger.Holding { return m.held }

// Next reads the next message, in a buffer that goes back by Free.
func (m *MessageReader) Next() (*bytes.Buffer, error) {
	kind, reader, err := m.inner.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		return nil, ErrBinary
	}
	data := messages.Get().(*bytes.Buffer)
	data.Reset()
	if err = m.receive(data, reader); err == nil && !utf8.Valid(data.Bytes()) {
		err = ErrNotUTF8
	}
	if err != nil {
		m.Free(data)
		return nil, err
	}
	return data, nil
}

// receive reads a message. The buffer grows as its bytes come, not as they are announced, and only as the ledger has room.
func (m *MessageReader) receive(data *bytes.Buffer, reader io.Reader) error {
	for n := uncounted; ; n *= 2 {
		if n > uncounted && !m.held.Hold(n) {
			return ErrNoRoom
		}
		data.Grow(n + bytes.MinRead)
		switch _, err := io.CopyN(data, reader, int64(n)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Free gives a message's buffer back.
func (m *MessageReader) Free(data *bytes.Buffer) {
	if data.Len() >= uncounted {
		m.held.Keep(0)
	}
	if data.Cap() <= keepMessage {
		messages.Put(data)
	}
}

// Cut makes reading fail, and so the connection close. The ledger calls it, under any lock.
func (m *MessageReader) Cut() {
	m.cutOff.Store(true)
	_ = m.sock.Conn.SetReadDeadline(longAgo) // a socket that refuses one refuses to be read, too
}

// IsCutOff tells whether Cut was called.
func (m *MessageReader) IsCutOff() bool { return m.cutOff.Load() }

// Drain reads on for a while after the close frame was queued, so that the peer sees it, not a reset. The deadline that closing
// set ends it, or the peer does.
func (m *MessageReader) Drain() {
	m.sock.Permit(drainBytes)
	buffer := Buffer()
	defer Recycle(buffer)
	for {
		if _, err := m.sock.Read((*buffer)[:cap(*buffer)]); err != nil {
			return
		}
	}
}
