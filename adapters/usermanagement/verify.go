package usermanagement

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"chatting/application"
	"chatting/domain"
)

// maxTokenBytes bounds a token: longer ones are refused without asking.
const maxTokenBytes = 8 << 10

// tokenHash stands for a token where it is kept longer than its question takes: its SHA-256.
type tokenHash [sha256.Size]byte

// verification is a good answer and until when it is believed.
type verification struct {
	user  domain.UserID
	until time.Time
}

// The refusals. The client does not learn which it was. errNotAccepted covers every answer but a good one: the contract
// knows no other reason.
var (
	errNotAccepted = application.RefuseToken(notAccepted, application.RefusedByService, 0)
	errMalformed   = application.RefuseToken(notAccepted, application.RefusedMalformed, 0)
)

const notAccepted = "The token was not accepted."

// errUnclear is an answer that is not good, and does not say that the token is bad either: it comes from a service that
// is broken, busy or not there.
var errUnclear = errors.New("the answer is neither 200 nor a refusal")

// Verify implements application.Tokens. Expires is zero: the service does not say. Whatever the service answers but 200
// with an id, a 500 or a redirect included, is CodeUnauthenticated; CodeUnavailable only where it does not answer in
// full within the timeout, or too many tokens wait for their turn. Whoever asks about a token that is being verified
// gets that answer. Only good answers are remembered. No error holds the token.
func (c *Client) Verify(ctx context.Context, token string) (application.Identity, error) {
	if !sendable(token) {
		return application.Identity{}, errMalformed
	}
	hash := hashOf(token)
	if known, ok := c.verified.Get(hash); ok && time.Now().Before(known.until) {
		return application.Identity{User: known.user}, nil
	}
	// The question outlives a caller that gives up: others may wait for its answer. It ends with its own timeout.
	//nolint:contextcheck // therefore without ctx
	answer := c.same.DoChan(string(hash[:]), func() (any, error) { return c.verify(token, hash) })
	select {
	case <-ctx.Done():
		return application.Identity{}, unavailable(ctx.Err())
	case result := <-answer:
		if result.Err != nil {
			return application.Identity{}, result.Err
		}
		return application.Identity{User: result.Val.(domain.UserID)}, nil
	}
}

// verify waits for its turn, asks the service and remembers a good answer.
func (c *Client) verify(token string, hash tokenHash) (domain.UserID, error) {
	ctx, end, ok := c.asker.Begin(c.asker.Context())
	if !ok {
		return 0, unavailable(errClosed)
	}
	defer end()
	if !c.pending.TryAcquire(1) {
		return 0, unavailable(errTooMany)
	}
	defer c.pending.Release(1)
	if err := c.verifyTurns.Acquire(ctx, 1); err != nil {
		return 0, unavailable(err)
	}
	defer c.verifyTurns.Release(1)
	user, err := c.ask(ctx, token, hash)
	if errors.Is(err, errUnclear) {
		return 0, errNotAccepted
	}
	return user, err
}

// Recheck implements application.TokenRechecks. It asks the service whatever it said before. The token is refused where the
// service answers with 401, with 403, or with a 200 that names no user. Any other answer, and none, is CodeUnavailable: a
// service that fails for a moment ends no connections. Recheck takes no turn of those who log in; how many tokens are
// rechecked at a time is for the caller to bound.
func (c *Client) Recheck(ctx context.Context, token string) (application.Identity, error) {
	if !sendable(token) {
		return application.Identity{}, errMalformed
	}
	ctx, end, ok := c.asker.Begin(ctx)
	if !ok {
		return application.Identity{}, unavailable(errClosed)
	}
	defer end()
	user, err := c.ask(ctx, token, hashOf(token))
	if errors.Is(err, errUnclear) {
		return application.Identity{}, unavailable(err)
	}
	return application.Identity{User: user}, err
}

func hashOf(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// ask asks the service about a token. It remembers a good answer and forgets it after a refusal. Errors: errNotAccepted,
// CodeUnavailable without an answer, and errUnclear.
func (c *Client) ask(ctx context.Context, token string, hash tokenHash) (domain.UserID, error) {
	asked := time.Now()
	status, body, err := c.get(ctx, c.verifyURL, token, maxVerifyBytes)
	switch {
	case errors.Is(err, errTooLarge):
		return 0, errUnclear
	case err != nil:
		return 0, unavailable(err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		c.verified.Remove(hash)
		return 0, errNotAccepted
	case status != http.StatusOK:
		return 0, errUnclear
	}
	user, ok := parseVerified(body)
	if !ok {
		c.verified.Remove(hash)
		return 0, errNotAccepted
	}
	if c.cacheFor > 0 {
		c.verified.Add(hash, verification{user: user, until: asked.Add(c.cacheFor)})
	}
	return user, nil
}

// sendable tells whether a token can stand after "Bearer " (RFC 6750 §2.1, b64token). No other is good, and none of
// these can end the header or look different where it is quoted.
func sendable(token string) bool {
	if len(token) > maxTokenBytes {
		return false
	}
	body := strings.TrimRight(token, "=")
	for _, c := range []byte(body) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return body != ""
}
