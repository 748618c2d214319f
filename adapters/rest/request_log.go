package rest

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"chatting/application/notice"
)

// requestLog takes the log lines about requests and names requests in them. It names a route's pattern, not the path: what a
// client writes is not logged, because it may be a token and of any length.
type requestLog struct {
	*notice.Log

	clientAddress func(peer net.Addr, forwardedFor [][]byte) netip.Addr
	// patterns returns the paths of all routes. Other adapters mount routes until the app serves.
	patterns func() map[string]bool
}

// address returns the client's address, for limits and logs; the zero Addr if it has none.
func (l *requestLog) address(c *fiber.Ctx) netip.Addr {
	return l.clientAddress(c.Context().RemoteAddr(), c.Request().Header.PeekAll(fiber.HeaderXForwardedFor))
}

// client names the client in log lines.
func (l *requestLog) client(c *fiber.Ctx) slog.Attr { return slog.Any("address", l.address(c)) }

// path names the request's route in log lines. The Attr is empty, which handlers leave out, if there is no route.
func (l *requestLog) path(c *fiber.Ctx) slog.Attr {
	if pattern := l.route(c); pattern != "" {
		return slog.String("path", pattern)
	}
	return slog.Attr{}
}

// route returns the pattern of the request's route, "" if there is no route.
func (l *requestLog) route(c *fiber.Ctx) string {
	pattern := c.Route().Path
	if !l.patterns()[pattern] {
		return ""
	}
	return pattern
}

// routedPatterns returns the paths of the app's routes, without those of its middleware, which any request may reach.
func routedPatterns(app *fiber.App) map[string]bool {
	patterns := make(map[string]bool)
	for _, route := range app.GetRoutes(true) {
		patterns[route.Path] = true
	}
	return patterns
}

// methodKey is where a request keeps the name of a method that the router does not know.
const methodKey = "rest.method"

// nameUnknownMethods passes requests with methods that clients made up to the router under a method that no route has. They get
// 404 or 405 like others. Fiber would answer them, before any middleware, with 400 and plain text.
func nameUnknownMethods(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if method := string(ctx.Method()); !slices.Contains(fiber.DefaultMethods, method) {
			ctx.SetUserValue(methodKey, method)
			ctx.Request.Header.SetMethod(fiber.MethodTrace)
		}
		next(ctx)
	}
}

// loggedMethod names the request's method in log lines, unless the client made it up.
func loggedMethod(c *fiber.Ctx) slog.Attr {
	if _, invented := c.Context().UserValue(methodKey).(string); invented {
		return slog.String("method", "unknown")
	}
	return slog.String("method", strings.Clone(c.Method())) // a part of the request, which a line may outlive
}

// methodOf returns the request's method as the client named it.
func methodOf(c *fiber.Ctx) string {
	if method, ok := c.Context().UserValue(methodKey).(string); ok {
		return method
	}
	return c.Method()
}
