package rest

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

// IdempotencyStore remembers which requests with an Idempotency-Key were carried out, on all nodes.
type IdempotencyStore interface {
	// Begin claims key for a request with this fingerprint. found tells that such a request was completed, with status
	// and body. Otherwise the caller has the claim, until Complete, Abandon or the store's own time for a claim, which
	// frees it after a crash. Errors: CodeKeyReused (the key belongs to another fingerprint), CodeKeyInProgress (another
	// request has the claim), CodeUnavailable.
	Begin(ctx context.Context, key string, fingerprint [sha256.Size]byte, now time.Time) (status int, body []byte, found bool, err error)
	// Complete stores the outcome of the claimed request.
	Complete(ctx context.Context, key string, status int, body []byte) error
	// Abandon gives the claim back, so that the next request with the key is carried out.
	Abandon(ctx context.Context, key string) error
}

// settleTimeout bounds the store's calls after the work, which are made even when the request's own time is over.
const settleTimeout = 5 * time.Second

// idempotently does work once for a key, as draft-ietf-httpapi-idempotency-key-header says: a repetition gets the
// stored answer, another payload under the key 422, a repetition while the first is under way 409.
//
// Only a success is stored. A failure (offline: nothing happened; unconfirmed: unknown) gives the key back: a
// repetition is carried out again, under the same event id, so that an event that did come about is still one. Nor is
// the key kept by a request that was refused for its form, which never gets here.
func (a *API) idempotently(
	ctx context.Context, key string, fingerprint [sha256.Size]byte, work func() ([]byte, error),
) (int, []byte, error) {
	status, body, found, err := a.deps.Idempotency.Begin(ctx, key, fingerprint, a.deps.Now())
	if err != nil || found {
		return status, body, err
	}
	done := false
	defer func() { // in a panic, too
		if !done {
			a.settle(ctx, "abandon", func(ctx context.Context) error { return a.deps.Idempotency.Abandon(ctx, key) })
		}
	}()
	body, err = work()
	if err != nil {
		return 0, nil, err
	}
	done = true
	a.settle(ctx, "complete", func(ctx context.Context) error {
		return a.deps.Idempotency.Complete(ctx, key, http.StatusOK, body)
	})
	return http.StatusOK, body, nil
}

// settle makes one of the calls after the work. That it fails does not change what happened, so the answer stands: the
// claim then ends with the store's own time, and a repetition is carried out again under the same event id.
func (a *API) settle(ctx context.Context, what string, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := call(ctx); err != nil {
		a.deps.Notices.Warn("idempotency key not settled", slog.String("call", what), slog.String("error", err.Error()))
	}
}

// maxIdempotencyKey is in characters.
const maxIdempotencyKey = 255

// idempotencyKey returns the request's key, "" where it has none: a structured field (RFC 9651 §3.3.3) that is a
// string without parameters or, as many clients send it, the bare characters. "k" and k are the same key. Its error
// is an answer.
func idempotencyKey(c *fiber.Ctx) (string, error) {
	all := c.Request().Header.PeekAll("Idempotency-Key")
	if len(all) == 0 {
		return "", nil
	}
	key, ok := parseIdempotencyKey(string(all[0]))
	if len(all) > 1 || !ok {
		return "", refusedAs(http.StatusBadRequest,
			"Idempotency-Key must be one string of 1 to 255 printable ASCII characters.")
	}
	return key, nil
}

func parseIdempotencyKey(header string) (key string, ok bool) {
	header = strings.Trim(header, " \t")
	inner, quoted := strings.CutPrefix(header, `"`)
	if !quoted {
		bare := strings.IndexFunc(header, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`",;\`, r) }) < 0
		return header, bare && header != "" && len(header) <= maxIdempotencyKey
	}
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		switch ch := inner[i]; {
		case ch == '"':
			return b.String(), i == len(inner)-1 && b.Len() >= 1 && b.Len() <= maxIdempotencyKey
		case ch == '\\':
			i++
			if i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return "", false
			}
			b.WriteByte(inner[i])
		case ch < ' ' || ch > '~':
			return "", false
		default:
			b.WriteByte(ch)
		}
	}
	return "", false
}
