package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/ledger"
	"chatting/domain"
)

const (
	// smallAnswer is how many bytes an answer may have without asking the ledger.
	smallAnswer = 4 << 10
	// pieceOfAnswer is how much is written at a time. Each piece that the client takes is progress.
	pieceOfAnswer = 32 << 10
)

// holdingKey is where a request keeps what is held for it.
const holdingKey = "rest.holding"

// errNoRoom is an answer, so that a flood of refusals is not a flood of log lines.
var errNoRoom = exchange.Problem(http.StatusServiceUnavailable, "Too many answers are under way. Try again.")

// heldAnswers counts the bytes of answers while they are made and until clients have taken them.
type heldAnswers struct {
	ledger *ledger.ByteLedger
	log    *requestLog
}

// hold counts bytes of which the answer to c is made, until it is written. It returns errNoRoom if there is no room. Before that,
// clients that stopped reading their answers are cut off.
func (h *heldAnswers) hold(c *fiber.Ctx, bytes int) error {
	holding := holdingOf(c)
	if holding == nil {
		conn := c.Context().Conn()
		cut := func() { _ = conn.Close() } // the write under way fails
		if user, ok := c.Locals(userKey).(domain.UserID); ok {
			holding = h.ledger.OpenFor(user, cut)
		} else {
			holding = h.ledger.Open(cut)
		}
		c.Locals(holdingKey, holding)
	}
	if !holding.TryHold(bytes) {
		h.log.Warn("answer refused: too many bytes are under way", slog.Any("user", c.Locals(userKey)),
			h.log.client(c), slog.Any("held", h.ledger.Held()))
		return errNoRoom
	}
	return nil
}

// holdAnswer counts the answer's bytes until the client has taken them. After an error its caller releases them.
func (h *heldAnswers) holdAnswer(c *fiber.Ctx) error {
	body := c.Response().Body()
	if len(body) <= smallAnswer {
		return nil
	}
	if holdingOf(c) == nil {
		if err := h.hold(c, len(body)); err != nil {
			return err
		}
	}
	holding := holdingOf(c)
	if !holding.Keep(len(body)) {
		return errNoRoom
	}
	c.Response().SetBodyStream(&heldAnswer{left: body, holding: holding}, len(body))
	return nil
}

// send writes a body of about so many bytes, most of which are frames. They are counted before the body is made. Frames have
// none of the escapes of < > & that encoding/json would make: a frame of the history is that of the socket, byte for byte.
func (h *heldAnswers) send(c *fiber.Ctx, bytes int, body any) error {
	if bytes > smallAnswer {
		// The frames, and the body that is made of them.
		copies := 2
		if exchange.WantsStringIDs(c) {
			copies++
		}
		if err := h.hold(c, copies*bytes); err != nil {
			return err
		}
	}
	encoded, err := wire.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	return exchange.Send(c, http.StatusOK, json.RawMessage(encoded))
}

func holdingOf(c *fiber.Ctx) *ledger.Holding {
	holding, _ := c.Locals(holdingKey).(*ledger.Holding)
	return holding
}

// release gives back what is held for an answer that will not be written.
func release(c *fiber.Ctx) {
	if holding := holdingOf(c); holding != nil {
		holding.Close()
	}
}

// heldAnswer is the body of an answer. The HTTP server writes it under one deadline and then closes it, even after an error.
type heldAnswer struct {
	left    []byte
	holding *ledger.Holding
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
