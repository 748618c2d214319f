package talk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/cmd/chatting/terminal"
)

const (
	maxInputLine = 1 << 20
	// quietFor is after how long without a frame a client asks whether the connection lives, and how long it waits for the answer.
	quietFor = 5 * time.Second
)

// Chat is a user at a terminal, or a script.
type Chat struct {
	In    io.Reader
	Out   io.Writer // frames
	Notes io.Writer // everything else

	// Interactive tells that the end of the input is the wish to leave.
	Interactive bool
	// Linger is how long to stay after the end of the input while no frame comes, unless Interactive.
	Linger time.Duration
	// Reconnect has the chat connect again when a connection ends, take up where it stopped, and send again what had no answer.
	Reconnect bool

	Socket *url.URL
	// Token returns the token to log in with. It is asked once for each connection, after that is open.
	Token func() (string, error)
	// Renews tells that Token returns a new token each time.
	Renews bool
	// MadeWith names the secret that Token signs with; "" if it does not.
	MadeWith string

	// Colours are those of Out, NoteColours those of Notes.
	Colours, NoteColours terminal.Colours

	token   string
	lines   <-chan inputLine
	pending pending
	invites invites
	resume  string
	again   *again
}

// Run logs in and chats until the input ends, ctx ends, or a connection ends after which there is to be no other. Any close code but
// 1000 is an error.
func (c *Chat) Run(ctx context.Context) error {
	if c.again == nil {
		c.again = newAgain()
	}
	stop := make(chan struct{}) // ends the reading of the input
	defer close(stop)
	for {
		since := time.Now()
		err := c.connected(ctx, stop)
		if c.lines == nil { // the first login did not succeed, so whoever sits here can try again
			return c.describe(err)
		}
		c.again.lived(time.Since(since))
		wait, never := c.again.after(err)
		if code, _ := closeOf(err); code == closeUnauthenticated && !c.Renews {
			never = true
		}
		if err == nil || never || !c.Reconnect || ctx.Err() != nil {
			return c.describe(err)
		}
		c.note(fmt.Sprintf("%s; connecting again in %s, and what you type waits: Ctrl-C leaves",
			terminal.OneLine(c.describe(err)), wait.Round(100*time.Millisecond)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// describe says why a connection ended.
func (c *Chat) describe(err error) error { return describeEnd(err, c.MadeWith) }

// describeEnd says why a connection ended. A server refuses a token that was made here if its secret, which madeWith names, is
// another.
func describeEnd(err error, madeWith string) error {
	code, _ := closeOf(err)
	if code == 0 {
		return err
	}
	why := describeClose(err)
	if code == closeUnauthenticated && madeWith != "" {
		return fmt.Errorf("%w; the token was made with %s: name the server's own with --data-dir or CHATTING_DATA_DIR, "+
			"or its secret with CHATTING_JWT_SECRET_FILE", why, madeWith)
	}
	return why
}

// connected opens a connection and chats on it until it ends. It returns nil if the chat is over.
func (c *Chat) connected(ctx context.Context, stop <-chan struct{}) error {
	conn, err := dial(ctx, c.Socket)
	if err != nil {
		return err
	}
	heard := make(chan struct{}, 1)
	conn.SetPongHandler(func(string) error {
		select {
		case heard <- struct{}{}:
		default:
		}
		return nil
	})
	r := startReceiving(conn)
	defer r.stop()
	if c.token, err = c.Token(); err != nil {
		return err
	}
	if err := c.login(conn); err != nil {
		return describeClose(err)
	}
	// Input waits for the answer, because REST calls refuse users who never logged in.
	select {
	case frame := <-r.frames:
		c.show(frame)
		c.tellOfGap(frame)
		if c.lines == nil {
			c.lines = readLines(c.In, stop)
		}
		if err := c.pending.send(conn); err != nil {
			return describeClose(err)
		}
		return c.talk(ctx, r, heard)
	case err := <-r.closed:
		return lost(err)
	case <-ctx.Done():
		return c.leave(r)
	}
}

// lost keeps the close code of a connection's end, and describes an end without one.
func lost(err error) error {
	if code, _ := closeOf(err); code != 0 && code != websocket.CloseNormalClosure {
		return err
	}
	return describeClose(err)
}

// login sends the first frame.
func (c *Chat) login(conn *websocket.Conn) error {
	features := []string{"invites"}
	if c.Reconnect {
		features = append(features, "resume")
	}
	frame, err := json.Marshal(struct {
		Token    string   `json:"token"`
		Features []string `json:"features"`
		Resume   string   `json:"resume,omitempty"`
	}{c.token, features, c.resume})
	if err != nil {
		return err
	}
	return send(conn, frame)
}

// talk does what the input says and shows what comes.
func (c *Chat) talk(ctx context.Context, r *receiver, heard <-chan struct{}) error {
	lines := c.lines
	var quiet <-chan time.Time // once piped input has ended
	var probe <-chan time.Time
	if c.Reconnect {
		ticker := time.NewTicker(quietFor)
		defer ticker.Stop()
		probe = ticker.C
	}
	silent := 0 // how many probes have seen nothing come
	for {
		select {
		case frame := <-r.frames:
			silent = 0
			c.show(frame)
			if quiet != nil {
				quiet = time.After(c.Linger)
			}
		case <-heard:
			silent = 0
		case <-probe:
			if silent++; silent > 2 {
				return describeClose(fmt.Errorf("nothing came for %s", 2*quietFor))
			}
			// If it fails, the reader hears why.
			_ = r.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(quietFor))
		case err := <-r.closed:
			return lost(err)
		case line, more := <-lines:
			if !more && !c.Interactive {
				lines, quiet = nil, time.After(c.Linger)
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

// show writes a frame, and keeps what later lines may need of it.
func (c *Chat) show(raw []byte) {
	seen := look(raw)
	c.invites.note(seen)
	c.pending.settle(seen)
	if seen.Resume != "" {
		c.resume = seen.Resume
		raw = withoutResume(raw)
	}
	text := terminal.Printable(raw)
	switch {
	case seen.Code != "":
		text = c.Colours.Red(text)
	case seen.Type == "pong" || seen.Type == "send_status":
		text = c.Colours.Faint(text)
	}
	fmt.Fprintln(c.Out, text)
}

// tellOfGap says whether something may be missing after a connection was opened again.
func (c *Chat) tellOfGap(login []byte) {
	if seen := look(login); seen.Recovered != nil && !*seen.Recovered {
		c.note("something may be missing of what came meanwhile: /conversations and /history show it")
	}
}

// note writes a line that no server has sent.
func (c *Chat) note(text string) { fmt.Fprintln(c.Notes, c.NoteColours.Yellow("chatting: "+text)) }

// act does what one line says, and returns whether that is to leave.
func (c *Chat) act(ctx context.Context, conn *websocket.Conn, text string) (leave bool) {
	asked, err := parseLine(text)
	switch {
	case err != nil:
	case asked.quit:
		return true
	case asked.help:
		fmt.Fprint(c.Notes, Help)
	case asked.message != nil:
		err = c.post(conn, *asked.message)
	case asked.answer != nil:
		var frame []byte
		if frame, err = c.invites.answer(*asked.answer); err == nil {
			err = send(conn, frame)
		}
	case asked.frame != nil:
		err = send(conn, asked.frame)
	case asked.call != nil:
		err = c.rest(ctx, *asked.call)
	}
	if err != nil {
		fmt.Fprintln(c.Notes, c.NoteColours.Red("chatting: "+terminal.OneLine(err)))
	}
	return false
}

// post sends a message. If the chat connects again, the message has a name, and waits for its answer.
func (c *Chat) post(conn *websocket.Conn, m message) error {
	if !c.Reconnect {
		frame, err := encode(m)
		if err != nil {
			return err
		}
		return send(conn, frame)
	}
	frame, err := c.pending.add(m)
	if err != nil {
		return err
	}
	return send(conn, frame)
}

// leave says good-bye with 1000, shows what still comes, and waits for the server's answer.
func (c *Chat) leave(r *receiver) error {
	if err := r.goodbye(); err != nil {
		return describeClose(err)
	}
	patience := time.After(leaveTimeout)
	for {
		select {
		case frame := <-r.frames:
			c.show(frame)
		case err := <-r.closed:
			return describeClose(err) // without its code: nothing follows
		case <-patience:
			return errors.New("the server did not answer the close")
		}
	}
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
