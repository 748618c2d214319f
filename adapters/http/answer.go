package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
	"chatting/adapters/problem"
	"chatting/domain"
)

// statuses maps every code of the domain to an HTTP status. Handlers answer the codes for which the contract has a
// body of its own before it comes to this.
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

// retryAfter is the number of seconds that 503, the 409 of a key in progress, and a 429 that does not know better name:
// within it an append that is under way has its outcome (the append deadline is 5 s).
const retryAfter = "5"

// answer is an answer that the contract names: its status, and its body as JSON, nil for none. As an error it ends a
// handler.
type answer struct {
	status int
	body   any
}

// Error implements error; nobody reads it.
func (a *answer) Error() string { return http.StatusText(a.status) }

// detail is the body {"detail": sentence}.
func detail(status int, sentence string) *answer {
	return &answer{status: status, body: map[string]string{"detail": sentence}}
}

// refusedTarget returns the 400 for a wrong target.
func refusedTarget(sentence string) *answer { return refused(fields.TargetField, sentence) }

// refused is the answer to one field that is wrong.
func refused(field, sentence string) *answer {
	return &answer{status: http.StatusBadRequest, body: fields.InvalidError{field: {sentence}}}
}

// refusedAs is the answer with problem details of which no more is known than the status.
func refusedAs(status int, sentence string) *answer {
	return &answer{status, problem.Of(status, sentence)}
}

// send writes body, nil for none, as JSON. Everything this package answers goes through it.
func send(c *fiber.Ctx, status int, body any) error {
	if encoded, ok := body.(json.RawMessage); ok {
		return write(c, status, jsonType, encoded)
	}
	if body == nil {
		return write(c, status, "", nil)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	mediaType := jsonType
	if typed, ok := body.(interface{ MediaType() string }); ok {
		mediaType = typed.MediaType()
	}
	return write(c, status, mediaType, data)
}

func write(c *fiber.Ctx, status int, mediaType string, body []byte) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-store")
	switch status {
	case http.StatusUnauthorized:
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict:
		c.Set(fiber.HeaderRetryAfter, retryAfter)
	}
	c.Status(status)
	c.Response().Header.SetContentType(mediaType)
	return c.Send(body)
}

const jsonType = "application/json"

// refuse turns the error of a handler into its answer, and is the one place where a fault of ours is logged.
func (a *API) refuse(c *fiber.Ctx, err error) error {
	var named *answer
	if errors.As(err, &named) {
		return send(c, named.status, named.body)
	}
	var ofRouter *fiber.Error
	if errors.As(err, &ofRouter) && ofRouter.Code < http.StatusInternalServerError {
		return refuseUnrouted(c, ofRouter)
	}
	code := domain.CodeOf(err)
	status, known := statuses[code]
	if !known {
		status = http.StatusInternalServerError
	}
	sentence := unexplained
	var classified *domain.Error
	if status != http.StatusInternalServerError && errors.As(err, &classified) {
		sentence = classified.Message
	}
	if status >= http.StatusInternalServerError {
		message := "request failed"
		if status == http.StatusServiceUnavailable {
			message = "request failed: a part is away"
		}
		a.deps.Notices.Error(message, loggedMethod(c), a.pathOf(c), slog.Any("address", a.address(c)),
			slog.Int("status", status), slog.Any("code", code), slog.String("error", err.Error()))
	}
	if status == http.StatusUnauthorized {
		return send(c, status, map[string]string{"detail": sentence})
	}
	if err := send(c, status, problem.New(status, code, sentence)); err != nil {
		return err
	}
	if status == http.StatusTooManyRequests {
		c.Set(fiber.HeaderRetryAfter, retryAfterOf(err))
	}
	return nil
}

// unexplained is all that a client learns of a fault of ours.
const unexplained = "Something went wrong here."

// refuseUnrouted answers for the router, and for other adapters' routes that refuse a request with a status. For a wrong method
// the contract names the body, so the paths that are not in it have the same sentence.
func refuseUnrouted(c *fiber.Ctx, err *fiber.Error) error {
	sentence := err.Message
	switch err.Code {
	case http.StatusMethodNotAllowed:
		sentence = fmt.Sprintf(`Method "%s" not allowed.`, methodOf(c))
		if isOurs(c) {
			return send(c, err.Code, map[string]string{"detail": sentence})
		}
	case http.StatusNotFound:
		sentence = "Not found."
	}
	return send(c, err.Code, problem.Of(err.Code, sentence))
}

// refuseUnread answers a request that could not be read: the app's error handler, because handlers' errors end in
// observe. The HTTP server's own sentences show its insides.
func (a *API) refuseUnread(c *fiber.Ctx, err error) error {
	recallHead(c)
	status, sentence := http.StatusBadRequest, "The request is malformed."
	var ofServer *fiber.Error
	if errors.As(err, &ofServer) {
		switch ofServer.Code {
		case http.StatusRequestEntityTooLarge:
			status, sentence = ofServer.Code, fmt.Sprintf("The body is longer than %d bytes.", a.options.BodyLimit)
			if a.bodies.refusedForRoom(&c.Context().Request.Header) {
				status, sentence = http.StatusServiceUnavailable, "Too many bodies are under way. Try again."
			}
		case http.StatusRequestHeaderFieldsTooLarge:
			status, sentence = ofServer.Code, fmt.Sprintf("The head is longer than %d bytes.", a.options.HeaderLimit)
		case http.StatusRequestTimeout:
			status, sentence = ofServer.Code, "The request did not arrive in time."
		}
	}
	// What is malformed otherwise was refused and logged before it came to the HTTP server, or its client went away.
	if status != http.StatusBadRequest {
		a.deps.Notices.Warn("request refused: it was not read to its end", slog.Any("address", a.address(c)),
			loggedMethod(c), a.pathOf(c), slog.Int("status", status), slog.String("reason", sentence))
	}
	defer a.setCORS(c)
	c.Response().SkipBody = c.Request().Header.IsHead()
	return send(c, status, problem.Of(status, sentence))
}

// recallHead gives a request that could not be read what decides on the form of its answer, and what its line in the log names.
// The HTTP server forgets the head when it refuses it, or when a chunked body is too long; the connection remembers it. The length
// of a chunked body is what has been announced of it.
func recallHead(c *fiber.Ctx) {
	conn, ok := c.Context().Conn().(interface {
		Head() (method, path []byte, origins [][]byte, length int64)
	})
	if !ok {
		return
	}
	method, path, origins, length := conn.Head()
	header := &c.Request().Header
	if len(method) == 0 || len(header.PeekAll(fiber.HeaderOrigin)) > 0 {
		return // it has no head, or knows it
	}
	header.SetMethodBytes(method)
	if name := c.Method(string(method)); name != string(method) {
		c.Context().SetUserValue(methodKey, string(method)) // it is none that the router knows
	}
	c.Path(string(path))
	header.SetContentLength(int(min(length, math.MaxInt32)))
	for _, origin := range origins {
		header.AddBytesV(fiber.HeaderOrigin, origin)
	}
}
