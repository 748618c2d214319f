package ws

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

var (
	errBinary  = errors.New("a binary message")
	errNotUTF8 = errors.New("a text message that is not UTF-8")
	errFlood   = errors.New("too many control frames")
)

// messageReader reads the messages of one client, of all their fragments. It belongs to the reading goroutine.
type messageReader struct {
	inner *websocket.Conn
	sock  *socket
	// held counts the bytes of the message that is being received and carried out.
	held   *ledger.Holding
	cutOff atomic.Bool // by the ledger
}

// next reads the next message, in a buffer that goes back by free.
func (m *messageReader) next() (*bytes.Buffer, error) {
	kind, reader, err := m.inner.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		return nil, errBinary
	}
	data := messages.Get().(*bytes.Buffer)
	data.Reset()
	if err = m.receive(data, reader); err == nil && !utf8.Valid(data.Bytes()) {
		err = errNotUTF8
	}
	if err != nil {
		m.free(data)
		return nil, err
	}
	return data, nil
}

// receive reads a message. The buffer grows as its bytes come, not as they are announced, and only as the ledger has room.
func (m *messageReader) receive(data *bytes.Buffer, reader io.Reader) error {
	for n := uncounted; ; n *= 2 {
		if n > uncounted && !m.held.Hold(n) {
			return errNoRoom
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

// free gives a message's buffer back.
func (m *messageReader) free(data *bytes.Buffer) {
	if data.Len() >= uncounted {
		m.held.Keep(0)
	}
	if data.Cap() <= keepMessage {
		messages.Put(data)
	}
}

// cut makes reading fail, and so the connection close. The ledger calls it, under any lock.
func (m *messageReader) cut() {
	m.cutOff.Store(true)
	_ = m.sock.Conn.SetReadDeadline(longAgo) // a socket that refuses one refuses to be read, too
}

// drain reads on for a while after the close frame was queued, so that the peer sees it, not a reset. The deadline that closing
// set ends it, or the peer does.
func (m *messageReader) drain() {
	m.sock.permit(drainBytes)
	buffer := buffers.Get().(*[]byte)
	defer recycle(buffer)
	for {
		if _, err := m.sock.Read((*buffer)[:cap(*buffer)]); err != nil {
			return
		}
	}
}
