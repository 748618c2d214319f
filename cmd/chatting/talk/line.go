package talk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Help describes the lines that a chat understands.
const Help = `  202 hello there     send "hello there" to user 202
  /invite 202         invite 202 to a game; /cancel 202 takes it back
  /accept 202         accept the newest invite of 202; /decline 202 declines it
  /invites            the invites that are pending
  /conversations      your conversations, the newest first
  /history 202        what you and 202 said last; /history 202 ID shows what was before that message
  /read 202           mark the conversation with 202 as read; /read 202 ID only up to that message
  /block 202          show no more messages of 202; /unblock 202 ends that; /blocks lists them
  /friend 202         see when 202 comes and goes; /unfriend 202 stops that; /friends lists them
  /online 202         is 202 online?
  /ping               does the server answer?
  {"target_id":…}     send this frame unchanged
  /quit               leave, as Ctrl-C and the end of the input (Ctrl-D) do
`

// line is what one line of input asks for: exactly one of its fields, none for an empty line.
type line struct {
	frame      []byte   // to send
	message    *message // to send
	answer     *answer  // to an invite
	call       *restCall
	quit, help bool
}

// message is a text to a user.
type message struct {
	Target int64  `json:"target_id"`
	Text   string `json:"message"`
	// ID names the message, so that it can be sent again; "" for none.
	ID string `json:"client_msg_id,omitempty"`
}

// answer is what the user says to an invite. room is "" for the newest one of the target.
type answer struct {
	target int64
	status string // accept or decline
	room   string
}

// restCall is a call of the REST API. body is nil for GET.
type restCall struct {
	method, path string
	body         []byte
}

// parseLine reads a line as Help says.
func parseLine(text string) (line, error) {
	text = strings.TrimRight(text, "\r\n")
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return line{}, nil
	case strings.HasPrefix(trimmed, "{"):
		return line{frame: []byte(trimmed)}, nil
	case strings.HasPrefix(trimmed, "/"):
		return parseSlash(trimmed)
	}
	name, words, has := strings.Cut(strings.TrimLeft(text, " \t"), " ")
	target, err := strconv.ParseInt(name, 10, 64)
	if err != nil || !has {
		return line{}, fmt.Errorf("%q is no message: write 202 hello there, or /help", trimmed)
	}
	return line{message: &message{Target: target, Text: words}}, nil
}

// arities are the commands about a user, each with how many words may follow the user.
var arities = map[string]int{
	"/invite": 0, "/cancel": 0, "/accept": 1, "/decline": 1, "/block": 0, "/unblock": 0, "/friend": 0, "/unfriend": 0, "/online": 0,
	"/history": 1, "/read": 1,
}

func parseSlash(text string) (line, error) {
	fields := strings.Fields(text)
	name := fields[0]
	switch name {
	case "/quit":
		return line{quit: true}, nil
	case "/help":
		return line{help: true}, nil
	case "/ping":
		return line{frame: []byte(`{"type":"ping"}`)}, nil
	case "/invites":
		return get("/api/chatting/invites/")
	case "/conversations":
		return get("/api/chatting/conversations/")
	case "/friends":
		return get("/api/chatting/friends/")
	case "/blocks":
		return get("/api/chatting/blockedusers/")
	}
	further, known := arities[name]
	switch {
	case !known:
		return line{}, fmt.Errorf("unknown command %q: /help lists them", name)
	case len(fields) < 2 || len(fields) > 2+further:
		return line{}, fmt.Errorf("%s takes one user: %s 202", name, name)
	}
	target, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return line{}, fmt.Errorf("%s: %q is no user id", name, fields[1])
	}
	return onTarget(name, target, strings.Join(fields[2:], ""))
}

func get(path string) (line, error) {
	return line{call: &restCall{method: http.MethodGet, path: path}}, nil
}

// onTarget returns what a command does to a user. id is the word behind the user; "" for none.
func onTarget(name string, target int64, id string) (line, error) {
	body := fmt.Appendf(nil, `{"target_id":%d}`, target)
	call := func(method, path string, body []byte) (line, error) {
		return line{call: &restCall{method, path, body}}, nil
	}
	switch name {
	case "/accept", "/decline":
		return line{answer: &answer{target, strings.TrimPrefix(name, "/"), id}}, nil
	case "/history":
		path := "/api/chatting/messages/?target_id=" + strconv.FormatInt(target, 10)
		if id != "" {
			path += "&before=" + url.QueryEscape(id)
		}
		return get(path)
	case "/read":
		encoded, err := encode(struct {
			Message string `json:"message_id,omitempty"`
		}{id})
		if err != nil {
			return line{}, err
		}
		return call(http.MethodPut, fmt.Sprintf("/api/chatting/conversations/%d/read/", target), encoded)
	case "/block":
		return call(http.MethodPost, "/api/chatting/blockedusers/", body)
	case "/unblock":
		return call(http.MethodDelete, "/api/chatting/blockedusers/", body)
	case "/friend":
		return call(http.MethodPost, "/api/chatting/friends/", body)
	case "/unfriend":
		return call(http.MethodDelete, "/api/chatting/friends/", body)
	case "/online":
		return get("/api/chatting/is-online/?id=" + strconv.FormatInt(target, 10))
	}
	return inviteFrame(target, strings.TrimPrefix(name, "/"), "")
}

// inviteFrame is a frame about an invite. room is "" for none.
func inviteFrame(target int64, status, room string) (line, error) {
	frame, err := encode(struct {
		Target int64  `json:"target_id"`
		Type   string `json:"type"`
		Status string `json:"status"`
		Room   string `json:"room_id,omitempty"`
	}{target, "invite_game", status, room})
	return line{frame: frame}, err
}

// encode writes JSON with < > & as they are, so that it reads as it was typed.
func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
