// Package frame is the JSON that clients and the event topics see: one vocabulary for the socket, the REST API and the
// log. It does no I/O. Frames go out as they are encoded here, byte for byte; what comes in from the log is checked
// before it goes to a client.
package frame

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chatting/domain"
)

// The types of frames.
const (
	TypeChat       = "chat_message"
	TypeInvite     = "invite_game"
	TypeSystem     = "system_message"
	TypeStatus     = "send_status"
	TypePing       = "ping" // of clients only
	TypePong       = "pong"
	TypeBlocked    = "user_blocked"   // in the log only
	TypeUnblocked  = "user_unblocked" // in the log only
	loginSentence  = "You have successfully logged"
	systemFrom     = "admin"
	timeFormat     = "2006-01-02T15:04:05.000Z"
	statusOnline   = "online"
	statusOffline  = "offline"
	maxFrameOfLog  = 1 << 20
	clientMsgIDKey = "client_msg_id"
)

// Time returns t as frames show it: ISO 8601 in UTC with milliseconds and Z.
func Time(t time.Time) string { return t.UTC().Format(timeFormat) }

// body has the fields of every conversation event, in the order in which frames show them.
type body struct {
	Type       string  `json:"type"`
	From       *string `json:"from,omitempty"`
	Message    *string `json:"message,omitempty"`
	FromID     *int64  `json:"from_id,omitempty"`
	ToID       int64   `json:"to_id"`
	Status     string  `json:"status,omitempty"`
	RoomID     string  `json:"room_id,omitempty"`
	ExpiresAt  string  `json:"expires_at,omitempty"`
	OpponentID int64   `json:"opponent_id,omitempty"`
	Version    int64   `json:"version,omitempty"`
	Time       string  `json:"time"`
	ID         string  `json:"id"`
}

// Encode returns the frame of an event: for chat messages, invites and system messages what clients get, for block
// changes what only the log holds. The client's own name of the message is not in it: see WithClientMessageID.
func Encode(event domain.Event) ([]byte, error) {
	b := body{Time: Time(event.Time), ID: event.ID.String()}
	switch e := event.Body.(type) {
	case domain.ChatMessage:
		b.Type, b.Message, b.FromID, b.ToID = TypeChat, ptr(e.Text.String()), ptr(int64(e.From)), int64(e.To)
	case domain.GameInvite:
		b.Type, b.FromID, b.ToID = TypeInvite, ptr(int64(e.From)), int64(e.To)
		b.Status, b.RoomID = string(e.Status), string(e.Room)
		if !e.Expires.IsZero() {
			b.ExpiresAt = Time(e.Expires)
		}
	case domain.SystemMessage:
		b.Type, b.From, b.Message, b.ToID = TypeSystem, ptr(systemFrom), ptr(e.Text.String()), int64(e.To)
		b.RoomID, b.OpponentID = string(e.Room), int64(e.Opponent)
	case domain.BlockChanged:
		b.Type, b.FromID, b.ToID, b.Version = TypeUnblocked, ptr(int64(e.Blocker)), int64(e.Target), e.Version
		if e.Blocked {
			b.Type = TypeBlocked
		}
	default:
		return nil, fmt.Errorf("no frame for events of type %T", event.Body)
	}
	return Marshal(b)
}

func ptr[T any](v T) *T { return &v }

// errNotOurs is the beginning of every complaint about a frame of the log.
var errNotOurs = errors.New("not a frame of this server")

// Decode checks a frame that came from the log, which others may write to as well, and returns its event. It accepts what
// Encode returns, with further fields anywhere. A frame that it accepts is one JSON object in valid UTF-8.
func Decode(data []byte) (domain.Event, error) {
	if len(data) > maxFrameOfLog || !utf8.Valid(data) {
		return domain.Event{}, fmt.Errorf("%w: too long or no UTF-8", errNotOurs)
	}
	var b body
	if err := json.Unmarshal(data, &b); err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	if err := sameToAll(data); err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	id, ok := domain.ParseEventID(b.ID)
	if !ok {
		return domain.Event{}, fmt.Errorf("%w: its id is no UUID", errNotOurs)
	}
	at, err := time.Parse(time.RFC3339, b.Time)
	if err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	at = at.UTC().Truncate(time.Millisecond)
	if at.Year() < 0 || at.Year() > 9999 {
		return domain.Event{}, fmt.Errorf("%w: its time has no four digits for the year", errNotOurs)
	}
	event := domain.Event{ID: id, Time: at}
	event.Body, err = b.decode()
	if err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return event, nil
}

// fieldNames are the names in body.
var fieldNames = []string{
	"type", "from", "message", "from_id", "to_id", "status", "room_id", "expires_at", "opponent_id", "version", "time", "id",
}

// sameToAll refuses a frame in which a client would read other fields than encoding/json, which ignores the case of names
// and takes no notice of a null: what was checked has to be what is shown.
func sameToAll(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for name, value := range fields {
		for _, ours := range fieldNames {
			if strings.EqualFold(name, ours) && (name != ours || string(value) == "null") {
				return fmt.Errorf("its field %.20q is ambiguous", name)
			}
		}
	}
	return nil
}

