package rest

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"chatting/application/port"
	"chatting/domain"
)

// headerTrace is the header by which a client says which span its request is part of (W3C Trace Context).
const headerTrace = "Traceparent"

// untraced are the paths that machines ask for every few seconds. They would fill the traces.
var untraced = []string{"/healthz", "/readyz"}

func nothing() {}

// trace begins the span of a request, and returns what ends it. What the request asks for is part of it.
func (e *edge) trace(c *fiber.Ctx) (end func()) {
	if !e.traces.IsOn() || slices.Contains(untraced, c.Path()) {
		return nothing
	}
	parent := domain.NewTraceParent(c.Request().Header.Peek(headerTrace))
	span := e.traces.Root(port.SpanRequest, parent)
	if !span.IsRecorded() {
		if parent != "" && !parent.IsSampled() { // nor is what follows from it
			c.SetUserContext(port.WithTrace(c.UserContext(), parent))
		}
		return nothing
	}
	c.SetUserContext(span.In(c.UserContext()))
	return func() {
		method, name := "_OTHER", "HTTP" // as OpenTelemetry calls methods that are not known
		if _, invented := c.Context().UserValue(methodKey).(string); !invented {
			method = loggedMethod(c).Value.String()
			name = method
		}
		if route := e.log.route(c); route != "" {
			name += " " + route
			span.SetText(port.KeyRoute, route)
		}
		span.Rename(name)
		span.SetText(port.KeyMethod, method)
		status := c.Response().StatusCode()
		span.SetNumber(port.KeyStatus, int64(status))
		if status >= http.StatusInternalServerError {
			span.EndAs(strconv.Itoa(status), true)
			return
		}
		span.EndAs("", false)
	}
}
