package wire

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
	TypeChat      = "chat_message"
	TypeInvite    = "invite_game"
	TypeSystem    = "system_message"
	TypeReadMark  = "read_mark"
	TypeStatus    = "send_status"
	TypePing      = "ping" // of clients only
	TypePong      = "pong"
	TypeRenewed   = "token_renewed"
	TypeExpiring  = "token_expiring"
	TypeBlocked   = "user_blocked"   // in the log only
	TypeUnblocked = "user_unblocked" // in the log only
	loginSentence = "You have successfully logged"
	systemFrom    = "admin"
	statusOnline  = "online"
	statusOffline = "offline"
)

// What KindOf calls frames that share the type of system messages.
const (
	KindLogin = "login"
	KindError = "error"
)

// KindOf returns what a frame of this package is: its type, KindLogin for the answer to a login, KindError for an error frame. It
// returns "" for anything else. Of other frames it looks only at how they begin.
func KindOf(frame []byte) string {
	rest, ours := bytes.CutPrefix(frame, headOfFrame)
	if !ours {
		return ""
	}
	for _, kind := range kinds {
		after, found := bytes.CutPrefix(rest, kind.quoted)
		switch {
		case !found:
		case kind.name != TypeSystem, bytes.HasPrefix(after, headOfSystem):
			return kind.name
		case bytes.HasPrefix(after, headOfError):
			return KindError
		default:
			return KindLogin
		}
	}
	return ""
}

var (
	headOfFrame  = []byte(`{"type":`)
	headOfSystem = []byte(`,"from":`)
	headOfError  = []byte(`,"error":`)
	// kinds are the types of frames for clients, the frequent ones first.
	kinds = quotedKinds(TypeChat, TypeStatus, TypeSystem, TypeInvite, TypeReadMark, TypePong, TypeRenewed, TypeExpiring)
)

// quotedKind is a type with quotes, as it stands in frames.
type quotedKind struct {
	name   string
	quoted []byte
}

func quotedKinds(names ...string) []quotedKind {
	quoted := make([]quotedKind, len(names))
	for i, name := range names {
		quoted[i] = quotedKind{name, []byte(`"` + name + `"`)}
	}
	return quoted
}

// Time returns t as frames show it: ISO 8601 in UTC with milliseconds and Z.
func Time(t time.Time) string { return string(AppendTime(nil, t)) }

// AppendTime appends what Time returns. Every message needs it, and package time formats RFC 3339 several times faster than
// any other layout.
func AppendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(dst, time.RFC3339)
	millis := t.Nanosecond() / int(time.Millisecond)
	return append(dst[:len(dst)-len("Z")], '.', byte('0'+millis/100), byte('0'+millis/10%10), byte('0'+millis%10), 'Z')
}

// EncodeEvent returns the frame of an event: see AppendEvent.
func EncodeEvent(event domain.Event) ([]byte, error) { return AppendEvent(nil, event) }

