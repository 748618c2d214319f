package rest

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"chatting/application"
)

// observe is the outermost middleware: it turns errors into answers, a panic into a 500 that says nothing of it, and
// logs each request for debugging: its route, and nothing else that the client wrote.
func (a *API) observe(c *fiber.Ctx) error {
	start := time.Now()
	err := a.recovered(c)
	if err == nil && isOurs(c) {
		err = a.holdAnswer(c)
	}
	if err != nil {
		release(c)
		if err := a.refuse(c, err); err != nil {
			return err
		}
	}
	a.setCORS(c)
	a.deps.Logger.LogAttrs(c.Context(), slog.LevelDebug, "request", slog.Any("address", a.address(c)),
		loggedMethod(c), a.pathOf(c), slog.Int("status", c.Response().StatusCode()), slog.Duration("took", time.Since(start)))
	return nil
}

// address returns the client's address, for limits and logs; the zero Addr if there is none.
func (a *API) address(c *fiber.Ctx) netip.Addr {
	return a.options.ClientAddress(c.Context().RemoteAddr(), c.Request().Header.PeekAll(fiber.HeaderXForwardedFor))
}

// refuseRewritten refuses a request whose path fasthttp takes for another than the one that was sent, and closes the
// connection: what a proxy allows by the path that it sees must be what is routed here. fasthttp takes a second slash for the
// end of an authority, for example. The listener refuses such requests before; this holds for any listener.
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

// refuseAmbiguous refuses what servers are known to read differently, and closes the connection: behind a proxy, which
// shares it among clients, the end of one request could pass for the beginning of another's.
//
//   - a folded header line (RFC 9112 §5.2 lets a server refuse it): fasthttp has miscounted the length of such a head
//     and read its end again, as the next request;
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
	return refusedAs(http.StatusBadRequest, sentence)
}

// recovered runs the rest of the chain. Nothing of a panic's value reaches the client, be it an error or not.
func (a *API) recovered(c *fiber.Ctx) (err error) {
	defer func() {
		if value := recover(); value != nil {
			a.deps.Notices.Error("request panicked", loggedMethod(c), a.pathOf(c), slog.Any("address", a.address(c)),
				slog.String("panic", application.DescribePanic(value)), slog.String("stack", string(debug.Stack())))
			err = refusedAs(http.StatusInternalServerError, unexplained)
		}
	}()
	return c.Next()
}

// methodKey is where a request keeps the name of a method that the router does not know.
const methodKey = "rest.method"

// nameUnknownMethods passes requests with methods of clients' own invention to the router under a method that no route
// has. Fiber would answer them, before any middleware, with 400 and plain text; so they get 404 or 405 like others.
func nameUnknownMethods(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if method := string(ctx.Method()); !slices.Contains(fiber.DefaultMethods, method) {
			ctx.SetUserValue(methodKey, method)
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		next(ctx)
	}
}

// pathOf names the path of the request's route in log lines, and nothing if no route has the request. What the client wrote is
// not logged, because it may be a token and of any length.
func (a *API) pathOf(c *fiber.Ctx) slog.Attr {
	pattern := c.Route().Path
	if !a.patterns()[pattern] {
		return slog.Attr{} // which handlers leave out
	}
	return slog.String("path", pattern)
}

// routedPatterns returns the paths of the routes of the app. Those of its middleware, which any request may reach, are not
// among them.
func routedPatterns(app *fiber.App) map[string]bool {
	patterns := make(map[string]bool)
	for _, route := range app.GetRoutes(true) {
		patterns[route.Path] = true
	}
	return patterns
}

// loggedMethod names the request's method in log lines. A method of the client's own invention is not logged, for the reason
// of pathOf.
func loggedMethod(c *fiber.Ctx) slog.Attr {
	if _, invented := c.Context().UserValue(methodKey).(string); invented {
		return slog.String("method", "unknown")
	}
	return slog.String("method", strings.Clone(c.Method())) // which is a part of the request, and lines may wait
}

// methodOf returns the request's method as the client named it.
func methodOf(c *fiber.Ctx) string {
	if method, ok := c.Context().UserValue(methodKey).(string); ok {
		return method
	}
	return c.Method()
}
