package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// frame has the fields of all frames that a device looks at.
type frame struct {
	Type      string  `json:"type"`
	Message   string  `json:"message"`
	From      int64   `json:"from_id"`
	To        int64   `json:"to_id"`
	Code      string  `json:"code"`
	Status    string  `json:"status"`
	ID        string  `json:"id"`
	Name      string  `json:"client_msg_id"`
	Room      string  `json:"room_id"`
	Marked    string  `json:"message_id"`
	Friends   []int64 `json:"online_friends"`
	Replayed  bool    `json:"replayed"`
	Resume    string  `json:"resume"`
	Recovered *bool   `json:"recovered"`
	Retry     int     `json:"retry_after_ms"`
}

func (f *frame) event(connection int) check.Event {
	return check.Event{
		ID: f.ID, Type: f.Type, From: f.From, To: f.To, Text: f.Message, Name: f.Name, Status: f.Status, Room: f.Room, Marked: f.Marked,
		Connection: connection, Replayed: f.Replayed,
	}
}

// The waits of docs/clients.md.
const (
	silence   = 5 * time.Second // without a frame, until it pings, and then until the connection is dead
	dialLimit = 15 * time.Second
	// window is how many requests of a device may wait for their answers.
	window = 8
)

// device is a client of a user.
type device struct {
	user   int64
	number int
	token  string
	// place returns the address of the next node to try.
	place func() string
	rest  *restClient
	// partners are those with whom the user talks.
	partners []int64
	// invited is told of invites to the user, if it is not nil. It must not block.
	invited func(from int64, room string)
	// history is where the device writes what it does.
	history *json.Encoder

	mu         sync.Mutex
	conn       *websocket.Conn // nil without a connection that has logged in
	connection int
	frames     []check.Event
	requests   []*check.Request
	open       []*check.Request // without an answer, in their order
	friends    map[int64]bool
	resume     string
	gaps       int
	logins     []check.Login
	latest     map[int64]string // the last message of each partner that was shown

	sending sync.Mutex // held while a frame is written
}

func newDevice(dir string, user int64, number int) (*device, *os.File, error) {
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("user-%d-device-%d.jsonl", user, number)))
	if err != nil {
		return nil, nil, err
	}
	d := &device{
		user: user, number: number, history: json.NewEncoder(file), friends: make(map[int64]bool), latest: make(map[int64]string),
	}
	return d, file, nil
}

// note writes a line of the device's history. mu is held.
func (d *device) note(what string, value any) {
	_ = d.history.Encode(struct { // a full disk of the test machine shows elsewhere
		At    time.Time
		What  string
		Value any
	}{time.Now(), what, value})
}

// run keeps the device connected until ctx ends.
func (d *device) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := d.live(ctx)
		if time.Since(began) > silence {
			failures = 0
		}
		d.lost(err)
		base, limit := 500*time.Millisecond, 30*time.Second
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			switch closed.Code {
			case websocket.CloseServiceRestart:
				base = 3 * time.Second
			case websocket.CloseTryAgainLater:
				base = 2 * time.Second
			}
		}
		// A run is short: nobody waits for as long as a client may.
		limit = min(limit, 8*time.Second)
		site.Pause(ctx, time.Duration(rand.Int64N(int64(min(limit, base<<min(failures, 6)))+1)))
		failures++
	}
}

// lost notes that the connection has ended. What has no answer may be in the log.
func (d *device) lost(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		for _, r := range d.open {
			r.Doubt = true
		}
	}
	d.conn = nil
	d.note("lost", fmt.Sprint(err))
}

// live is one connection, from its start to its end.
func (d *device) live(ctx context.Context) error {
	began := time.Now()
	dialer := websocket.Dialer{HandshakeTimeout: dialLimit}
	conn, response, err := dialer.DialContext(ctx, "ws://"+d.place()+"/ws/chatting/", nil)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	first := map[string]any{"token": d.token, "features": []string{"invites", "resume", "read_marks", "receipts"}}
	if d.resume != "" {
		first["resume"] = d.resume
	}
	if err := d.write(conn, first); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(dialLimit))
	_, data, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	var answer frame
	if err := json.Unmarshal(data, &answer); err != nil || answer.Message != "You have successfully logged" {
		return fmt.Errorf("the login was answered with %s: %w", data, err)
	}
	d.mu.Lock()
	d.logins = append(d.logins, check.Login{Began: began, Answered: time.Now()})
	d.mu.Unlock()
	if answer.Recovered != nil && !*answer.Recovered {
		if err := d.readHistory(ctx); err != nil {
			return fmt.Errorf("reading the history: %w", err)
		}
	}
	// What is sent from now on goes out by itself.
	for _, r := range d.loggedIn(conn, &answer) {
		if err := d.write(conn, wireOf(r)); err != nil {
			return err
		}
	}
	return d.read(ctx, conn)
}

// loggedIn notes a login, and returns what has no answer.
func (d *device) loggedIn(conn *websocket.Conn, answer *frame) []*check.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connection++
	d.conn, d.resume = conn, answer.Resume
	clear(d.friends)
	for _, friend := range answer.Friends {
		d.friends[friend] = true
	}
	d.note("connected", answer)
	return slices.Clone(d.open)
}

