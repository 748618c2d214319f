package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/netcause"
)

// client is one logged-in connection.
type client struct {
	index int
	user  int64 // as the server calls it
	conn  *websocket.Conn
	wire  *wire
	frame []byte // the last one that was read

	leaving atomic.Bool // we have closed it, or are about to
	ended   atomic.Bool // it is closed, by whom ever
	reading sync.WaitGroup
	code    int // with which the server closed it; read after ended

	place     string // the resume token of the answer to the login
	recovered bool   // the answer says that everything since the token follows
}

// login is the first frame of a connection.
type login struct {
	Token    string   `json:"token"`
	Features []string `json:"features,omitempty"`
	Resume   string   `json:"resume,omitempty"`
}

// writeBuffers are shared by all clients, because few of them write at a time.
var writeBuffers sync.Pool

// dial opens a connection and logs a user in. first says what its login names beside the token of the user.
func (t *Target) dial(ctx context.Context, user int, first login) (*client, error) {
	var err error
	if first.Token, err = t.Token(user); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	c := &client{index: user}
	network := net.Dialer{}
	if len(t.Sources) > 0 {
		network.LocalAddr = &net.TCPAddr{IP: t.Sources[user%len(t.Sources)].AsSlice()}
	}
	dialer := websocket.Dialer{
		WriteBufferPool: &writeBuffers,
		NetDialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			conn, err := network.DialContext(ctx, kind, address)
			if err != nil {
				return nil, err
			}
			c.wire = &wire{Conn: conn, began: t.began}
			return c.wire, nil
		},
	}
	//nolint:bodyclose // the library has read the body of a refusal, and made it one that needs no closing
	conn, response, err := dialer.DialContext(ctx, t.URL, nil)
	if response != nil && errors.Is(err, websocket.ErrBadHandshake) {
		return nil, fmt.Errorf("the server opened no socket but answered %d", response.StatusCode)
	}
	if err != nil {
		return nil, withoutSource(netcause.Of(err))
	}
	c.conn = conn
	// A context that ends must end a read, too.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = c.logIn(first)
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// withoutSource drops the own address and port, so that errors of several connections are equal if their cause is.
func withoutSource(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Addr != nil {
		return &net.OpError{Op: op.Op, Addr: op.Addr, Err: op.Err}
	}
	return err
}

// logIn sends the first frame and reads the answer, which names the user.
func (c *client) logIn(first login) error {
	frame, err := json.Marshal(first)
	if err != nil {
		return err
	}
	if err := c.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		if code := closeCode(err); code != 0 {
			return fmt.Errorf("the login was refused with close code %d", code)
		}
		return withoutSource(netcause.Of(err))
	}
	var answer struct {
		Error     string `json:"error"`
		User      int64  `json:"to_id"`
		Resume    string `json:"resume"`
		Recovered bool   `json:"recovered"`
	}
	if err := json.Unmarshal(c.frame, &answer); err != nil || answer.Error != "" || answer.User == 0 {
		return errors.New("the first frame of the server is no answer to a login")
	}
	c.user, c.place, c.recovered = answer.User, answer.Resume, answer.Recovered
	return nil
}

// read reads the next frame into c.frame, over the one before.
func (c *client) read() error {
	_, from, err := c.conn.NextReader()
	if err != nil {
		return err
	}
	c.frame = c.frame[:0]
	for {
		if len(c.frame) == cap(c.frame) {
			c.frame = append(c.frame, make([]byte, max(512, len(c.frame)))...)[:len(c.frame)]
		}
		n, err := from.Read(c.frame[len(c.frame):cap(c.frame)])
		c.frame = c.frame[:len(c.frame)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// listen hands every frame of the server to handle, until the connection ends. The frame is good until handle returns.
func (c *client) listen(handle func(frame []byte)) {
	c.reading.Go(func() {
		var err error
		for {
			if err = c.read(); err != nil {
				break
			}
			handle(c.frame)
		}
		_ = c.conn.Close()
		if !c.leaving.Load() {
			c.code = closeCode(err)
			if c.code == 0 {
				c.code = websocket.CloseAbnormalClosure
			}
		}
		c.ended.Store(true)
	})
}

// closeCode returns the code of a close frame that the server sent, 0 if err is none.
func closeCode(err error) int {
	if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) {
		return closed.Code
	}
	return 0
}

// leave says good-bye. The server's answer ends the connection.
func (c *client) leave() {
	c.leaving.Store(true)
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if c.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(closeTimeout)) == nil {
		_ = c.wire.flush()
	}
}

// drop ends the connection without a word, as a client does whose machine is gone. It leaves nothing in the system that would hold
// the port.
func (c *client) drop() {
	c.leaving.Store(true)
	if conn, ok := c.wire.Conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = c.wire.Close()
}

// leaveAll closes the connections, and waits until their goroutines have ended.
func leaveAll(clients []*client) {
	for _, c := range clients {
		c.leave()
	}
	late := time.AfterFunc(closeTimeout, func() {
		for _, c := range clients {
			_ = c.wire.Close()
		}
	})
	defer late.Stop()
	for _, c := range clients {
		c.reading.Wait()
	}
}

// dropAll is leaveAll for clients that say nothing.
func dropAll(clients []*client) {
	for _, c := range clients {
		c.drop()
	}
	for _, c := range clients {
		c.reading.Wait()
	}
}

// closes counts how the server has closed connections, by code.
func closes(clients []*client) map[string]int64 {
	found := map[string]int64{}
	for _, c := range clients {
		if c.code != 0 {
			found[strconv.Itoa(c.code)]++
		}
	}
	return found
}
