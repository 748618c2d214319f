package platform

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/application/notice"
	"chatting/application/port"
)

// IdempotencyStore remembers which requests with an Idempotency-Key were carried out, on all nodes.
type IdempotencyStore interface {
	// Begin claims key for a request with this fingerprint. found tells that such a request was completed, with status and
	// body. Otherwise the caller has the claim until Complete or Abandon, or until the store frees it after a while, for
	// example after a crash. Errors: CodeKeyReused (the key belongs to another fingerprint), CodeKeyInProgress (another
	// request has the claim), CodeUnavailable.
	Begin(ctx context.Context, key string, fingerprint [sha256.Size]byte, now time.Time) (status int, body []byte, found bool, err error)
	// Since returns when the first of the requests with key and fingerprint began that followed each other as long as a key is kept,
	// for whoever has the claim: what a request and its repetitions have in common, and no later one under the same key. Errors:
	// CodeKeyInProgress (the claim was lost), CodeUnavailable.
	Since(ctx context.Context, key string, fingerprint [sha256.Size]byte) (time.Time, error)
	// Complete stores the outcome of the claimed request.
	Complete(ctx context.Context, key string, status int, body []byte) error
	// Abandon gives the claim back, so that the next request with the key is carried out.
	Abandon(ctx context.Context, key string) error
}

// settleTimeout bounds the store's calls after the work, which are made even if the request's own time is over.
const settleTimeout = 5 * time.Second

// onlyOnce carries out requests with an Idempotency-Key once.
type onlyOnce struct {
	store   IdempotencyStore
	now     port.Clock
	notices *notice.Log
}

// do does work once for a key, as draft-ietf-httpapi-idempotency-key-header says: a repetition gets the stored answer, another
// payload under the key 422, a repetition while the first is under way 409.
//
// Only a success is stored. After a failure (offline: nothing happened; unconfirmed: unknown) the key is free. A repetition is
// then carried out again under the same event id, so the event still happens once. A request that is refused for its form does
// not come here, and keeps no key.
func (o onlyOnce) do(
	ctx context.Context, key string, fingerprint [sha256.Size]byte, work func() ([]byte, error),
) (int, []byte, error) {
	status, body, found, err := o.store.Begin(ctx, key, fingerprint, o.now())
	if err != nil || found {
		return status, body, err
	}
	done := false
	defer func() { // in a panic, too
		if !done {
			o.settle(ctx, "abandon", func(ctx context.Context) error { return o.store.Abandon(ctx, key) })
		}
	}()
	body, err = work()
	if err != nil {
		return 0, nil, err
	}
	done = true
	o.settle(ctx, "complete", func(ctx context.Context) error {
		return o.store.Complete(ctx, key, http.StatusOK, body)
	})
	return http.StatusOK, body, nil
}

// settle makes one of the calls after the work. If it fails, the answer stands, because the work is done. The claim then ends
// with the store's own time, and a repetition is carried out again under the same event id.
func (o onlyOnce) settle(ctx context.Context, what string, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := call(ctx); err != nil {
		o.notices.Warn("idempotency key not settled", slog.String("call", what), slog.String("error", err.Error()))
	}
}

// maxIdempotencyKey is in characters.
const maxIdempotencyKey = 255

// idempotencyKey returns the request's key, "" if it has none. The header is a structured field (RFC 9651 §3.3.3), a string without
// parameters, or the bare characters, as many clients send them: "k" and k are the same key. Its error is an answer.
func idempotencyKey(c *fiber.Ctx) (string, error) {
	all := c.Request().Header.PeekAll("Idempotency-Key")
	if len(all) == 0 {
		return "", nil
	}
	key, ok := parseIdempotencyKey(string(all[0]))
	if len(all) > 1 || !ok {
		return "", exchange.Problem(http.StatusBadRequest,
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
