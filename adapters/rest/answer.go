package rest

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/adapters/wire"
	"chatting/domain"
)

// statuses maps every code of the domain to an HTTP status. Handlers answer the codes for which the contract has a body of
// its own before the error comes here.
var statuses = map[domain.Code]int{
	domain.CodeBadJSON:         http.StatusBadRequest,
	domain.CodeBadFrame:        http.StatusBadRequest,
	domain.CodeBadTarget:       http.StatusBadRequest,
	domain.CodeBadMessage:      http.StatusBadRequest,
	domain.CodeTooLong:         http.StatusBadRequest,
	domain.CodeSelf:            http.StatusBadRequest,
	domain.CodeNotBlocked:      http.StatusBadRequest,
	domain.CodeNotWatched:      http.StatusBadRequest,
	domain.CodeLimit:           http.StatusBadRequest,
	domain.CodeBadAct:          http.StatusBadRequest,
	domain.CodeNotInForce:      http.StatusBadRequest,
	domain.CodeMuted:           http.StatusForbidden,
	domain.CodeBanned:          http.StatusForbidden,
	domain.CodeTextRefused:     http.StatusForbidden,
	domain.CodeUnauthenticated: http.StatusUnauthorized,
	domain.CodeNoUserOrOffline: http.StatusNotFound,
	domain.CodeUnknownUser:     http.StatusNotFound,
	domain.CodeUnknownMessage:  http.StatusNotFound,
	domain.CodeInviteEnded:     http.StatusConflict,
	domain.CodeNotInvited:      http.StatusForbidden,
	domain.CodeKeyInProgress:   http.StatusConflict,
	domain.CodeKeyReused:       http.StatusUnprocessableEntity,
	domain.CodeMailboxFull:     http.StatusTooManyRequests,
	domain.CodeRateLimited:     http.StatusTooManyRequests,
	domain.CodeUnavailable:     http.StatusServiceUnavailable,
	domain.CodeUnconfirmed:     http.StatusServiceUnavailable,
	domain.CodeInternal:        http.StatusInternalServerError,
}

// retryAfter is the number of seconds in Retry-After of 503, of the 409 of a key in progress, and of a 429 that does not know
// better. Within it an append that is under way has its outcome: the append deadline is 5 s.
const retryAfter = "5"

// answer is an answer that the contract names: its status, and its body, nil for none. As an error it ends a handler.
type answer struct {
	status int
	body   any
}

// Error implements error; nobody reads it.
func (a *answer) Error() string { return http.StatusText(a.status) }

// detail returns the answer with the body {"detail": sentence}.
func detail(status int, sentence string) *answer {
	return &answer{status: status, body: map[string]string{"detail": sentence}}
}

// refusedTarget returns the 400 for a wrong target.
func refusedTarget(sentence string) *answer { return refused(wire.TargetField, sentence) }

// refused returns the 400 for one field that is wrong.
func refused(field, sentence string) *answer {
	return &answer{status: http.StatusBadRequest, body: wire.InvalidError{field: {sentence}}}
}

// refusedAs returns the problem details of a status.
func refusedAs(status int, sentence string) *answer {
	return &answer{status, problem.Of(status, sentence)}
}

const jsonType = "application/json"

// send writes body as JSON, nothing for nil. Every answer of this package goes through it.
func send(c *fiber.Ctx, status int, body any) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-store")
	switch status {
	case http.StatusUnauthorized:
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict:
		c.Set(fiber.HeaderRetryAfter, retryAfter)
	}
	c.Status(status)
	if body == nil {
		c.Response().Header.SetContentType("")
		return c.Send(nil)
	}
	mediaType := jsonType
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
	if wantsStringIDs(c) {
		data = wire.AppendWithStringIDs(make([]byte, 0, len(data)+len(data)/16), data)
	}
	return c.Send(data)
}
