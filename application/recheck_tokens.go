package application

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"chatting/application/async"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// TokenRechecks verifies tokens that were good before.
type TokenRechecks interface {
	// Recheck is Tokens.Verify without any cache. It returns CodeUnauthenticated only if the token is surely not valid any more;
	// if nobody can tell, it returns CodeUnavailable.
	Recheck(ctx context.Context, token string) (Identity, error)
}

// RecheckTokens verifies the tokens of open connections again, each within Every, and closes the connections of refused ones:
// a token may be revoked, or its key withdrawn, before it expires. If nobody can verify a token now, its connections stay open
// and it is tried again.
//
// A token is held in memory while a connection has it, and verified once for all its connections. The times are spread
// by chance, so that connections which came together are not checked together.
type RecheckTokens struct {
	Tokens TokenRechecks
	// Notices has a line about every token that is refused; nil for none.
	Notices *notice.Log
	// Every is the longest time between two checks of a token, beside the time that checks take.
	Every time.Duration
	// AtATime is how many tokens are verified at the same time.
	AtATime int
	Now     port.Clock
	Logger  *slog.Logger

	mu     sync.Mutex
	tokens map[string]*openToken
	away   bool // whether the last round had a token that nobody could verify. It belongs to Run.
}

// openToken is a token of open connections.
type openToken struct {
	due     time.Time // when it is to be checked again
	holders []*heldToken
}

// heldToken is the token of one connection. It is used by one goroutine at a time. A nil one does nothing.
type heldToken struct {
	rechecks *RecheckTokens
	token    string
	user     domain.UserID
	conn     Connection
}

// recheckPause is the longest time until a token that nobody could verify is tried again.
const recheckPause = time.Minute

// hold has the token of a connection checked from now on, until release. It was verified just now.
func (r *RecheckTokens) hold(token string, user domain.UserID, conn Connection) *heldToken {
	if r == nil {
		return nil
	}
	h := &heldToken{rechecks: r, token: token, user: user, conn: conn}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(h)
	return h
}

// replace has another token of the connection checked instead.
func (h *heldToken) replace(token string) {
	if h == nil {
		return
	}
	h.rechecks.mu.Lock()
	defer h.rechecks.mu.Unlock()
	h.rechecks.remove(h)
	h.token = token
	h.rechecks.add(h)
}

// release ends the checks for the connection. It may be called again.
func (h *heldToken) release() {
	if h == nil {
		return
	}
	h.rechecks.mu.Lock()
	defer h.rechecks.mu.Unlock()
	h.rechecks.remove(h)
}

// add is called with the lock held, as remove is.
func (r *RecheckTokens) add(h *heldToken) {
	open := r.tokens[h.token]
	if open == nil {
		if r.tokens == nil {
			r.tokens = make(map[string]*openToken)
		}
		open = &openToken{due: r.next(r.Every)}
		r.tokens[h.token] = open
	}
	open.holders = append(open.holders, h)
}

func (r *RecheckTokens) remove(h *heldToken) {
	open := r.tokens[h.token]
	if open == nil {
		return // it was refused
	}
	open.holders = slices.DeleteFunc(open.holders, func(other *heldToken) bool { return other == h })
	if len(open.holders) == 0 {
		delete(r.tokens, h.token)
	}
}

// next returns a time in the second half of what follows.
func (r *RecheckTokens) next(within time.Duration) time.Time {
	within -= r.scan()                                // because tokens are looked at once a scan
	return r.Now().Add(within/2 + rand.N(within/2+1)) //nolint:gosec // a time that is guessed helps nobody
}

// scan is how often Run looks for tokens that are due.
func (r *RecheckTokens) scan() time.Duration {
	return max(min(r.Every/20, time.Second), time.Millisecond)
}

// Run checks tokens until ctx ends.
func (r *RecheckTokens) Run(ctx context.Context) {
	ticker := time.NewTicker(r.scan())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.round(ctx)
		}
	}
}

// round checks the tokens that are due, AtATime at once, and waits until that is done.
func (r *RecheckTokens) round(ctx context.Context) {
	due := r.due()
	if len(due) == 0 {
		return
	}
	var mu sync.Mutex
	var failed int
	var last error
	_ = async.AtOnce(r.AtATime, due, func(token string) error {
		if err := r.check(ctx, token); err != nil {
			mu.Lock()
			defer mu.Unlock()
			failed++
			last = err
		}
		return nil // the others are checked all the same
	})
	if ctx.Err() == nil {
		r.report(failed, last)
	}
}

// due returns the tokens that are due, those that have waited longest first.
func (r *RecheckTokens) due() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	var due []string
	for token, open := range r.tokens {
		if !now.Before(open.due) {
			due = append(due, token)
		}
	}
	slices.SortFunc(due, func(a, b string) int { return r.tokens[a].due.Compare(r.tokens[b].due) })
	return due
}

// check verifies a token and acts on the answer. Its error is that of a token that nobody could verify.
func (r *RecheckTokens) check(ctx context.Context, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.isOpen(token) {
		return nil
	}
	identity, err := r.Tokens.Recheck(ctx, token)
	if err != nil && domain.CodeOf(err) != domain.CodeUnauthenticated {
		r.postpone(token)
		return err
	}
	// A refused token is nobody's, and identity is the zero one.
	refused := RefusedToken{Reason: RefusedAnotherUser}
	if known := (*RefusedToken)(nil); errors.As(err, &known) {
		refused = *known
	}
	if ended := r.settle(token, identity.User, refused.closeReason()); ended != nil {
		refused.User = ended.user
		noteRefused(WithClientAddress(ctx, ended.conn.Address()), r.Notices, refused)
	}
	return nil
}

func (r *RecheckTokens) isOpen(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[token] != nil
}

// closeReason is why a connection with the token ends.
func (r *RefusedToken) closeReason() port.CloseReason {
	if r.Reason == RefusedExpired {
		return port.CloseExpired
	}
	return port.CloseRevoked
}

// settle closes the connections with the token that are not the user's, 0 for nobody's, for the reason, and has it checked again
// for the others. It returns one that it closed, nil for none.
func (r *RecheckTokens) settle(token string, user domain.UserID, why port.CloseReason) *heldToken {
	r.mu.Lock()
	open := r.tokens[token]
	if open == nil {
		r.mu.Unlock()
		return nil
	}
	var refused []*heldToken
	open.holders = slices.DeleteFunc(open.holders, func(h *heldToken) bool {
		if h.user == user {
			return false
		}
		refused = append(refused, h)
		return true
	})
	if len(open.holders) == 0 {
		delete(r.tokens, token)
	} else {
		open.due = r.next(r.Every)
	}
	r.mu.Unlock()
	var last *heldToken
	for _, last = range refused {
		last.conn.Close(why)
	}
	return last
}

// postpone has a token checked again that nobody could verify.
func (r *RecheckTokens) postpone(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open := r.tokens[token]; open != nil {
		open.due = r.next(min(r.Every, recheckPause))
	}
}

// report logs when tokens cannot be verified any more, and when they can again.
func (r *RecheckTokens) report(failed int, last error) {
	switch away := failed > 0; {
	case away && !r.away:
		r.Logger.Warn("tokens of open connections cannot be checked again, will try later; the connections stay",
			"tokens", failed, "error", last)
	case !away && r.away:
		r.Logger.Info("tokens of open connections can be checked again")
	}
	r.away = failed > 0
}
