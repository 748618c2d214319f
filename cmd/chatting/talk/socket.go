// Package talk is the client of chatting connect and chatting send: it logs in, sends, shows what comes, and connects again as
// docs/clients.md says. It needs nothing of the server but the protocol that all clients speak.
package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/netcause"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
)

// SocketPath is where servers have their socket.
const SocketPath = "/ws/chatting/"

const (
	connectTimeout = 10 * time.Second // of the handshake, of one write, of one REST call
	leaveTimeout   = 5 * time.Second  // for the server's answer to our close
	maxServerFrame = 16 << 20
)

// ParseSocket reads a ws or wss URL.
func ParseSocket(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no ws:// or wss:// URL", configs.ShownURL(text))
	}
	return u, nil
}

// dial opens a socket.
func dial(ctx context.Context, socket *url.URL) (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: connectTimeout}
	//nolint:bodyclose // the library has read the body of a refusal, and made it one that needs no closing
	conn, response, err := dialer.DialContext(ctx, socket.String(), nil)
	if err == nil {
		conn.SetReadLimit(maxServerFrame)
		return conn, nil
	}
	shown := configs.ShownURL(socket.String())
	if response != nil && errors.Is(err, websocket.ErrBadHandshake) {
		body, _ := io.ReadAll(response.Body) // the library keeps at most 1 KiB of it
		code := exit.Refused
		if response.StatusCode == 429 || response.StatusCode >= 500 {
			code = exit.Unavailable
		}
		return nil, exit.With(code, fmt.Errorf("%s opened no socket but answered %s %s", shown, response.Status, terminal.Printable(body)))
	}
	if unreachable := (*net.OpError)(nil); errors.As(err, &unreachable) && unreachable.Op == "dial" {
		err = fmt.Errorf("no server answers at %s (%w): is it running? chatting serve starts one",
			socket.Host, installation.PlainCause(unreachable))
	} else {
		err = fmt.Errorf("%s: %w", shown, netcause.Of(err))
	}
	return nil, exit.With(exit.Unavailable, err)
}

// receiver reads a connection in a goroutine of its own, until stop.
type receiver struct {
	conn     *websocket.Conn
	frames   chan []byte // unbuffered: what is not shown yet waits in the network
	closed   chan error  // gets why the connection ended, once
	stopping chan struct{}
	stopped  chan struct{}
}

func startReceiving(conn *websocket.Conn) *receiver {
	r := &receiver{conn: conn, frames: make(chan []byte), closed: make(chan error, 1),
		stopping: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(r.stopped)
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				r.closed <- err
				return
			}
			select {
			case r.frames <- frame:
			case <-r.stopping:
				return
			}
		}
	}()
	return r
}

// stop closes the connection, which ends a read, and waits for the goroutine.
func (r *receiver) stop() {
	close(r.stopping)
	_ = r.conn.Close()
	<-r.stopped
}

// goodbye asks the server to close the connection with 1000.
func (r *receiver) goodbye() error {
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return r.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(leaveTimeout))
}

func send(conn *websocket.Conn, frame []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, frame)
}

// The close codes of this server that are not those of RFC 6455.
const (
	closeUnauthenticated = 3401
	closeReplaced        = 3409
)

// closeCodes says what the close codes of this server mean.
var closeCodes = map[int]string{
	websocket.CloseGoingAway:               "the server goes away",
	websocket.CloseProtocolError:           "protocol error",
	websocket.CloseUnsupportedData:         "it takes text frames only",
	websocket.CloseNoStatusReceived:        "without a code",
	websocket.CloseAbnormalClosure:         "the connection was lost",
	websocket.CloseInvalidFramePayloadData: "the frame was no UTF-8",
	websocket.ClosePolicyViolation:         "too many bad frames, or too many at once",
	websocket.CloseMessageTooBig:           "the frame was too long",
	websocket.CloseInternalServerErr:       "an error inside the server",
	websocket.CloseServiceRestart:          "the server restarts or missed something: connect again",
	websocket.CloseTryAgainLater:           "too slow or too many: connect again later",
	closeUnauthenticated:                   "not authenticated: the token is missing, bad or expired, or came too late",
	closeReplaced:                          "the user has too many connections, and this was the oldest",
}

// describeClose says why a connection ended; nil for 1000.
func describeClose(err error) error {
	var closeError *websocket.CloseError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &closeError):
		return exit.With(exit.Unavailable, fmt.Errorf("the connection was lost: %w", err))
	case closeError.Code == websocket.CloseNormalClosure:
		return nil
	}
	message := fmt.Sprintf("the server closed the connection: %d", closeError.Code)
	if meaning := closeCodes[closeError.Code]; meaning != "" {
		message += " (" + meaning + ")"
	}
	if closeError.Text != "" {
		message += " " + terminal.Printable([]byte(closeError.Text))
	}
	code := exit.Refused
	switch closeError.Code {
	case websocket.CloseGoingAway, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure, websocket.CloseInternalServerErr,
		websocket.CloseServiceRestart, websocket.CloseTryAgainLater:
		code = exit.Unavailable
	}
	return exit.With(code, errors.New(message))
}
