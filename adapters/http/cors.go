package rest

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
)

// setCORS tells the browser which pages may read the answer. It is called for every answer, errors too.
func (a *API) setCORS(c *fiber.Ctx) {
	if c.Response().StatusCode() == http.StatusSwitchingProtocols || isForServers(c) {
		return
	}
	for _, header := range a.cors.Headers(originHeaders(c)) {
		if c.GetRespHeader(header.Name) == "" { // preflight has set its own
			c.Set(header.Name, header.Value)
		}
	}
}

// preflight answers browsers that ask whether a page may make a request. For a page that may not, it says nothing about it.
func (a *API) preflight(c *fiber.Ctx) error {
	if isForServers(c) {
		return c.Next()
	}
	a.noteRefusedOrigin(c)
	if a.cors == nil || c.Method() != fiber.MethodOptions ||
		len(originHeaders(c)) == 0 || c.Get(fiber.HeaderAccessControlRequestMethod) == "" {
		return c.Next()
	}
	privateNetwork := c.Get("Access-Control-Request-Private-Network") == "true"
	for _, header := range a.cors.Preflight(originHeaders(c), privateNetwork) {
		c.Set(header.Name, header.Value)
	}
	return write(c, http.StatusNoContent, "", nil)
}

// noteRefusedOrigin logs that a page of another host asks for something of the API that its browser will not show it. Sockets
// have a list of their own.
func (a *API) noteRefusedOrigin(c *fiber.Ctx) {
	headers := originHeaders(c)
	if len(headers) == 0 || !strings.HasPrefix(c.Path(), "/api/") || a.cors.Allows(headers) ||
		origins.IsOwn(string(headers[0]), string(c.Request().Header.Host())) {
		return
	}
	name := origins.Name(string(headers[0]))
	a.deps.Notices.Warn("a page may not read the answer to its request: its origin is not allowed",
		slog.Any("address", a.address(c)), slog.String("origin", name), slog.String("option", "http.cors_origins"))
}

// originHeaders returns the values of all Origin lines. They are good until the next use of the request's headers.
func originHeaders(c *fiber.Ctx) [][]byte { return c.Request().Header.PeekAll(fiber.HeaderOrigin) }

func isForServers(c *fiber.Ctx) bool { return origins.IsForServers(c.Path()) }
