package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"chatting/adapters/netcause"
)

// commandHelp describes the lines that connect understands.
const commandHelp = `  202 hello there     send "hello there" to user 202
  /invite 202         invite 202 to a game; /cancel 202 takes it back
  /block 202          show no more messages of 202; /unblock 202 ends that
  /friend 202         see when 202 comes and goes; /unfriend 202 stops that
  /online 202         is 202 online?
  /ping               does the server answer?
  {"target_id":…}     send this frame unchanged
  /quit               leave, as Ctrl-C and the end of the input (Ctrl-D) do
`

// lineCommand is what one line of input asks for: exactly one of its fields, none for an empty line.
type lineCommand struct {
	frame      []byte // to send
	call       *restCall
	quit, help bool
}

// restCall is a call of the REST API. body is nil for GET.
type restCall struct {
	method, path string
	body         []byte
}

// parseLine reads a line as commandHelp says.
func parseLine(line string) (lineCommand, error) {
	line = strings.TrimRight(line, "\r\n")
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "":
		return lineCommand{}, nil
	case strings.HasPrefix(trimmed, "{"):
		return lineCommand{frame: []byte(trimmed)}, nil
	case strings.HasPrefix(trimmed, "/"):
		return parseSlash(trimmed)
	}
	name, text, has := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	target, err := strconv.ParseInt(name, 10, 64)
	if err != nil || !has {
		return lineCommand{}, fmt.Errorf("%q is no message: write 202 hello there, or /help", trimmed)
	}
	return frameCommand(struct {
		Target  int64  `json:"target_id"`
		Message string `json:"message"`
	}{target, text})
}

func parseSlash(line string) (lineCommand, error) {
	fields := strings.Fields(line)
	switch name := fields[0]; name {
	case "/quit":
		return lineCommand{quit: true}, nil
	case "/help":
		return lineCommand{help: true}, nil
	case "/ping":
		return frameCommand(struct {
			Type string `json:"type"`
		}{"ping"})
	case "/invite", "/cancel", "/block", "/unblock", "/friend", "/unfriend", "/online":
		if len(fields) != 2 {
			return lineCommand{}, fmt.Errorf("%s takes one user: %s 202", name, name)
		}
		target, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return lineCommand{}, fmt.Errorf("%s: %q is no user id", name, fields[1])
		}
		return onTarget(name, target)
	default:
		return lineCommand{}, fmt.Errorf("unknown command %q: /help lists them", name)
	}
}

// onTarget returns what a command does to a user.
func onTarget(name string, target int64) (lineCommand, error) {
	body := fmt.Appendf(nil, `{"target_id":%d}`, target)
	call := func(method, path string, body []byte) (lineCommand, error) {
		return lineCommand{call: &restCall{method, path, body}}, nil
	}
	switch name {
	case "/block":
		return call(http.MethodPost, "/api/chatting/blockedusers/", body)
	case "/unblock":
		return call(http.MethodDelete, "/api/chatting/blockedusers/", body)
	case "/friend":
		return call(http.MethodPost, "/api/chatting/friends/", body)
	case "/unfriend":
		return call(http.MethodDelete, "/api/chatting/friends/", body)
	case "/online":
		return call(http.MethodGet, "/api/chatting/is-online/?id="+strconv.FormatInt(target, 10), nil)
	}
	return frameCommand(struct {
		Target int64  `json:"target_id"`
		Type   string `json:"type"`
		Status string `json:"status"`
	}{target, "invite_game", strings.TrimPrefix(name, "/")})
}

// frameCommand encodes a frame with < > & as they are, so that it reads as it was typed.
func frameCommand(frame any) (lineCommand, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(frame); err != nil {
		return lineCommand{}, err
	}
	return lineCommand{frame: bytes.TrimRight(out.Bytes(), "\n")}, nil
}

// rest makes a call and shows its answer.
func (c *chat) rest(ctx context.Context, call restCall) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, call.method, restBase(c.socket)+call.path, bytes.NewReader(call.body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	if call.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", call.method, call.path, netcause.Of(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxServerFrame))
	if err != nil {
		return fmt.Errorf("%s %s: %w", call.method, call.path, err)
	}
	_, err = fmt.Fprintf(c.notes, "%s %s: %s %s\n", call.method, call.path, response.Status, printable(bytes.TrimSpace(body)))
	return err
}

// restBase returns the URL of the REST API beside a socket, without a slash at its end.
func restBase(socket *url.URL) string {
	base := url.URL{Scheme: "http", Host: socket.Host}
	if socket.Scheme == "wss" {
		base.Scheme = "https"
	}
	base.Path, _, _ = strings.Cut(socket.Path, strings.TrimSuffix(socketPath, "/"))
	return strings.TrimSuffix(base.String(), "/")
}