// readHistory shows what the server could not replay. The frames that come meanwhile wait in the socket.
func (d *device) readHistory(ctx context.Context) error {
	for _, partner := range d.partners {
		entries, err := d.rest.messages(ctx, d.user, partner)
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.frames = append(d.frames, entries...)
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gaps++
	d.note("gap", d.gaps)
	return nil
}

func wireOf(r *check.Request) map[string]any {
	f := map[string]any{"target_id": r.Target, "client_msg_id": r.Name}
	if r.Type == check.Chat {
		f["message"] = r.Text
		return f
	}
	f["type"], f["status"] = check.Invite, r.Status
	if r.Room != "" {
		f["room_id"] = r.Room
	}
	return f
}

func (d *device) write(conn *websocket.Conn, v any) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	_ = conn.SetWriteDeadline(time.Now().Add(2 * silence))
	return conn.WriteJSON(v)
}

// read takes frames until the connection ends, or is silent for too long.
func (d *device) read(ctx context.Context, conn *websocket.Conn) error {
	// A read that has failed cannot be tried again: so pings go by a timer, and the deadline is for both waits.
	idle := time.AfterFunc(silence, func() {
		_ = d.write(conn, map[string]any{"type": "ping"}) // reading finds the end
	})
	defer idle.Stop()
	for {
		_ = conn.SetReadDeadline(time.Now().Add(2 * silence))
		_, data, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		idle.Reset(silence)
		var f frame
		if err := json.Unmarshal(data, &f); err != nil {
			return fmt.Errorf("%s: %w", data, err)
		}
		d.take(ctx, conn, &f)
	}
}

func (d *device) take(ctx context.Context, conn *websocket.Conn, f *frame) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Resume != "" {
		d.resume = f.Resume
	}
	if f.Type == "pong" {
		return
	}
	d.note("got", f)
	switch {
	case f.Type == "send_status":
		d.friends[f.From] = f.Status == "online"
	case f.Code != "":
		d.refused(ctx, conn, f)
	case f.ID != "":
		d.frames = append(d.frames, f.event(d.connection))
		if f.From == d.user && f.Name != "" {
			d.answered(f.Name, check.Echoed, f.ID)
		}
		if f.Type == check.Chat && f.From != d.user {
			d.latest[f.From] = f.ID
		}
		if f.Type == check.Invite && f.Status == "invite" && f.To == d.user && d.invited != nil && !f.Replayed {
			d.invited(f.From, f.Room)
		}
	}
}

// answered ends a request. mu is held.
func (d *device) answered(name, answer, id string) {
	for i, r := range d.open {
		if r.Name == name {
			r.Answer, r.ID, r.Answered = answer, id, time.Now()
			d.open = slices.Delete(d.open, i, i+1)
			return
		}
	}
}

// refused does with an error what the table of docs/clients.md says. mu is held.
func (d *device) refused(ctx context.Context, conn *websocket.Conn, f *frame) {
	var request *check.Request
	for _, r := range d.open {
		if r.Name == f.Name {
			request = r
		}
	}
	if request == nil {
		return
	}
	wait := time.Duration(500+rand.IntN(1500)) * time.Millisecond
	switch f.Code {
	case "unconfirmed":
		request.Doubt = true
	case "unavailable":
	case "rate_limited":
		if f.Retry == 0 {
			d.answered(f.Name, f.Code, "")
			return
		}
		wait += time.Duration(f.Retry) * time.Millisecond
	case "no_user_or_offline", "mailbox_full":
		if !request.Doubt {
			d.answered(f.Name, f.Code, "")
			return
		}
	default:
		d.answered(f.Name, f.Code, "")
		return
	}
	time.AfterFunc(wait, func() {
		d.mu.Lock()
		again := ctx.Err() == nil && d.conn == conn && slices.Contains(d.open, request)
		d.mu.Unlock()
		if again {
			_ = d.write(conn, wireOf(request)) // reading finds the end
		}
	})
}

// send sends a request under a new name, and sends it again until it has an answer. It does nothing if too many wait.
func (d *device) send(r check.Request) {
	d.mu.Lock()
	if len(d.open) >= window {
		d.mu.Unlock()
		return
	}
	r.First = time.Now()
	request := &r
	d.requests, d.open = append(d.requests, request), append(d.open, request)
	conn := d.conn
	d.note("sent", r)
	d.mu.Unlock()
	if conn != nil {
		_ = d.write(conn, wireOf(request)) // reading finds the end
	}
}

// newest returns the last message of a partner that the device has shown, "" without one.
func (d *device) newest(partner int64) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest[partner]
}

func (d *device) isConnected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn != nil
}

// seen returns who is online, as the device was told.
func (d *device) seen(of int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.friends[of]
}

// record returns what the device has done and seen so far.
func (d *device) record() check.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	recorded := check.Device{User: d.user, Number: d.number, Frames: slices.Clone(d.frames), Gaps: d.gaps,
		Logins: slices.Clone(d.logins), Connected: d.conn != nil}
	for _, r := range d.requests {
		recorded.Requests = append(recorded.Requests, *r)
	}
	return recorded
}
