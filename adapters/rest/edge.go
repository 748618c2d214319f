package rest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/adapters/rest/exchange"
	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// edge is what every request passes first and every answer last.
type edge struct {
	log      *requestLog
	requests *slog.Logger // a line for each request, for debugging
	held     *heldAnswers
	cors     *crossOrigin
	bodies   *longBodies
	observer Observer // nil for none
	traces   port.Traces

	bodyLimit, headerLimit int
}

// observe is the outermost middleware. It turns errors into answers and panics into a 500 that says nothing of them, and logs each
// request: its route, and nothing else that the client wrote.
func (e *edge) observe(c *fiber.Ctx) error {
	start := time.Now()
	defer e.trace(c)()
	err := e.recovered(c)
	if err == nil && isOurs(c) {
		err = e.held.holdAnswer(c)
	}
	if err != nil {
		release(c)
		if err := e.refuse(c, err); err != nil {
			return err
		}
	}
	e.cors.setHeaders(c)
	e.requests.LogAttrs(c.Context(), slog.LevelDebug, "request", e.log.client(c), loggedMethod(c), e.log.path(c),
		slog.Int("status", c.Response().StatusCode()), slog.Duration("took", time.Since(start)))
	if e.observer != nil {
		e.observer.Answered(c.Method(), e.log.route(c), c.Response().StatusCode(), time.Since(start))
	}
	return nil
}

// recovered runs the rest of the chain. The client learns nothing of a panic's value.
func (e *edge) recovered(c *fiber.Ctx) (err error) {
	defer func() {
		if value := recover(); value != nil {
			e.log.Error("request panicked", loggedMethod(c), e.log.path(c), e.log.client(c),
				slog.String("panic", async.DescribePanic(value)), slog.String("stack", string(debug.Stack())))
			err = exchange.Problem(http.StatusInternalServerError, unexplained)
		}
	}()
	return c.Next()
}

// unexplained is all that a client learns of a fault of the server.
const unexplained = "Something went wrong here."

// refuse turns the error of a handler into its answer. Only here are faults of the server logged.
func (e *edge) refuse(c *fiber.Ctx, err error) error {
	var named *exchange.Answer
	if errors.As(err, &named) {
		return exchange.Send(c, named.Status, named.Body)
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
		e.log.Error(message, loggedMethod(c), e.log.path(c), e.log.client(c),
			slog.Int("status", status), slog.Any("code", code), slog.String("error", err.Error()))
	}
	if status == http.StatusUnauthorized {
		return exchange.Send(c, status, map[string]string{"detail": sentence})
	}
	if err := exchange.Send(c, status, problem.New(status, code, sentence)); err != nil {
		return err
	}
	if after := domain.RetryAfterOf(err); status == http.StatusTooManyRequests && after > 0 {
		c.Set(fiber.HeaderRetryAfter, problem.RetryAfter(after))
	}
	return nil
}

// refuseUnrouted answers for the router, and for other adapters' routes that refuse a request with a status. For a wrong
// method the contract names the body; the paths that it does not name get the same sentence.
func refuseUnrouted(c *fiber.Ctx, err *fiber.Error) error {
	sentence := err.Message
	switch err.Code {
	case http.StatusMethodNotAllowed:
		sentence = fmt.Sprintf(`Method "%s" not allowed.`, methodOf(c))
		if isOurs(c) {
			return exchange.Send(c, err.Code, map[string]string{"detail": sentence})
		}
	case http.StatusNotFound:
		sentence = "Not found."
	}
	return exchange.Send(c, err.Code, problem.Of(err.Code, sentence))
}

