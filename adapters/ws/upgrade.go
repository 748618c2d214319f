package ws

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
)

// readBuffer is the size of the buffer that each connection keeps for reading, in bytes. Most frames of a chat fit in;
// longer ones bypass it.
const readBuffer = 512

// handoverKey is where check leaves the socket for the session.
const handoverKey = "chatting.ws.socket"

// handover hides the socket's Close: fasthttp closes values of a request that have one when the request ends.
type handover struct{ sock *socket }

// maxOriginLogged is how many bytes of a refused Origin a log line shows.
const maxOriginLogged = 200

// retryAfter is what clients that were refused for want of room are told to wait, in seconds.
const retryAfter = "5"

// check refuses requests that must not be upgraded, and counts those that may.
func (s *Server) check(c *fiber.Ctx) error {
	header := &c.Context().Request.Header
	sock, ok := c.Context().Conn().(*socket)
	if !ok || !sock.upgradable() {
		s.deps.Notices.Error("WebSocket upgrade refused: the app is not served on a wrapped listener")
		return problem(c, http.StatusInternalServerError, "The server is not set up for WebSocket connections.")
	}
	sock.client = s.clientAddress(sock.RemoteAddr(), header.PeekAll(fiber.HeaderXForwardedFor))
	switch {
	case !bare(header.RawHeaders()):
		c.Context().SetConnectionClose()
		return problem(c, http.StatusBadRequest, "An upgrade request has no body, no Expect and no folded headers.")
	case !s.origins.allow(header.PeekAll(fiber.HeaderOrigin), header.Host()):
		origin := header.Peek(fiber.HeaderOrigin)
		s.deps.Notices.Warn("WebSocket upgrade refused: its origin is not allowed",
			slog.Any("address", sock.client), slog.String("origin", string(origin[:min(len(origin), maxOriginLogged)])))
		return problem(c, http.StatusForbidden, "The origin is not allowed.")
	case !websocket.IsWebSocketUpgrade(c) || !header.IsGet() || !header.IsHTTP11() || header.ConnectionClose():
		c.Set(fiber.HeaderUpgrade, "websocket")
		return problem(c, http.StatusUpgradeRequired, "This is a WebSocket endpoint.")
	case string(header.Peek("Sec-Websocket-Version")) != "13":
		c.Set("Sec-Websocket-Version", "13")
		return problem(c, http.StatusUpgradeRequired, "The WebSocket version must be 13.")
	case !validKey(header.Peek("Sec-Websocket-Key")):
		return problem(c, http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	if wait := s.loginWait(sock.client); wait > 0 {
		s.deps.Notices.Warn("WebSocket upgrade refused: too many logins from its address", slog.Any("address", sock.client))
		c.Set(fiber.HeaderRetryAfter, seconds(wait))
		return problem(c, http.StatusTooManyRequests, "There are too many logins from this address.")
	}
	release, err := s.admit(networkOf(sock.client))
	if err != nil {
		c.Set(fiber.HeaderRetryAfter, retryAfter)
		detail := "There are too many connections."
		if errors.Is(err, errDraining) {
			detail = "The server is going away."
		}
		return problem(c, http.StatusServiceUnavailable, detail)
	}
	if !sock.hold(release) {
		release()
		return problem(c, http.StatusBadRequest, "The connection is closed.")
	}
	c.Locals(handoverKey, handover{sock})
	if err := c.Next(); err != nil {
		sock.drop()
		return err
	}
	return nil
}

// bare tells whether a request, by its headers as they were received, has nothing that could leave bytes behind in the HTTP
// server: no body (fasthttp forgets the Transfer-Encoding of a body that it has read), no Expect, and no folded header,
// which RFC 9112 §5.2 lets a server refuse: unfolding it, fasthttp miscounts the length of the head.
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

// peerAddress returns the address of a TCP peer without the port, the zero Addr where there is none.
func peerAddress(peer net.Addr, _ [][]byte) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// networkOf returns what a client's address is counted under: the address, or of IPv6 the network of 64 bits.
func networkOf(client netip.Addr) netip.Addr {
	if client.Is6() {
		return netip.PrefixFrom(client, 64).Masked().Addr()
	}
	return client
}

// seconds writes a duration for Retry-After: in whole seconds, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// problem answers with RFC 9457 problem details.
func problem(c *fiber.Ctx, status int, detail string) error {
	return c.Status(status).JSON(fiber.Map{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	}, "application/problem+json")
}

// upgrade switches to the WebSocket protocol and leaves a session that outlives the handler.
func (s *Server) upgrade() fiber.Handler {
	return websocket.New(func(conn *websocket.Conn) {
		// conn goes back to a pool when this returns; the connection inside does not.
		sock := conn.Locals(handoverKey).(handover).sock
		if !sock.isDirect(conn.NetConn()) {
			s.deps.Notices.Error("WebSocket closed: the HTTP server kept bytes of it", slog.Any("address", sock.client))
			_ = sock.Close()
			return
		}
		release, ok := sock.takeOver()
		if !ok {
			_ = sock.Close()
			return
		}
		s.start(conn.Conn, sock, release)
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
	s.logPanic(p)
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

// origins are those that may connect beside the own.
type origins struct {
	all     bool
	allowed map[string]struct{}
}

// parseOrigins refuses what is not scheme://host[:port] or "*".
func parseOrigins(list []string) (origins, error) {
	o := origins{allowed: make(map[string]struct{}, len(list))}
	for _, entry := range list {
		if entry == "*" {
			o.all = true
			continue
		}
		origin, ok := canonicalOrigin(entry)
		if !ok {
			return origins{}, errors.New("ws: not an origin (scheme://host[:port]): " + entry)
		}
		o.allowed[origin] = struct{}{}
	}
	return o, nil
}

// allow decides on the Origin headers of a request that was sent to host. Programs that are not browsers send none.
func (o origins) allow(headers [][]byte, host []byte) bool {
	if len(headers) == 0 || o.all {
		return true
	}
	if len(headers) > 1 {
		return false
	}
	origin, ok := canonicalOrigin(string(headers[0]))
	if !ok {
		return false
	}
	if _, ok := o.allowed[origin]; ok {
		return true
	}
	scheme, _, _ := strings.Cut(origin, "://")
	own, ok := canonicalOrigin(scheme + "://" + string(host))
	return ok && own == origin
}

// canonicalOrigin brings an origin (RFC 6454 §6.2) into one form: lower case, without the scheme's default port.
func canonicalOrigin(s string) (string, bool) {
	scheme, host, ok := strings.Cut(strings.ToLower(s), "://")
	if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#@ \t*") {
		return "", false
	}
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return scheme + "://" + host, true
}
