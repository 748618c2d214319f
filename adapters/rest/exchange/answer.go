// Package exchange reads the parts of a request that handlers ask for, and writes answers: bodies, parameters of the query, the
// bodies that the contract names. It knows nothing of routes, of who may ask, and of the domain's errors.
package exchange

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/adapters/wire"
)

// RetryAfter is the number of seconds in Retry-After of 503, of the 409 of a key in progress, and of a 429 that does not know
// better. Within it an append that is under way has its outcome: the append deadline is 5 s.
const RetryAfter = "5"

// Answer is an answer that the contract names: its status, and its body, nil for none. As an error it ends a handler.
type Answer struct {
	Status int
	Body   any
}

// Error implements error; nobody reads it.
func (a *Answer) Error() string { return http.StatusText(a.Status) }

// Detail returns the answer with the body {"detail": sentence}.
func Detail(status int, sentence string) *Answer {
	return &Answer{Status: status, Body: map[string]string{"detail": sentence}}
}

// Refused returns the 400 for one field that is wrong.
func Refused(field, sentence string) *Answer {
	return &Answer{Status: http.StatusBadRequest, Body: wire.InvalidError{field: {sentence}}}
}

// Invalid returns the 400 for all fields that are wrong.
func Invalid(wrong wire.InvalidError) *Answer { return &Answer{http.StatusBadRequest, wrong} }

// Problem returns the problem details of a status.
func Problem(status int, sentence string) *Answer {
	return &Answer{status, problem.Of(status, sentence)}
}

// JSONType is the media type of every body but problem details.
const JSONType = "application/json"

// Send writes body as JSON, nothing for nil. Every answer of the API goes through it.
func Send(c *fiber.Ctx, status int, body any) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-store")
	switch status {
	case http.StatusUnauthorized:
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict:
		c.Set(fiber.HeaderRetryAfter, RetryAfter)
	}
	c.Status(status)
	if body == nil {
		c.Response().Header.SetContentType("")
		return c.Send(nil)
	}
	mediaType := JSONType
	if typed, ok := body.(interface{ MediaType() string }); ok {
		mediaType = typed.MediaType()
	}
	c.Response().Header.SetContentType(mediaType)
	data, encoded := body.(json.RawMessage)
	if !encoded {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encoding an answer: %w", err)
		}
	}
	if WantsStringIDs(c) {
		data = wire.AppendWithStringIDs(make([]byte, 0, len(data)+len(data)/16), data)
	}
	return c.Send(data)
}
