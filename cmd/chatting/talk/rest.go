package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"chatting/adapters/netcause"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
)

// reply is what a server answers to an HTTP request.
type reply struct {
	status string
	code   int
	body   []byte
}

// request makes an HTTP request to the server beside a socket. token is "" for none. No redirection is followed: the token is for the
// server that was named.
func request(ctx context.Context, socket *url.URL, token string, call restCall, header http.Header) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	asked, err := http.NewRequestWithContext(ctx, call.method, RESTBase(socket)+call.path, bytes.NewReader(call.body))
	if err != nil {
		return reply{}, err
	}
	if header != nil {
		asked.Header = header
	}
	if token != "" {
		asked.Header.Set("Authorization", "Bearer "+token)
	}
	if call.body != nil {
		asked.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(asked)
	if err != nil {
		return reply{}, exit.With(exit.Unavailable, fmt.Errorf("%s %s: %w", call.method, call.path, netcause.Of(err)))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxServerFrame))
	if err != nil {
		return reply{}, exit.With(exit.Unavailable, fmt.Errorf("%s %s: %w", call.method, call.path, err))
	}
	return reply{response.Status, response.StatusCode, bytes.TrimSpace(body)}, nil
}

// rest makes a call and shows its answer.
func (c *Chat) rest(ctx context.Context, call restCall) error {
	got, err := request(ctx, c.Socket, c.token, call, nil)
	if err != nil {
		return err
	}
	heading := fmt.Sprintf("%s %s: %s", call.method, call.path, got.status)
	if entries, of := listed(got.body); got.code == http.StatusOK && len(entries) > 0 {
		_, err = fmt.Fprintf(c.Notes, "%s, %d %s\n", heading, len(entries), of)
		for _, entry := range entries {
			fmt.Fprintln(c.Notes, "  "+terminal.Printable(entry))
		}
		return err
	}
	_, err = fmt.Fprintf(c.Notes, "%s %s\n", heading, terminal.Printable(got.body))
	return err
}

// listed returns the entries of an answer that has a list of objects, in the order of a conversation: the last one is the newest. Of
// other answers it returns none.
func listed(body []byte) (entries []json.RawMessage, of string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil, ""
	}
	for _, name := range []string{"messages", "conversations", "invites"} {
		if json.Unmarshal(fields[name], &entries) == nil && len(entries) > 0 {
			if name != "invites" { // which are so already
				slices.Reverse(entries)
			}
			return entries, name
		}
	}
	return nil, ""
}

// RESTBase returns the URL of the REST API beside a socket, without a slash at its end.
func RESTBase(socket *url.URL) string {
	base := url.URL{Scheme: "http", Host: socket.Host}
	if socket.Scheme == "wss" {
		base.Scheme = "https"
	}
	base.Path, _, _ = strings.Cut(socket.Path, strings.TrimSuffix(SocketPath, "/"))
	return strings.TrimSuffix(base.String(), "/")
}
