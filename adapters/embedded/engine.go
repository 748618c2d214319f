package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
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
		_ = lane.conn.Close() // the peer learns by it
	}
	return nil
}

// dial opens a lane. kfake reports peer as the address of its client.
func (e *engine) dial(peer net.Addr) (*lane, error) {
	ours, theirs := net.Pipe()
	l := &lane{conn: ours, engine: e}
	e.mu.Lock()
	if e.shut {
		e.mu.Unlock()
		return nil, net.ErrClosed
	}
	e.lanes[l] = struct{}{}
	e.mu.Unlock()
	select {
	case e.conns <- pipeEnd{theirs, peer}:
		return l, nil
	case <-e.done:
		l.close()
		_ = theirs.Close()
		return nil, net.ErrClosed
	}
}

// pipeEnd is kfake's end of a lane.
type pipeEnd struct {
	net.Conn
	peer net.Addr
}

// RemoteAddr implements net.Conn.
func (p pipeEnd) RemoteAddr() net.Addr { return p.peer }

// lane is a connection to kfake inside the process. It carries one request at a time.
type lane struct {
	conn   net.Conn
	engine *engine
}

func (l *lane) close() {
	_ = l.conn.Close() // only pipes: nothing is buffered
	l.engine.mu.Lock()
	delete(l.engine.lanes, l)
	l.engine.mu.Unlock()
}

// send has kfake answer a request. frame is the request without its size. The answer begins with its size and the
// correlation id. limit bounds the wait; 0 means none. After an error the lane is of no use.
func (l *lane) send(frame []byte, limit time.Duration) ([]byte, error) {
	deadline := time.Time{}
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	if err := l.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := l.conn.Write(binary.BigEndian.AppendUint32(nil, uint32(len(frame)))); err != nil {
		return nil, err
	}
	if _, err := l.conn.Write(frame); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(l.conn, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", size)
	}
	answer := make([]byte, 4+size)
	copy(answer, head[:])
	if _, err := io.ReadFull(l.conn, answer[4:]); err != nil {
		return nil, err
	}
	return answer, nil
}

// ask sends a request of the broker's own and reads the answer to it.
func (l *lane) ask(request kmsg.Request, response kmsg.Response) error {
	answer, err := l.send(kmsg.NewRequestFormatter().AppendRequest(nil, request, 0)[4:], laneLimit)
	if err != nil {
		return err
	}
	response.SetVersion(request.GetVersion())
	return response.ReadFrom(answer[answerHead:])
}

// answerHead is the size and the correlation id, before the body of an answer.
const answerHead = 4 + 4

// frameAnswer encodes an answer to the request with a correlation id.
func frameAnswer(correlation int32, response kmsg.Response) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 4, 64), uint32(correlation))
	out = response.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

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

// errGone is that the client or the broker is gone.
var errGone = errors.New("gone")

// take waits for a turn until gone is closed.
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
		return nil, errGone
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
