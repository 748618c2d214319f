// Package frame is the JSON that clients and the event topics see: one vocabulary for the socket, the REST API and the
// log. It does no I/O. Frames go out as they are encoded here, byte for byte; what comes in from the log is checked
// before it goes to a client.
package frame

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

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
	clientMsgIDKey = "client_msg_id"
)

// Time returns t as frames show it: ISO 8601 in UTC with milliseconds and Z.
func Time(t time.Time) string { return string(AppendTime(nil, t)) }

// AppendTime appends what Time returns.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, timeFormat) }

// Encode returns the frame of an event: see Append.
func Encode(event domain.Event) ([]byte, error) { return Append(nil, event) }

// Append appends the frame of an event: for chat messages, invites and system messages what clients get, for block changes
// what only the log holds. The client's own name of the message is not in it: see AppendWithClientMessageID.
func Append(dst []byte, event domain.Event) ([]byte, error) {
	switch e := event.Body.(type) {
	case domain.ChatMessage:
		dst = append(dst, `{"type":"`+TypeChat+`","message":`...)
		dst = appendText(dst, e.Text.String())
		dst = appendUsers(dst, e.From, e.To)
	case domain.GameInvite:
		dst = append(dst, `{"type":"`+TypeInvite+`"`...)
		dst = appendUsers(dst, e.From, e.To)
		dst = appendOptional(dst, `,"status":`, string(e.Status))
		dst = appendOptional(dst, `,"room_id":`, string(e.Room))
		if !e.Expires.IsZero() {
			dst = append(dst, `,"expires_at":"`...)
			dst = AppendTime(dst, e.Expires)
			dst = append(dst, '"')
		}
	case domain.SystemMessage:
		dst = append(dst, `{"type":"`+TypeSystem+`","from":"`+systemFrom+`","message":`...)
		dst = appendText(dst, e.Text.String())
		dst = append(dst, `,"to_id":`...)
		dst = strconv.AppendInt(dst, int64(e.To), 10)
		dst = appendOptional(dst, `,"room_id":`, string(e.Room))
		if e.Opponent != domain.System {
			dst = append(dst, `,"opponent_id":`...)
			dst = strconv.AppendInt(dst, int64(e.Opponent), 10)
		}
	case domain.BlockChanged:
		kind := TypeUnblocked
		if e.Blocked {
			kind = TypeBlocked
		}
		dst = append(dst, `{"type":"`...)
		dst = append(dst, kind...)
		dst = append(dst, '"')
		dst = appendUsers(dst, e.Blocker, e.Target)
		dst = append(dst, `,"version":`...)
		dst = strconv.AppendInt(dst, e.Version, 10)
	default:
		return nil, fmt.Errorf("no frame for events of type %T", event.Body)
	}
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, event.Time)
	dst = append(dst, `","id":"`...)
	dst = event.ID.Append(dst)
	return append(dst, `"}`...), nil
}

func appendUsers(dst []byte, from, to domain.UserID) []byte {
	dst = append(dst, `,"from_id":`...)
	dst = strconv.AppendInt(dst, int64(from), 10)
	dst = append(dst, `,"to_id":`...)
	return strconv.AppendInt(dst, int64(to), 10)
}

// appendOptional appends a member that is left out if it is empty.
func appendOptional(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return appendText(append(dst, name...), text)
}

// appendText appends a JSON string, with the escapes that encoding/json has without those of HTML.
func appendText(dst []byte, text string) []byte {
	start := len(dst)
	dst, err := jsontext.AppendQuote(dst, text)
	if err != nil || strings.Contains(text, "\u2028") || strings.Contains(text, "\u2029") {
		return append(dst[:start], must(text)...) // rare: what is no UTF-8, and the line ends that JavaScript had to have escaped
	}
	return dst
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

// AppendWithClientMessageID appends a frame with the sender's own name of the message spliced in at its end.
func AppendWithClientMessageID(dst, frame []byte, id domain.ClientMessageID) []byte {
	end := bytes.LastIndexByte(frame, '}')
	dst = append(dst, frame[:end]...)
	dst = append(dst, `,"`+clientMsgIDKey+`":`...)
	// Printable ASCII: Go's quoting and JSON's are the same for it.
	dst = strconv.AppendQuote(dst, string(id))
	return append(dst, frame[end:]...)
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
