package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/spf13/cobra"

	"chatting/adapters/netcause"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/configs"
)

const (
	socketPath     = "/ws/chatting/"
	connectTimeout = 10 * time.Second // of the handshake, of one write, of one REST call
	leaveTimeout   = 5 * time.Second  // for the server's answer to our close
	tokenTTL       = 12 * time.Hour   // of the token that connect makes
	maxServerFrame = 16 << 20
	maxInputLine   = 1 << 20
)

func newConnectCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connect --user ID",
		Short: "Chat in this terminal, and see every frame",
		Long: `Log in to a server and chat. Standard output shows every frame of the server as it comes, as one line of JSON.
Standard error shows answers to REST calls, and errors. Without --token, a token is made as chatting token
does, with the secret that the server uses. You may type:

` + commandHelp + `
Input from a pipe is sent line by line. After its end, connect stays until no frame has come for --linger.`,
		Example: `  chatting connect --user 201
  echo '202 hello there' | chatting connect --user 201
  chatting connect --url wss://chat.example.com/ws/chatting/ --token "$TOKEN"`,
	}
	load := configFlags(cmd, s, "data_dir")
	user := userFlag(cmd)
	address := addSocketFlag(cmd)
	token := addText(cmd, "token", "token", "", "the token to log in with; without it one is made for --user")
	linger := cmd.Flags().Duration("linger", time.Second, "how long to stay after the end of piped input while no frame comes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := &chat{in: s.In, out: s.Out, notes: s.Err, linger: *linger, interactive: logging.IsTerminal(s.In), token: token.value}
		if c.token == "" || address.value == "" {
			cfg, err := load()
			if err != nil {
				return err
			}
			c.mint = func() (string, error) {
				c.madeWith = secretOf(cfg)
				return mint(cfg, *user, tokenTTL)
			}
			if *user == "" && c.token == "" {
				return errNoUser
			}
			if address.value == "" {
				if c.token == "" { // a missing secret may be why no server runs
					if c.token, err = c.mint(); err != nil {
						return err
					}
				}
				if address.value, err = defaultSocket(cfg); err != nil {
					return err
				}
			}
		}
		var err error
		if c.socket, err = parseSocketURL(address.value); err != nil {
			return fmt.Errorf("--url: %w", err)
		}
		return c.run(cmd.Context())
	}
	return cmd
}

func addSocketFlag(cmd *cobra.Command) *textFlag {
	return addText(cmd, "url", "URL", "", "the server's socket (default ws:// at http.addr of the configuration, path "+socketPath+")")
}

// defaultSocket returns where a server with this configuration can be reached from its own machine.
func defaultSocket(cfg configs.Config) (string, error) {
	host, err := ownAddress(cfg)
	if err != nil {
		return "", err
	}
	return "ws://" + host + socketPath, nil
}

// parseSocketURL reads a ws or wss URL.
func parseSocketURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no ws:// or wss:// URL", configs.ShownURL(text))
	}
	return u, nil
}

// chat is one session at a server.
type chat struct {
	in          io.Reader
	out         io.Writer // frames
	notes       io.Writer // everything else
	interactive bool      // the end of the input is the wish to leave
	linger      time.Duration
	socket      *url.URL
	token       string
	mint        func() (string, error) // makes the token if none was given
	madeWith    string                 // names the secret of the token that mint made; "" if it made none
}

// run logs in and chats until the input ends, ctx ends, or the server closes the connection. Any close code but 1000 is an error.
func (c *chat) run(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	r := startReceiving(conn)
	defer r.stop()
	if c.token == "" {
		if c.token, err = c.mint(); err != nil {
			return err
		}
	}
	login, err := json.Marshal(map[string]string{"token": c.token})
	if err != nil {
		return err
	}
	if err := send(conn, login); err != nil {
		return err
	}
	// Input waits for the answer, because REST calls refuse users who never logged in.
	select {
	case frame := <-r.frames:
		c.show(frame)
		return c.talk(ctx, r)
	case err := <-r.closed:
		return c.describeRefusal(err)
	case <-ctx.Done():
		return c.leave(r)
	}
}

// describeRefusal says why the server refused the login. It refuses a token that was made here if its secret is another.
func (c *chat) describeRefusal(err error) error {
	why := describeClose(err)
	if c.madeWith != "" && websocket.IsCloseError(err, 3401) {
		return fmt.Errorf("%w; the token was made with %s: name the server's own with --data-dir or CHATTING_DATA_DIR, "+
			"or its secret with CHATTING_JWT_SECRET_FILE", why, c.madeWith)
	}
	return why
}

