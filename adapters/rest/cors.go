package rest

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
	"chatting/adapters/rest/exchange"
)

// crossOrigin tells browsers which pages may read answers. A nil CORS tells nothing.
type crossOrigin struct {
	*origins.CORS

	log *requestLog
}

// setHeaders is called for every answer, errors too.
func (x *crossOrigin) setHeaders(c *fiber.Ctx) {
	if c.Response().StatusCode() == http.StatusSwitchingProtocols || origins.IsForServers(c.Path()) {
		return
	}
	for _, header := range x.Headers(originHeaders(c)) {
		if c.GetRespHeader(header.Name) == "" { // preflight has set its own
			c.Set(header.Name, header.Value)
		}
	}
}

// preflight answers browsers that ask whether a page may make a request. For a page that may not, it says nothing about it.
func (x *crossOrigin) preflight(c *fiber.Ctx) error {
	if origins.IsForServers(c.Path()) {
		return c.Next()
	}
	x.noteRefused(c)
	if x.CORS == nil || c.Method() != fiber.MethodOptions ||
		len(originHeaders(c)) == 0 || c.Get(fiber.HeaderAccessControlRequestMethod) == "" {
		return c.Next()
	}
	privateNetwork := c.Get("Access-Control-Request-Private-Network") == "true"
	for _, header := range x.Preflight(originHeaders(c), privateNetwork) {
		c.Set(header.Name, header.Value)
	}
	return exchange.Send(c, http.StatusNoContent, nil)
}

// noteRefused logs that a page of another host asks for something of the API that its browser will not show it. Sockets have a
// list of their own.
func (x *crossOrigin) noteRefused(c *fiber.Ctx) {
	headers := originHeaders(c)
	if len(headers) == 0 || !strings.HasPrefix(c.Path(), "/api/") || x.Allows(headers) ||
		origins.IsOwn(string(headers[0]), string(c.Request().Header.Host())) {
		return
	}
	x.log.Warn("a page may not read the answer to its request: its origin is not allowed", x.log.client(c),
		slog.String("origin", origins.Name(string(headers[0]))), slog.String("option", "http.cors_origins"))
}

// originHeaders returns the values of all Origin lines. They are good until the next use of the request's headers.
func originHeaders(c *fiber.Ctx) [][]byte { return c.Request().Header.PeekAll(fiber.HeaderOrigin) }
