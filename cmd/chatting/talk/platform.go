package talk

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// PlatformCall is a request to the API for the platform's servers.
type PlatformCall struct {
	Socket *url.URL // the API is beside it
	Token  string   // that of servers; "" for none
	Method string
	Path   string
	// Body is what is sent as JSON; nil for a request that changes nothing.
	Body any
	// Key is its Idempotency-Key; "" for none.
	Key string
}

// Do makes the request and returns the body of an answer with 200. The error of any other outcome has its exit code.
func (p PlatformCall) Do(ctx context.Context) ([]byte, error) {
	call := restCall{method: p.Method, path: p.Path}
	if p.Body != nil {
		var err error
		if call.body, err = encode(p.Body); err != nil {
			return nil, err
		}
	}
	header := http.Header{}
	if p.Key != "" {
		header.Set("Idempotency-Key", p.Key)
	}
	got, err := request(ctx, p.Socket, p.Token, call, header)
	switch {
	case err != nil && p.Body != nil && !neverSent(err):
		return nil, p.inDoubt(err)
	case err != nil:
		return nil, err
	case got.code == http.StatusOK:
		return got.body, nil
	}
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(got.body, &problem) // another form is told by its status
	said := fmt.Errorf("the server answered %s %s", got.status, terminal.Printable(got.body))
	switch code := domain.Code(problem.Code); {
	case code == domain.CodeUnconfirmed:
		return nil, p.inDoubt(said)
	case got.code >= http.StatusInternalServerError, got.code == http.StatusTooManyRequests, code == domain.CodeKeyInProgress:
		return nil, exit.With(exit.Unavailable, said)
	case got.code >= http.StatusBadRequest:
		return nil, exit.With(exit.Refused, said)
	}
	return nil, fmt.Errorf("%w: %s", errUnexpected, strconv.Quote(got.status))
}

// inDoubt is the error of a request that may be carried out.
func (p PlatformCall) inDoubt(err error) error {
	again := "say it again"
	if p.Key != "" {
		again += " with --key " + p.Key
	}
	return exit.With(exit.Unconfirmed, fmt.Errorf("it may be done: %s (%w)", again, err))
}