// talk does what the input says and shows what comes.
func (c *chat) talk(ctx context.Context, r *receiver) error {
	lines := readLines(c.in, r.stopping)
	var quiet <-chan time.Time // once piped input has ended
	for {
		select {
		case frame := <-r.frames:
			c.show(frame)
			if quiet != nil {
				quiet = time.After(c.linger)
			}
		case err := <-r.closed:
			return describeClose(err)
		case line, more := <-lines:
			if !more && !c.interactive {
				lines, quiet = nil, time.After(c.linger)
				continue
			}
			if line.err != nil {
				return fmt.Errorf("reading the input: %w", line.err)
			}
			if !more || c.act(ctx, r.conn, line.text) {
				return c.leave(r)
			}
		case <-quiet:
			return c.leave(r)
		case <-ctx.Done():
			return c.leave(r)
		}
	}
}

func (c *chat) show(frame []byte) { fmt.Fprintln(c.out, printable(frame)) }

// act does what one line says, and returns whether that is to leave.
func (c *chat) act(ctx context.Context, conn *websocket.Conn, line string) (leave bool) {
	command, err := parseLine(line)
	switch {
	case err != nil:
	case command.quit:
		return true
	case command.help:
		fmt.Fprint(c.notes, commandHelp)
	case command.frame != nil:
		err = send(conn, command.frame)
	case command.call != nil:
		err = c.rest(ctx, *command.call)
	}
	if err != nil {
		fmt.Fprintln(c.notes, "chatting: "+oneLine(err))
	}
	return false
}

// leave says good-bye with 1000, shows what still comes, and waits for the server's answer.
func (c *chat) leave(r *receiver) error {
	deadline := time.Now().Add(leaveTimeout)
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := r.conn.WriteControl(websocket.CloseMessage, goodbye, deadline); err != nil {
		return describeClose(err)
	}
	patience := time.After(leaveTimeout)
	for {
		select {
		case frame := <-r.frames:
			c.show(frame)
		case err := <-r.closed:
			return describeClose(err)
		case <-patience:
			return errors.New("the server did not answer the close")
		}
	}
}

// dial opens the socket.
func (c *chat) dial(ctx context.Context) (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: connectTimeout}
	//nolint:bodyclose // the library has read the body of a refusal, and made it one that needs no closing
	conn, response, err := dialer.DialContext(ctx, c.socket.String(), nil)
	if err == nil {
		conn.SetReadLimit(maxServerFrame)
		return conn, nil
	}
	if response != nil && errors.Is(err, websocket.ErrBadHandshake) {
		body, _ := io.ReadAll(response.Body) // the library keeps at most 1 KiB of it
		return nil, fmt.Errorf("%s opened no socket but answered %s %s", configs.ShownURL(c.socket.String()), response.Status, printable(body))
	}
	if unreachable := (*net.OpError)(nil); errors.As(err, &unreachable) && unreachable.Op == "dial" {
		return nil, fmt.Errorf("no server answers at %s (%w): is it running? chatting serve starts one",
			c.socket.Host, installation.PlainCause(unreachable))
	}
	return nil, fmt.Errorf("%s: %w", configs.ShownURL(c.socket.String()), netcause.Of(err))
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

func send(conn *websocket.Conn, frame []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, frame)
}

// inputLine is a line of the input without its end, or why no further one can be read.
type inputLine struct {
	text string
	err  error
}

// readLines returns the lines of the input, until it ends or stop is closed. A read of a terminal cannot be interrupted. Its
// goroutine then ends with the process.
func readLines(in io.Reader, stop <-chan struct{}) <-chan inputLine {
	lines := make(chan inputLine)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxInputLine)
		for scanner.Scan() {
			select {
			case lines <- inputLine{text: scanner.Text()}:
			case <-stop:
				return
			}
		}
		if err := scanner.Err(); err != nil {
			select {
			case lines <- inputLine{err: err}:
			case <-stop:
			}
		}
	}()
	return lines
}

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
	3401:                                   "not authenticated: the token is missing, bad or expired, or came too late",
	3409:                                   "the user has too many connections, and this was the oldest",
}

// describeClose says why a connection ended; nil for 1000.
func describeClose(err error) error {
	var closeError *websocket.CloseError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &closeError):
		return fmt.Errorf("the connection was lost: %w", err)
	case closeError.Code == websocket.CloseNormalClosure:
		return nil
	}
	message := fmt.Sprintf("the server closed the connection: %d", closeError.Code)
	if meaning := closeCodes[closeError.Code]; meaning != "" {
		message += " (" + meaning + ")"
	}
	if closeError.Text != "" {
		message += " " + printable([]byte(closeError.Text))
	}
	return errors.New(message)
}