// AppendEvent appends the frame of an event. Clients get the frames of messages, invites, system messages and read marks; only the
// log has those of block changes. The frame has nothing that is for the one who acts alone: see AppendWithClientMessageID and
// AppendWithUnread.
func AppendEvent(dst []byte, event domain.Event) ([]byte, error) {
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
	case domain.ReadMark:
		dst = append(dst, `{"type":"`+TypeReadMark+`"`...)
		dst = appendUsers(dst, e.Reader, e.Partner)
		dst = append(dst, `,"message_id":"`...)
		dst = append(e.Message.Append(dst), '"')
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

// LoginFrame returns the answer to a login.
func LoginFrame(user domain.UserID, onlineFriends []domain.UserID, at time.Time) []byte {
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

// StatusFrame returns the frame that tells the user to of a friend's transition.
func StatusFrame(to domain.UserID, change domain.Transition) []byte {
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

// WithTokenExpiry returns a copy of the answer to a login that says when the token expires.
func WithTokenExpiry(frame []byte, at time.Time) []byte {
	const member = `,"token_expires_at":"`
	dst := append(openEnd(make([]byte, 0, len(frame)+len(member)+30), frame), member...)
	return append(AppendTime(dst, at), `"}`...)
}

// TokenRenewedFrame returns the answer to a good renewal; expires is zero for a token that does not expire.
func TokenRenewedFrame(to domain.UserID, expires, at time.Time) []byte {
	return tokenFrame(TypeRenewed, to, expires, at)
}

// TokenExpiringFrame returns the warning that a token expires soon.
func TokenExpiringFrame(to domain.UserID, expires, at time.Time) []byte {
	return tokenFrame(TypeExpiring, to, expires, at)
}

func tokenFrame(kind string, to domain.UserID, expires, at time.Time) []byte {
	frame := struct {
		Type    string `json:"type"`
		ToID    int64  `json:"to_id"`
		Expires string `json:"expires_at,omitempty"`
		Time    string `json:"time"`
	}{Type: kind, ToID: int64(to), Time: Time(at)}
	if !expires.IsZero() {
		frame.Expires = Time(expires)
	}
	return must(frame)
}

// PongFrame returns the answer to a client's ping, with the server's time.
func PongFrame(at time.Time) []byte {
	return must(struct {
		Type string `json:"type"`
		Time string `json:"time"`
	}{TypePong, Time(at)})
}

// ErrorFrame returns an error frame. target is the target_id as the client sent it, nil if it named none.
func ErrorFrame(
	to domain.UserID, code domain.Code, sentence string, target json.RawMessage, name domain.ClientMessageID, at time.Time,
) []byte {
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

// AppendWithClientMessageID appends a frame with the sender's client_msg_id as its last member.
func AppendWithClientMessageID(dst, frame []byte, id domain.ClientMessageID) []byte {
	dst = append(openEnd(dst, frame), `,"client_msg_id":`...)
	// An id is printable ASCII, for which Go's quoting and JSON's are the same.
	return append(strconv.AppendQuote(dst, string(id)), '}')
}

// AppendWithUnread appends the frame of a read mark with how many messages are unread behind it, for the reader's connections.
func AppendWithUnread(dst, frame []byte, unread int) []byte {
	dst = append(openEnd(dst, frame), `,"unread":`...)
	return append(strconv.AppendInt(dst, int64(unread), 10), '}')
}

// WithReplayed returns a copy of a frame that is marked as delivered later than it was sent. echoOf is the name that its receiver
// gave to it, "" for none.
func WithReplayed(frame []byte, echoOf domain.ClientMessageID) []byte {
	const member = `,"replayed":true}`
	dst := make([]byte, 0, len(frame)+len(member))
	if echoOf != "" {
		frame = AppendWithClientMessageID(nil, frame, echoOf)
	}
	return append(openEnd(dst, frame), member...)
}

// AppendWithResume appends a frame with a resume token as its last member.
func AppendWithResume(dst, frame []byte, token string) []byte {
	dst = append(append(openEnd(dst, frame), `,"resume":"`...), token...) // base64url, which needs no escapes
	return append(dst, `"}`...)
}

// WithRecovered returns a copy of the answer to a login that says whether its client gets everything since it stopped. If it does
// not, from is from when on it gets everything.
func WithRecovered(frame []byte, recovered bool, from time.Time) []byte {
	dst := append(openEnd(nil, frame), `,"recovered":`...)
	if recovered {
		return append(dst, `true}`...)
	}
	dst = append(dst, `false,"recovered_from":"`...)
	return append(AppendTime(dst, from), `"}`...)
}

// WithRetryAfter returns a copy of an error frame that says after how many milliseconds, rounded up, to try again.
func WithRetryAfter(frame []byte, after time.Duration) []byte {
	const member = `,"retry_after_ms":`
	dst := append(openEnd(make([]byte, 0, len(frame)+len(member)+20), frame), member...)
	return append(strconv.AppendInt(dst, int64((after+time.Millisecond-1)/time.Millisecond), 10), '}')
}

// openEnd appends a frame without its last brace.
func openEnd(dst, frame []byte) []byte {
	return append(dst, frame[:bytes.LastIndexByte(frame, '}')]...)
}

// Marshal is json.Marshal without the escapes of < > &: texts, and frames within v, go out as they are.
func Marshal(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

// must encodes a value that cannot fail to encode.
func must(v any) []byte {
	data, err := Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
