package ws

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"chatting/adapters/network"
	"chatting/adapters/origins"
	"chatting/adapters/problem"
	"chatting/adapters/ws/socket"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// readBuffer is the size of the buffer that each connection keeps for reading, in bytes. Most frames of a chat fit in;
// longer ones bypass it.
const readBuffer = 512

// handoverKey is where check leaves the handover.
const handoverKey = "chatting.ws.socket"

// handover is what check leaves to the session. It hides the socket's Close: at the end of a request, fasthttp closes all its
// values that have one.
type handover struct {
	sock *socket.Conn
	// client is the address that limits and logs count the connection under.
	client netip.Addr
	// trace is the span of the upgrade; "" if that is not recorded.
	trace domain.TraceParent
}

// retryAfter is how many seconds a client has to wait that is refused for now.
const retryAfter = "5"

// check refuses requests that must not be upgraded, and counts those that may.
func (s *Server) check(c *fiber.Ctx) error {
	header := &c.Context().Request.Header
	sock, ok := c.Context().Conn().(*socket.Conn)
	if !ok || !sock.CanUpgrade() {
		s.deps.Notices.Error("WebSocket upgrade refused: the app is not served on a wrapped listener")
		return refuse(c, http.StatusInternalServerError, "The server is not set up for WebSocket connections.")
	}
	client := s.options.ClientAddress(sock.RemoteAddr(), header.PeekAll(fiber.HeaderXForwardedFor))
	switch {
	case !bare(header.RawHeaders()):
		c.Context().SetConnectionClose()
		return refuse(c, http.StatusBadRequest, "An upgrade request has no body, no Expect and no folded headers.")
	case !s.isAllowed(header.PeekAll(fiber.HeaderOrigin), header.Host()):
		s.deps.Notices.Warn("WebSocket upgrade refused: its origin is not allowed", slog.Any("address", client),
			slog.String("origin", origins.Name(string(header.Peek(fiber.HeaderOrigin)))), slog.String("option", "websocket.allowed_origins"))
		s.refusedUpgrade(client, "its origin is not allowed")
		return refuseAs(c, problem.New(http.StatusForbidden, problem.OriginNotAllowed, "The origin is not allowed."))
	case !asksForWebSocket(header):
		c.Set(fiber.HeaderUpgrade, "websocket")
		return refuse(c, http.StatusUpgradeRequired, "This is a WebSocket endpoint.")
	case string(header.Peek("Sec-Websocket-Version")) != "13":
		c.Set(fiber.HeaderUpgrade, "websocket")
		c.Set("Sec-Websocket-Version", "13")
		return refuse(c, http.StatusUpgradeRequired, "The WebSocket version must be 13.")
	case !validKey(header.Peek("Sec-Websocket-Key")):
		return refuse(c, http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	if s.deps.Ready != nil && s.deps.Ready() != nil {
		return refuseForNow(c, "The server is starting.")
	}
	if wait := s.deps.Rates.LoginWait(client); wait > 0 {
		s.deps.Notices.Warn("WebSocket upgrade refused: too many logins from its address", slog.Any("address", client))
		s.refusedUpgrade(client, "too many logins from its address")
		c.Set(fiber.HeaderRetryAfter, problem.RetryAfter(wait))
		return refuse(c, http.StatusTooManyRequests, "There are too many logins from this address.")
	}
	release, err := s.admit(client)
	switch {
	case errors.Is(err, errDraining):
		return refuseForNow(c, "The server is going away.")
	case err != nil:
		return refuseForNow(c, "There are too many connections.")
	}
	if !sock.Hold(release) {
		release()
		return refuse(c, http.StatusBadRequest, "The connection is closed.")
	}
	h := handover{sock: sock, client: client}
	if s.deps.Traces.IsOn() {
		h.trace = port.TraceOf(c.UserContext())
	}
	c.Locals(handoverKey, h)
	// The library looks at the first line of each only.
	header.Set(fiber.HeaderConnection, "Upgrade")
	header.Set(fiber.HeaderUpgrade, "websocket")
	if err := c.Next(); err != nil {
		sock.Drop()
		return err
	}
	return nil
}

// admit takes a place for a client, which release gives back.
func (s *Server) admit(client netip.Addr) (release func(), err error) {
	address := network.Of(client)
	release, err = s.roster.admit(address)
	var full fullError
	if errors.As(err, &full) {
		s.deps.Notices.Warn("WebSocket connection refused: too many",
			slog.Any("address", address), slog.Int("of_address", full.ofAddress), slog.Int("connections", full.connections))
		s.refusedUpgrade(address, full.Error())
	}
	return release, err
}

// refusedUpgrade logs a client that got no connection.
func (s *Server) refusedUpgrade(address netip.Addr, reason string) {
	s.deps.Logins.Refused(application.Visitor{Address: addressText(address)}, reason)
}

// isAllowed decides on the Origin headers of a request that was sent to host. Programs that are not browsers send none.
func (s *Server) isAllowed(originHeaders [][]byte, host []byte) bool {
	if len(originHeaders) == 0 {
		return true
	}
	origin := string(originHeaders[0])
	return len(originHeaders) == 1 && (s.origins.Has(origin) || origins.IsOwn(origin, string(host)))
}

// asksForWebSocket tells whether a request asks for the protocol (RFC 6455 §4.2.1), and does not ask to end the connection.
func asksForWebSocket(header *fasthttp.RequestHeader) bool {
	return header.IsGet() && header.IsHTTP11() && !header.ConnectionClose() &&
		hasToken(header.PeekAll(fiber.HeaderConnection), "upgrade") && hasToken(header.PeekAll(fiber.HeaderUpgrade), "websocket")
}

// hasToken tells whether a header that is a list has an element, in any case. The list goes over all its lines (RFC 9110 §5.3).
func hasToken(lines [][]byte, token string) bool {
	for _, line := range lines {
		for element := range bytes.SplitSeq(line, []byte(",")) {
			if strings.EqualFold(string(bytes.Trim(element, " \t")), token) {
				return true
			}
		}
	}
	return false
}

// bare tells whether a request, by its headers as they were received, leaves no bytes behind in the HTTP server: it has no body
// (fasthttp forgets the Transfer-Encoding of a body that it has read), no Expect, and no folded header. RFC 9112 §5.2 lets a
// server refuse folded headers; fasthttp miscounts the length of a head with one.
func bare(head []byte) bool {
	for line := range bytes.Lines(head) {
		if line[0] == ' ' || line[0] == '\t' {
			return false
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "content-length":
			if string(bytes.TrimSpace(value)) != "0" {
				return false
			}
		case "transfer-encoding", "expect", "trailer":
			return false
		}
	}
	return true
}

// validKey checks what RFC 6455 §4.1 says of the key.
func validKey(key []byte) bool {
	decoded, err := base64.StdEncoding.DecodeString(string(key))
	return err == nil && len(decoded) == 16
}

// refuse answers with the problem details of a status.
func refuse(c *fiber.Ctx, status int, detail string) error {
	return refuseAs(c, problem.Of(status, detail))
}

// refuseForNow refuses what the server could do at another time, or what another node can do.
func refuseForNow(c *fiber.Ctx, detail string) error {
	c.Set(fiber.HeaderRetryAfter, retryAfter)
	return refuse(c, http.StatusServiceUnavailable, detail)
}

func refuseAs(c *fiber.Ctx, details problem.Details) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Status(details.Status).JSON(details, problem.MediaType)
}

// upgrade switches to the WebSocket protocol and leaves a session that outlives the handler.
func (s *Server) upgrade() fiber.Handler {
	return websocket.New(func(conn *websocket.Conn) {
		// conn goes back to a pool when this returns; the connection inside does not.
		h := conn.Locals(handoverKey).(handover)
		sock := h.sock
		if !sock.IsDirect(conn.NetConn()) {
			s.deps.Notices.Error("WebSocket closed: the HTTP server kept bytes of it", slog.Any("address", h.client))
			_ = sock.Close()
			return
		}
		release, ok := sock.TakeOver()
		if !ok {
			_ = sock.Close()
			return
		}
		begun := false
		defer func() {
			if !begun { // a panic: no session calls it
				release()
			}
		}()
		s.start(conn.Conn, h, release)
		begun = true
	}, websocket.Config{
		ReadBufferSize:  readBuffer,
		WriteBufferPool: noBuffers{}, // sessions do not write through the library
		RecoverHandler:  s.recoverUpgrade,
	})
}

// recoverUpgrade is deferred around the handler. The library's own would send the panic's value to the client.
func (s *Server) recoverUpgrade(conn *websocket.Conn) {
	p := recover()
	if p == nil {
		return
	}
	logPanic(s.deps.Notices, p)
	if h, ok := conn.Locals(handoverKey).(handover); ok {
		_ = h.sock.Close()
	}
}

// noBuffers keeps the library from allocating a write buffer for each connection.
type noBuffers struct{}

// Get returns no buffer.
func (noBuffers) Get() any { return nil }

// Put takes a buffer and forgets it.
func (noBuffers) Put(any) {}