// refuseUnread answers a request that could not be read. It is the app's error handler, because handlers' errors end in
// observe. The HTTP server's own sentences would show its insides.
func (e *edge) refuseUnread(c *fiber.Ctx, err error) error {
	recallHead(c)
	status, sentence := http.StatusBadRequest, "The request is malformed."
	var ofServer *fiber.Error
	if errors.As(err, &ofServer) {
		switch ofServer.Code {
		case http.StatusRequestEntityTooLarge:
			status, sentence = ofServer.Code, fmt.Sprintf("The body is longer than %d bytes.", e.bodyLimit)
			if e.bodies.refusedForRoom(&c.Context().Request.Header) {
				status, sentence = http.StatusServiceUnavailable, "Too many bodies are under way. Try again."
			}
		case http.StatusRequestHeaderFieldsTooLarge:
			status, sentence = ofServer.Code, fmt.Sprintf("The head is longer than %d bytes.", e.headerLimit)
		case http.StatusRequestTimeout:
			status, sentence = ofServer.Code, "The request did not arrive in time."
		}
	}
	// Other malformed requests were refused and logged by the listener in front, or their clients went away.
	if status != http.StatusBadRequest {
		e.log.Warn("request refused: it was not read to its end", e.log.client(c),
			loggedMethod(c), e.log.path(c), slog.Int("status", status), slog.String("reason", sentence))
	}
	defer e.cors.setHeaders(c)
	c.Response().SkipBody = c.Request().Header.IsHead()
	return exchange.Send(c, status, problem.Of(status, sentence))
}

// recallHead gives a request that could not be read the head that its answer and its log line depend on. The HTTP server
// forgets the head when it refuses it, or when a chunked body is too long; the connection remembers it. The length of a
// chunked body is what was announced of it so far.
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
		return // there is none, or it is not forgotten
	}
	header.SetMethodBytes(method)
	if name := c.Method(string(method)); name != string(method) {
		c.Context().SetUserValue(methodKey, string(method)) // the router does not know it
	}
	c.Path(string(path))
	header.SetContentLength(int(min(length, math.MaxInt32)))
	for _, origin := range origins {
		header.AddBytesV(fiber.HeaderOrigin, origin)
	}
}

// refuseRewritten refuses a request whose path fasthttp takes for another than the one that was sent, and closes the
// connection: a proxy that allows a path must see the path that is routed here. fasthttp takes a second slash for the end of an
// authority, for example. The listener in front refuses such requests before; this holds for any listener.
func refuseRewritten(c *fiber.Ctx) error {
	sent := c.Request().Header.RequestURI()
	if sent[0] != '/' { // it is never empty
		_, rest, _ := bytes.Cut(sent, []byte("://"))
		path := bytes.IndexAny(rest, "/?")
		if path < 0 {
			path = len(rest)
		}
		sent = rest[path:]
	}
	if end := bytes.IndexAny(sent, "?#"); end >= 0 {
		sent = sent[:end]
	}
	if len(sent) == 0 {
		sent = []byte("/")
	}
	if c.Path() != string(sent) {
		return ambiguous(c, "The request target is not in its plain form.")
	}
	return c.Next()
}

// refuseAmbiguous refuses what servers are known to read differently, and closes the connection. Behind a proxy, which shares
// the connection among clients, the end of one request could pass for the beginning of another's.
//
//   - A folded header line, which RFC 9112 §5.2 lets a server refuse. fasthttp has miscounted the length of such a head and
//     read its end again, as the next request.
//   - Content-Length beside Transfer-Encoding (RFC 9112 §6.3). The parsed header has lost one of them.
func refuseAmbiguous(c *fiber.Ctx) error {
	var length, encoding bool
	for line := range bytes.Lines(c.Request().Header.RawHeaders()) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return ambiguous(c, "Folded header lines are refused.")
		case bytes.EqualFold(bytes.TrimSpace(name), []byte(fiber.HeaderContentLength)):
			length = true
		case bytes.EqualFold(bytes.TrimSpace(name), []byte(fiber.HeaderTransferEncoding)):
			encoding = true
		}
	}
	if length && encoding {
		return ambiguous(c, "Content-Length and Transfer-Encoding together are refused.")
	}
	return c.Next()
}

func ambiguous(c *fiber.Ctx, sentence string) error {
	c.Context().SetConnectionClose()
	return exchange.Problem(http.StatusBadRequest, sentence)
}

// isOurs tells whether a path is of the API, not a page that another adapter mounted.
func isOurs(c *fiber.Ctx) bool {
	path := c.Request().URI().Path()
	return bytes.HasPrefix(path, []byte("/api/")) || bytes.HasPrefix(path, []byte("/s2sapi/"))
}
