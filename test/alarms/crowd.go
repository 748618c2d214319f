package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/storm/site"
)

// crowd are clients that come for one fault. Its methods belong to the goroutine of the run. leave ends what they have begun.
type crowd struct {
	idle  []*websocket.Conn
	all   sync.WaitGroup
	stops []context.CancelFunc
}

// The users of a crowd, beside those who talk all the time.
const (
	firstIdle   = 1000
	firstAsker  = 2000
	askers      = 24
	slowReader  = 3000
	loud        = 3001
	slowDevices = 40
	// longText is that of messages which are as long as they may be.
	longText = 60 << 10
)

// come has users log in and stay.
func (c *crowd) come(ctx context.Context, addr string, count int) error {
	for i := range int64(count) {
		conn, err := dial(ctx, addr, firstIdle+i, nil)
		if err != nil {
			return err
		}
		c.idle = append(c.idle, conn)
		// It answers pings.
		c.all.Go(func() {
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					return
				}
			}
		})
	}
	return nil
}

// knock tries to log in more often than the node has connections left.
func (c *crowd) knock(ctx context.Context, addr string) {
	var came []*websocket.Conn
	for i := range int64(connectionsLimit - len(c.idle)) {
		if conn, err := dial(ctx, addr, firstIdle+int64(len(c.idle))+i, nil); err == nil {
			came = append(came, conn)
		}
	}
	for _, conn := range came {
		_ = conn.Close()
	}
}

// beginMessages has each of those who came begin a message, and not end it.
func (c *crowd) beginMessages() error {
	text := []byte(`{"target_id":1,"message":"` + strings.Repeat("x", longText) + `"}`)
	for _, conn := range c.idle {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		message, err := conn.NextWriter(websocket.TextMessage)
		if err != nil {
			return err
		}
		if _, err := message.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// ask has many users read what they have at the same time, again and again.
func (c *crowd) ask(addr string) {
	ctx := c.goOn()
	t := newTraffic([]string{addr})
	for i := range int64(askers) {
		c.all.Go(func() {
			for ctx.Err() == nil {
				t.request(ctx, addr, firstAsker+i, http.MethodGet, "/api/chatting/messages/?target_id=1", nil)
				site.Pause(ctx, 10*time.Millisecond)
			}
		})
	}
}

// stall has one user be sent more than its devices read. Devices that are closed come again.
func (c *crowd) stall(addr string) {
	ctx := c.goOn()
	// The system keeps little for them, so the server has to.
	small := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if failed != nil {
			return failed
		}
		return err
	}}
	slow := &websocket.Dialer{HandshakeTimeout: 10 * time.Second, NetDialContext: small.DialContext}
	for range slowDevices {
		c.all.Go(func() {
			for ctx.Err() == nil {
				if conn, err := dial(ctx, addr, slowReader, slow); err == nil {
					waitForEnd(ctx, conn)
				}
				site.Pause(ctx, 200*time.Millisecond)
			}
		})
	}
	text := strings.Repeat("x", longText)
	c.all.Go(func() {
		for ctx.Err() == nil {
			if conn, err := dial(ctx, addr, loud, nil); err == nil {
				c.shout(ctx, conn, text)
			}
			site.Pause(ctx, 200*time.Millisecond)
		}
	})
}

// shout sends to the slow reader until the connection ends.
func (c *crowd) shout(ctx context.Context, conn *websocket.Conn, text string) {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.Close()
	reading.Go(func() {
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	for site.Pause(ctx, 50*time.Millisecond) {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if conn.WriteJSON(map[string]any{"target_id": slowReader, "message": text}) != nil {
			return
		}
	}
}

// waitForEnd reads nothing, and returns when the server has ended the connection: then a ping cannot be sent.
func waitForEnd(ctx context.Context, conn *websocket.Conn) {
	defer conn.Close()
	for n := 0; site.Pause(ctx, 300*time.Millisecond); n++ {
		if conn.WriteControl(websocket.PingMessage, []byte(strconv.Itoa(n)), time.Now().Add(time.Second)) != nil {
			return
		}
	}
}

// goOn returns a context that ends when the crowd leaves.
func (c *crowd) goOn() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	c.stops = append(c.stops, stop)
	return ctx
}

// leave ends everything that the crowd does.
func (c *crowd) leave() {
	for _, stop := range c.stops {
		stop()
	}
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.all.Wait()
	c.stops, c.idle = nil, nil
}