// decode returns the body of the event, its values checked by the domain.
func (b body) decode() (domain.Body, error) {
	to, err := domain.NewUserID(b.ToID)
	if err != nil {
		return nil, err
	}
	if b.Type == TypeSystem {
		text, err := b.text()
		if err != nil {
			return nil, err
		}
		if b.OpponentID < 0 {
			return nil, errors.New("opponent_id names no user")
		}
		return domain.SystemMessage{To: to, Text: text, Room: domain.RoomID(b.RoomID), Opponent: domain.UserID(b.OpponentID)}, nil
	}
	if b.FromID == nil {
		return nil, errors.New("from_id is missing")
	}
	from, err := domain.NewUserID(*b.FromID)
	if err != nil {
		return nil, err
	}
	switch b.Type {
	case TypeChat:
		text, err := b.text()
		if err != nil {
			return nil, err
		}
		return domain.ChatMessage{From: from, To: to, Text: text}, nil
	case TypeInvite:
		status, err := domain.NewInviteStatus(b.Status)
		if err != nil {
			return nil, err
		}
		if _, named := domain.ParseEventID(b.RoomID); !named && status.IsNew() {
			return nil, errors.New("room_id names no invite")
		}
		invite := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(b.RoomID)}
		if b.ExpiresAt != "" && status == domain.InviteOpened {
			if invite.Expires, err = time.Parse(time.RFC3339, b.ExpiresAt); err != nil {
				return nil, errors.New("expires_at is no time")
			}
			invite.Expires = invite.Expires.UTC().Truncate(time.Millisecond)
		}
		return invite, nil
	case TypeBlocked, TypeUnblocked:
		return domain.NewBlockChanged(from, to, b.Type == TypeBlocked, b.Version)
	default:
		return nil, errors.New("its type is unknown")
	}
}

// text returns the message as it stands in the log: HTML escaping may have made it longer than a sender's may be.
func (b body) text() (domain.Text, error) {
	if b.Message == nil {
		return domain.Text{}, errors.New("message is missing")
	}
	return domain.LoggedText(*b.Message)
}

// Login returns the answer to a login.
func Login(user domain.UserID, onlineFriends []domain.UserID, at time.Time) []byte {
	if onlineFriends == nil {
		onlineFriends = []domain.UserID{}
	}
	return must(struct {
		Type          string          `json:"type"`
		Message       string          `json:"message"`
		OnlineFriends []domain.UserID `json:"online_friends"`
		ToID          int64           `json:"to_id"`
		Time          string          `json:"time"`
	}{TypeSystem, loginSentence, onlineFriends, int64(user), Time(at)})
}

// Status returns the frame that tells to of a friend's transition.
func Status(to domain.UserID, change domain.Transition) []byte {
	status := statusOffline
	if change.Online {
		status = statusOnline
	}
	return must(struct {
		Type   string `json:"type"`
		FromID int64  `json:"from_id"`
		ToID   int64  `json:"to_id"`
		Status string `json:"status"`
		Time   string `json:"time"`
	}{TypeStatus, int64(change.User), int64(to), status, Time(change.At)})
}

// Pong returns the answer to a client's ping, at the server's time.
func Pong(at time.Time) []byte {
	return must(struct {
		Type string `json:"type"`
		Time string `json:"time"`
	}{TypePong, Time(at)})
}

// Error returns an error frame. target is the target_id as the client sent it, nil where it named none. The frame for an
// unreachable target is that of the contract with the code added.
func Error(to domain.UserID, code domain.Code, sentence string, target json.RawMessage, name domain.ClientMessageID, at time.Time) []byte {
	return must(struct {
		Type            string                 `json:"type"`
		Error           string                 `json:"error"`
		Code            domain.Code            `json:"code"`
		FromID          json.RawMessage        `json:"from_id,omitempty"`
		ToID            int64                  `json:"to_id"`
		ClientMessageID domain.ClientMessageID `json:"client_msg_id,omitempty"`
		Time            string                 `json:"time"`
	}{TypeSystem, sentence, code, target, int64(to), name, Time(at)})
}

// WithClientMessageID returns a copy of a frame with the sender's own name of the message spliced in at its end.
func WithClientMessageID(frame []byte, id domain.ClientMessageID) []byte {
	end := bytes.LastIndexByte(frame, '}')
	out := make([]byte, 0, len(frame)+len(clientMsgIDKey)+2*len(id)+8)
	out = append(out, frame[:end]...)
	out = append(out, `,"`+clientMsgIDKey+`":`...)
	// Printable ASCII: Go's quoting and JSON's are the same for it.
	out = strconv.AppendQuote(out, string(id))
	return append(out, frame[end:]...)
}

// WithReplayed returns a copy of a frame marked as one that its receiver gets after the fact.
func WithReplayed(frame []byte) []byte {
	end := bytes.LastIndexByte(frame, '}')
	out := make([]byte, 0, len(frame)+len(replayedField))
	out = append(out, frame[:end]...)
	out = append(out, replayedField...)
	return append(out, frame[end:]...)
}

// WithRetryAfter returns a copy of an error frame that names after how long the same would be taken, in milliseconds,
// rounded up.
func WithRetryAfter(frame []byte, after time.Duration) []byte {
	end := bytes.LastIndexByte(frame, '}')
	out := make([]byte, 0, len(frame)+len(retryAfterField)+20)
	out = append(out, frame[:end]...)
	out = append(out, retryAfterField...)
	out = strconv.AppendInt(out, int64((after+time.Millisecond-1)/time.Millisecond), 10)
	return append(out, frame[end:]...)
}

const retryAfterField = `,"retry_after_ms":`

const replayedField = `,"replayed":true`

// Marshal encodes without the escapes of < > & that encoding/json adds by default: a text goes out as it was sent, and a
// frame within v as it is.
func Marshal(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

// must encodes values whose types cannot fail to encode, save for a target that is no JSON, which is the caller's bug.
func must(v any) []byte {
	data, err := Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
