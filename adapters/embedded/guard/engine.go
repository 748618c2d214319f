package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
)

// maxAnswer bounds one answer of kfake. The largest is a fetch of a topic's largest batch.
const maxAnswer = 64 << 20

// engine is the listener that kfake serves. Nobody can dial it from outside the process: only lanes lead to it.
type engine struct {
	addr  net.Addr // of the listener for clients: kfake tells clients to come back to it
	conns chan net.Conn
	done  chan struct{}

	mu    sync.Mutex
	lanes map[*lane]struct{}
	shut  bool
}

func newEngine(addr net.Addr) *engine {
	return &engine{addr: addr, conns: make(chan net.Conn), done: make(chan struct{}), lanes: make(map[*lane]struct{})}
}

// Accept implements net.Listener for kfake.
func (e *engine) Accept() (net.Conn, error) {
	select {
	case conn := <-e.conns:
		return conn, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (e *engine) Addr() net.Addr { return e.addr }

// Close implements net.Listener. It ends all lanes as well.
func (e *engine) Close() error {
	e.mu.Lock()
	lanes := e.lanes
	e.lanes = nil
	if !e.shut {
		e.shut = true
		close(e.done)
	}
	e.mu.Unlock()
	for lane := range lanes {
		lane.hangUp()
	}
	return nil
}

func (e *engine) forget(l *lane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.lanes, l)
}

// dial opens a lane. kfake reports peer as the address of its client.
func (e *engine) dial(peer net.Addr) (*lane, error) {
	l := &lane{
		engine: e, peer: peer, requests: make(chan net.Buffers, 1), answers: make(chan []byte, 1), gone: make(chan struct{}),
	}
	e.mu.Lock()
	if e.shut {
		e.mu.Unlock()
		return nil, net.ErrClosed
	}
	e.lanes[l] = struct{}{}
	e.mu.Unlock()
	select {
	case e.conns <- &laneEnd{lane: l}:
		return l, nil
	case <-e.done:
		l.close()
		return nil, net.ErrClosed
	}
}

// lane is a connection to kfake inside the process. It carries one request at a time, and hands over requests and answers
// whole: each is copied once.
type lane struct {
	engine   *engine
	peer     net.Addr
	requests chan net.Buffers // with their sizes
	answers  chan []byte      // likewise
	gone     chan struct{}    // closed when either end hangs up
	hanging  sync.Once
}

func (l *lane) hangUp() { l.hanging.Do(func() { close(l.gone) }) }

func (l *lane) close() {
	l.hangUp()
	l.engine.forget(l)
}

// send has kfake answer a request. frame is the request without its size. The answer begins with its size and the
// correlation id. limit bounds the wait; 0 means none. After an error the lane is of no use.
func (l *lane) send(frame []byte, limit time.Duration) ([]byte, error) {
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	l.requests <- net.Buffers{binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame} // it has room
	select {
	case answer := <-l.answers:
		if size := len(answer) - 4; size < 4 || size > maxAnswer || binary.BigEndian.Uint32(answer) != uint32(size) {
			return nil, fmt.Errorf("an answer of %d bytes that is none", size)
		}
		return answer, nil
	case <-l.gone:
		return nil, net.ErrClosed
	case <-late:
		return nil, os.ErrDeadlineExceeded
	}
}

// laneEnd is kfake's end of a lane. kfake reads a request in parts, and writes an answer in one.
type laneEnd struct {
	*lane
	unread net.Buffers
}

func (e *laneEnd) Read(p []byte) (int, error) {
	if len(e.unread) == 0 {
		select {
		case e.unread = <-e.requests:
		case <-e.gone:
			return 0, io.EOF
		}
	}
	return e.unread.Read(p)
}

func (e *laneEnd) Write(p []byte) (int, error) {
	select {
	case e.answers <- bytes.Clone(p):
		return len(p), nil
	case <-e.gone:
		return 0, net.ErrClosed
	}
}

// Close implements net.Conn.
func (e *laneEnd) Close() error {
	e.hangUp()
	return nil
}

// LocalAddr implements net.Conn.
func (e *laneEnd) LocalAddr() net.Addr { return e.engine.addr }

// RemoteAddr implements net.Conn.
func (e *laneEnd) RemoteAddr() net.Addr { return e.peer }

// SetDeadline implements net.Conn. kfake sets none.
func (e *laneEnd) SetDeadline(time.Time) error { return errors.ErrUnsupported }

// SetReadDeadline implements net.Conn.
func (e *laneEnd) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// SetWriteDeadline implements net.Conn.
func (e *laneEnd) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// ask sends a request of the broker's own and reads the answer to it.
func (l *lane) ask(request kmsg.Request, response kmsg.Response) error {
	answer, err := l.send(kmsg.NewRequestFormatter().AppendRequest(nil, request, 0)[4:], laneLimit)
	if err != nil {
		return err
	}
	return protocol.ReadAnswer(answer, request.GetVersion(), response)
}

// laneLimit is how long kfake may take for one request of a client, or of the broker's own. It answers those at once, so that
// this ends what no foresight covers.
const laneLimit = 30 * time.Second

// turns lets clients have kfake work for them, few at a time. kfake works in one goroutine, so whatever they ask, the
// server's own requests wait behind that many at most.
type turns struct {
	engine *engine
	lanes  chan *lane // nil: still to be dialed
}

func newTurns(engine *engine, atOnce int) *turns {
	t := &turns{engine: engine, lanes: make(chan *lane, atOnce)}
	for range atOnce {
		t.lanes <- nil
	}
	return t
}

// take waits for a turn until gone is closed. The error is net.ErrClosed then.
func (t *turns) take(gone <-chan struct{}) (*lane, error) {
	select {
	case l := <-t.lanes:
		if l != nil {
			return l, nil
		}
		l, err := t.engine.dial(t.engine.addr)
		if err != nil {
			t.lanes <- nil
		}
		return l, err
	case <-gone:
		return nil, net.ErrClosed
	}
}

// giveBack ends a turn. err is what the lane's last use came to.
func (t *turns) giveBack(l *lane, err error) {
	if err != nil {
		l.close()
		l = nil
	}
	t.lanes <- l
}
