package contract

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
)

// patience bounds waits for what must happen.
const patience = 30 * time.Second

// The opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// happened is what a socket received: kind is frame, ping, pong or closed.
type happened struct {
	kind string
	text string // of a frame, a ping, a pong
	code int    // of a close frame; 1005 where it has none, 1006 where there was no close frame
	// reason is that of a close frame.
	reason string
	// silence is for how long the client had said nothing.
	silence time.Duration
}

func (h happened) String() string {
	if h.kind == "closed" {
		return strings.TrimSpace(fmt.Sprintf("closed %d %s", h.code, h.reason))
	}
	return h.kind + " " + compact(h.text)
}

// socket is a client. The library reads, and so checks what the server sends; frames are written here, because a client
// that keeps the rules cannot write those that break them. Close it: that ends the reading goroutine.
type socket struct {
	conn   *websocket.Conn
	inbox  chan happened // what was received; its last is closed
	ended  chan struct{}
	done   chan struct{} // the reading goroutine has ended
	mute   atomic.Bool   // pings are not answered
	closed bool          // the row has seen the end
	left   atomic.Bool   // the client has sent a close frame
	spoke  atomic.Int64  // when the client last said something
}

// dial opens a socket. Where the server refuses, status is its answer.
func dial(ctx context.Context, url string, header http.Header) (s *socket, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	conn, response, err := (&websocket.Dialer{}).DialContext(ctx, url, header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil, response.StatusCode, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if chosen := response.Header.Get("Sec-WebSocket-Protocol"); chosen != "" {
		conn.Close()
		return nil, 0, fmt.Errorf("the server chose the subprotocol %s", chosen)
	}
	s = &socket{
		conn: conn, inbox: make(chan happened, 1024), ended: make(chan struct{}), done: make(chan struct{}),
	}
	s.spoke.Store(began.UnixNano())
	conn.SetPingHandler(func(data string) error {
		s.take(happened{kind: "ping", text: data})
		if s.mute.Load() {
			return nil
		}
		return s.write(true, opPong, []byte(data))
	})
	conn.SetPongHandler(func(data string) error {
		s.take(happened{kind: "pong", text: data})
		return nil
	})
	conn.SetCloseHandler(func(code int, _ string) error {
		if !s.left.Load() {
			_ = s.put(true, opClose, closePayload(code)) // the server may be gone
		}
		return nil
	})
	go s.read()
	return s, response.StatusCode, nil
}

func (s *socket) read() {
	defer close(s.done)
	for {
		kind, data, err := s.conn.ReadMessage()
		if err != nil {
			end := happened{kind: "closed", code: websocket.CloseAbnormalClosure, text: err.Error()}
			var closed *websocket.CloseError
			if errors.As(err, &closed) {
				end.code, end.reason = closed.Code, closed.Text
			}
			s.take(end)
			return
		}
		text := string(data)
		if kind != websocket.TextMessage {
			text = fmt.Sprintf("(binary) %x", data)
		}
		s.take(happened{kind: "frame", text: text})
	}
}

// take hands over what was received. A row that does not take it holds the reading up.
func (s *socket) take(h happened) {
	h.silence = time.Since(time.Unix(0, s.spoke.Load()))
	select {
	case s.inbox <- h:
	case <-s.ended:
	}
}

// next returns the next thing that was received, other than pings where none are wanted.
func (s *socket) next(kind string) (happened, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case h := <-s.inbox:
			s.closed = s.closed || h.kind == "closed"
			if h.kind == "ping" && kind != "ping" {
				continue
			}
			return h, nil
		case <-late.C:
			return happened{}, fmt.Errorf("nothing came within %s", patience)
		}
	}
}

// close cuts the connection, if it still stands, and waits for the reading to end.
func (s *socket) close() {
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
	s.conn.Close()
	<-s.done
}

// write says something: it sends one frame.
func (s *socket) write(final bool, opcode byte, payload []byte) error {
	s.spoke.Store(time.Now().UnixNano())
	return s.put(final, opcode, payload)
}

// put sends one frame, masked as a client's must be.
func (s *socket) put(final bool, opcode byte, payload []byte) error {
	if opcode == opClose {
		s.left.Store(true)
	}
	head := []byte{opcode, 0x80}
	if final {
		head[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		head[1] |= byte(n)
	case n < 1<<16:
		head[1] |= 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] |= 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	frame := append(head, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	// In one call, so that the answer to a ping does not come between.
	_, err := s.conn.NetConn().Write(frame)
	return err
}

// closePayload is the body of a close frame; 1005 stands for none.
func closePayload(code int) []byte {
	if code == websocket.CloseNoStatusReceived {
		return nil
	}
	return binary.BigEndian.AppendUint16(nil, uint16(code))
}
