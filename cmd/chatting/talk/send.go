package talk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// Sending is one message of a user.
type Sending struct {
	Socket   *url.URL
	Token    string
	MadeWith string // names the secret of a token that was made here
	Target   domain.UserID
	Text     string
	// Name is its client_msg_id, by which it can be sent again; "" for a new one.
	Name string
	// Patience is how long to wait for the answer to the login, and then for the echo.
	Patience time.Duration
}

// Do logs in, sends the message, waits for its echo and leaves. It returns the echo: the message is stored. The error of any other
// outcome has its exit code. Of a message that may be stored it names the Name under which to send it again.
func (s Sending) Do(ctx context.Context) (echo []byte, err error) {
	if s.Name == "" {
		s.Name = uuid.NewString()
	}
	frame, err := encode(message{int64(s.Target), s.Text, s.Name})
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, s.Socket)
	if err != nil {
		return nil, err
	}
	r := startReceiving(conn)
	defer r.stop()
	login, err := json.Marshal(map[string]string{"token": s.Token})
	if err != nil {
		return nil, err
	}
	if err := send(conn, login); err != nil {
		return nil, describeClose(err)
	}
	if _, err := s.await(ctx, r, func(seenFrame) bool { return true }); err != nil {
		return nil, describeEnd(err, s.MadeWith)
	}
	if err := send(conn, frame); err != nil {
		return nil, s.inDoubt(describeClose(err))
	}
	echo, err = s.await(ctx, r, func(seen seenFrame) bool { return seen.ClientID == s.Name })
	if code, _ := closeOf(err); code == websocket.CloseMessageTooBig {
		return nil, describeClose(err) // it was not read
	}
	if err != nil {
		return nil, s.inDoubt(describeEnd(err, ""))
	}
	// What the server says to the good-bye changes nothing any more.
	if r.goodbye() == nil {
		s.drain(ctx, r)
	}
	if seen := look(echo); seen.Code != "" {
		return nil, s.refusal(seen)
	}
	return echo, nil
}

// await returns the first frame that is wanted.
func (s Sending) await(ctx context.Context, r *receiver, wanted func(seenFrame) bool) ([]byte, error) {
	patience := time.NewTimer(s.Patience)
	defer patience.Stop()
	for {
		select {
		case frame := <-r.frames:
			if wanted(look(frame)) {
				return frame, nil
			}
		case err := <-r.closed:
			if err = lost(err); err == nil {
				err = exit.With(exit.Unavailable, errors.New("the server closed the connection"))
			}
			return nil, err
		case <-patience.C:
			return nil, exit.With(exit.Unavailable, fmt.Errorf("no answer within %s", s.Patience))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// drain waits for the answer to the good-bye.
func (s Sending) drain(ctx context.Context, r *receiver) {
	patience := time.NewTimer(leaveTimeout)
	defer patience.Stop()
	for {
		select {
		case <-r.frames:
		case <-r.closed: //nolint:errcheck // whatever it says, the message has its answer
			return
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// inDoubt is the error of a message that may be stored.
func (s Sending) inDoubt(err error) error {
	return exit.With(exit.Unconfirmed, fmt.Errorf("the message may be stored: send it again with --client-msg-id %s (%w)", s.Name, err))
}

// refusal is the error of a message that the server has refused.
func (s Sending) refusal(seen seenFrame) error {
	code := domain.Code(seen.Code)
	said := fmt.Errorf("%s (%s)", terminal.InLine(seen.Error), terminal.InLine(seen.Code))
	if code == domain.CodeUnconfirmed {
		return s.inDoubt(said)
	}
	return exit.With(exit.OfAnswer(code), said)
}

// SystemSending is one message of the platform.
type SystemSending struct {
	Socket *url.URL // the API is beside it
	Token  string   // that of servers; "" for none
	Target domain.UserID
	Text   string
	// Type is "" for a plain one, or invite_game with Room and Opponent.
	Type, Room string
	Opponent   domain.UserID
	// Name is its Idempotency-Key, under which it is sent at most once within a day; "" for a new one.
	Name string
}

// Do sends the message and returns the frame that the user gets. The error of any other outcome has its exit code.
func (s SystemSending) Do(ctx context.Context) (frame []byte, err error) {
	if s.Name == "" {
		s.Name = uuid.NewString()
	}
	body, err := encode(struct {
		Target   int64  `json:"target_id"`
		Text     string `json:"message"`
		Type     string `json:"type,omitempty"`
		Room     string `json:"room_id,omitempty"`
		Opponent int64  `json:"opponent_id,omitempty"`
	}{int64(s.Target), s.Text, s.Type, s.Room, int64(s.Opponent)})
	if err != nil {
		return nil, err
	}
	call := restCall{method: http.MethodPost, path: "/s2sapi/system-message/", body: body}
	got, err := request(ctx, s.Socket, s.Token, call, http.Header{"Idempotency-Key": {s.Name}})
	if err != nil {
		if !neverSent(err) {
			err = exit.With(exit.Unconfirmed, fmt.Errorf("the message may be stored: send it again with --client-msg-id %s (%w)", s.Name, err))
		}
		return nil, err
	}
	if got.code == http.StatusOK {
		return got.body, nil
	}
	return nil, s.refusal(got)
}

func (s SystemSending) refusal(got reply) error {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(got.body, &problem) // another form is told by its status
	said := fmt.Errorf("the server answered %s %s", got.status, terminal.Printable(got.body))
	switch code := domain.Code(problem.Code); {
	case code == domain.CodeUnconfirmed:
		return exit.With(exit.Unconfirmed, fmt.Errorf("the message may be stored: send it again with --client-msg-id %s (%w)", s.Name, said))
	case got.code >= 500, got.code == http.StatusTooManyRequests, code == domain.CodeKeyInProgress:
		return exit.With(exit.Unavailable, said)
	case got.code >= 400:
		return exit.With(exit.Refused, said)
	}
	return fmt.Errorf("%w: %s", errUnexpected, strconv.Quote(got.status))
}

// errUnexpected is an answer that no server of this kind gives.
var errUnexpected = errors.New("this is no answer of a chat server")

// neverSent tells whether a request failed before any of it was sent.
func neverSent(err error) bool {
	op := (*net.OpError)(nil)
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, new(*net.DNSError))
}

// ID returns the id of the event that a frame shows.
func ID(frame []byte) string { return terminal.InLine(look(frame).ID) }
