package rest

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/application"
	"chatting/domain"
)

const (
	// smallAnswer is how many bytes an answer may have without the ledger being asked.
	smallAnswer = 4 << 10
	// pieceOfAnswer is how much is written at a time. Each piece that the client takes is progress.
	pieceOfAnswer = 32 << 10
)

// Where a request keeps whose it is, and what is held for it while its answer is made.
const (
	userKey    = "rest.user"
	holdingKey = "rest.holding"
)

// errNoRoom is an answer, so that a flood of refusals is not a flood of log lines.
var errNoRoom = refusedAs(http.StatusServiceUnavailable, "Too many answers are under way. Try again.")

// hold counts bytes of which the answer to c is made, until it is written. errNoRoom where there is no room. Clients that
// stopped reading their answers are cut off before it comes to that.
func (a *API) hold(c *fiber.Ctx, bytes int) error {
	holding, held := c.Locals(holdingKey).(*application.Holding)
	if !held {
		conn := c.Context().Conn()
		cut := func() { _ = conn.Close() } // the write under way fails
		if user, ok := c.Locals(userKey).(domain.UserID); ok {
			holding = a.deps.Bytes.OpenFor(user, cut)
		} else {
			holding = a.deps.Bytes.Open(cut)
		}
		c.Locals(holdingKey, holding)
	}
	if !holding.TryHold(bytes) {
		a.deps.Notices.Warn("answer refused: too many bytes are under way", slog.Any("user", c.Locals(userKey)),
			slog.Any("address", a.address(c)), slog.Any("held", a.deps.Bytes.Held()))
		return errNoRoom
	}
	return nil
}

// holdAnswer has the answer's bytes counted until the client has taken them. After an error its caller releases them.
func (a *API) holdAnswer(c *fiber.Ctx) error {
	body := c.Response().Body()
	holding, _ := c.Locals(holdingKey).(*application.Holding)
	if len(body) <= smallAnswer {
		return nil
	}
	if holding == nil {
		if err := a.hold(c, len(body)); err != nil {
			return err
		}
		holding, _ = c.Locals(holdingKey).(*application.Holding)
	}
	if !holding.Keep(len(body)) {
		return errNoRoom
	}
	c.Response().SetBodyStream(&heldAnswer{left: body, holding: holding}, len(body))
	return nil
}

// release gives back what is held for an answer that is not there any more.
func release(c *fiber.Ctx) {
	if holding, ok := c.Locals(holdingKey).(*application.Holding); ok {
		holding.Close()
	}
}

// heldAnswer is the body of an answer. The HTTP server writes it under one deadline for the whole, and closes it whatever
// comes of that.
type heldAnswer struct {
	left    []byte
	holding *application.Holding
}

// Read implements io.Reader.
func (h *heldAnswer) Read(p []byte) (int, error) {
	if len(h.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.left)
	h.left = h.left[n:]
	return n, nil
}

// WriteTo implements io.WriterTo, which the HTTP server prefers.
func (h *heldAnswer) WriteTo(w io.Writer) (written int64, err error) {
	for len(h.left) > 0 && err == nil {
		var n int
		n, err = w.Write(h.left[:min(pieceOfAnswer, len(h.left))])
		h.left, written = h.left[n:], written+int64(n)
		h.holding.Progress()
	}
	return written, err
}

// Close implements io.Closer.
func (h *heldAnswer) Close() error {
	h.holding.Close()
	return nil
}

// sendHeld writes a body of about so many bytes, most of which are frames. They are counted before it is made.
func (a *API) sendHeld(c *fiber.Ctx, bytes int, body any) error {
	if bytes > smallAnswer {
		// The frames, and the body that is made of them.
		if err := a.hold(c, 2*bytes); err != nil {
			return err
		}
	}
	return sendFrames(c, body)
}

// isOurs tells whether an answer was made for its request: other adapters' pages on the app are the same bytes for all.
func isOurs(c *fiber.Ctx) bool {
	path := c.Request().URI().Path()
	return bytes.HasPrefix(path, []byte("/api/")) || bytes.HasPrefix(path, []byte("/s2sapi/"))
}
