package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

// Frame has the fields of all frames that tests look at.
type Frame struct {
	Type    string  `json:"type"`
	Message string  `json:"message"`
	From    int     `json:"from_id"`
	To      int     `json:"to_id"`
	Error   string  `json:"error"`
	Code    string  `json:"code"`
	Reason  string  `json:"reason"`
	Until   string  `json:"until"`
	Status  string  `json:"status"`
	ID      string  `json:"id"`
	Name    string  `json:"client_msg_id"`
	Room    string  `json:"room_id"`
	Friends []int64 `json:"online_friends"`
	Marked  string  `json:"message_id"`
	Unread  *int    `json:"unread"` // nil where it is not told
	// Replayed marks what was sent before the login.
	Replayed bool `json:"replayed"`
	// Resume is a token by which the client takes up behind the frame. Recovered is what the answer to its login says.
	Resume    string `json:"resume"`
	Recovered *bool  `json:"recovered"`

	// At is when the frame came.
	At time.Time `json:"-"`
}

// FrameWait is how long a frame that must come is waited for.
const FrameWait = 30 * time.Second

// checkedFrames is how many of a connection's frames are held against the document: crowds get many of one kind.
const checkedFrames = 100

// Client is a logged-in connection. Its frames are recorded as they come, the answer to the login first, so that a test
// may look at them at any time and in any order.
type Client struct {
	// User is who is logged in, Addr the node.
	User int
	Addr string

	conn    *websocket.Conn
	sending sync.Mutex

	mu      sync.Mutex
	frames  []Frame
	err     error         // why the connection ended; nil while it is open
	changed chan struct{} // closed and replaced when a frame came or the connection ended
}

// Connect logs a user in and records what comes from then on. A refusal is a *websocket.CloseError.
func Connect(addr, token string) (*Client, error) {
	return ConnectWith(addr, map[string]any{"token": token})
}

// ConnectWith is Connect with a first frame of the caller's own.
func ConnectWith(addr string, first map[string]any) (*Client, error) {
	dialer := websocket.Dialer{
		NetDial: (&net.Dialer{Timeout: FrameWait}).Dial, HandshakeTimeout: FrameWait,
	}
	conn, response, err := dialer.Dial("ws://"+addr+"/ws/chatting/", nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	c := &Client{Addr: addr, conn: conn, changed: make(chan struct{})}
	if err := c.login(first); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func (c *Client) login(frame map[string]any) error {
	if err := c.write(frame); err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(FrameWait))
	if err := c.take(); err != nil {
		return err
	}
	if first := c.frames[0]; first.Message != "You have successfully logged" {
		return fmt.Errorf("the login was answered with %+v", first)
	}
	c.User = c.frames[0].To
	return c.conn.SetReadDeadline(time.Time{})
}

// take records the next frame.
func (c *Client) take() error {
	_, data, err := c.conn.ReadMessage()
	if err != nil {
		return err
	}
	f := Frame{At: time.Now()}
	if len(c.frames) < checkedFrames { // which only this goroutine writes
		if err := CheckFrame(data); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("%s: %w", data, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, f)
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

func (c *Client) read() {
	for {
		if err := c.take(); err != nil {
			c.mu.Lock()
			c.err = err
			close(c.changed)
			c.changed = make(chan struct{})
			c.mu.Unlock()
			_ = c.conn.Close()
			return
		}
	}
}

// Frames returns what came so far. The caller must not change it.
func (c *Client) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// Err returns why the connection ended, nil while it is open.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// At returns the frame number index, from 0 on, once it came. Errors: why the connection ended before, or that of ctx.
func (c *Client) At(ctx context.Context, index int) (Frame, error) {
	for {
		c.mu.Lock()
		changed, err := c.changed, c.err
		if index < len(c.frames) {
			f := c.frames[index]
			c.mu.Unlock()
			return f, nil
		}
		c.mu.Unlock()
		if err != nil {
			return Frame{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Frame{}, fmt.Errorf("after %d frames: %w", index, ctx.Err())
		}
	}
}

// Find returns the number of the first frame from number from on that matches, once it came.
func (c *Client) Find(ctx context.Context, from int, matches func(Frame) bool) (int, error) {
	for index := from; ; index++ {
		f, err := c.At(ctx, index)
		if err != nil {
			return 0, err
		}
		if matches(f) {
			return index, nil
		}
	}
}

// Send sends a message without a name.
func (c *Client) Send(target int, text string) error {
	return c.write(map[string]any{"target_id": target, "message": text})
}

// SendNamed sends a message under a client_msg_id.
func (c *Client) SendNamed(target int, text, name string) error {
	return c.write(map[string]any{"target_id": target, "message": text, "client_msg_id": name})
}

// SendFrame sends any frame.
func (c *Client) SendFrame(frame any) error { return c.write(frame) }

// SendRaw sends a frame as it is.
func (c *Client) SendRaw(frame string) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(FrameWait))
	return c.conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

func (c *Client) write(v any) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(FrameWait))
	return c.conn.WriteJSON(v)
}

// Leave closes the connection as browsers do, and waits for the server's answer.
func (c *Client) Leave(ctx context.Context) error {
	c.sending.Lock()
	err := c.conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
	c.sending.Unlock()
	if err != nil {
		return err
	}
	for index := 0; ; index++ {
		if _, err := c.At(ctx, index); err != nil {
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return nil
			}
			return err
		}
	}
}

// Close cuts the connection.
func (c *Client) Close() { _ = c.conn.Close() }
