// Package usermanagement asks the platform's user-management service whom a token stands for and whom a user watches, as
// the original server did. It is used where this server takes the original's place.
package usermanagement

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"chatting/adapters/netcause"
	"chatting/adapters/questions"
	"chatting/application"
	"chatting/application/presence"
	"chatting/domain"
)

// The paths below the base URL, as the original server asked for them.
const (
	verifyPath  = "s2sapi/user-management/user-api/verify/"
	friendsPath = "s2sapi/user-management/friends/"
)

const (
	maxVerifyBytes  = 64 << 10
	maxFriendsBytes = 1 << 20
	maxFriends      = 2 * presence.MaxFriends
	maxCached       = 10_000
	// maxWaiting bounds the verifications that wait for their turn; further ones are refused at once.
	maxWaiting = 4096
)

// Options say where the service is and how it is treated.
type Options struct {
	// URL is the service's base, http or https, with or without a path and a slash at its end.
	URL string
	// Timeout bounds one question, its wait for a turn and the reading of its answer included.
	Timeout time.Duration
	// Concurrency is how many questions of one kind are asked at the same time: verifications and friends lists have
	// turns of their own, so that slow friends lists hold up no login.
	Concurrency int
	// CacheFor is how long a good answer to a verification is believed, and so how long a revoked token may still be
	// accepted; 0 means that every verification asks. Some 5 s spare most questions of a client that reconnects.
	CacheFor time.Duration
}

// Client implements application.Tokens, application.TokenRechecks and presence.FriendLists. It is safe for concurrent
// use. It logs nothing and holds tokens in memory only while a question with them is under way.
type Client struct {
	verifyURL  string
	friendsURL string
	asker      *questions.Asker
	cacheFor   time.Duration

	verifyTurns  *semaphore.Weighted
	pending      *semaphore.Weighted
	friendsTurns *semaphore.Weighted

	verified *lru.Cache[tokenHash, verification]
	same     singleflight.Group
}

var (
	_ application.Tokens        = (*Client)(nil)
	_ application.TokenRechecks = (*Client)(nil)
	_ presence.FriendLists      = (*Client)(nil)
)

// New checks the options; it asks nothing yet. Errors do not hold the URL, which may hold a password. Close must be
// called in the end.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, errors.New("the URL of the user-management service must be an absolute http or https URL")
	}
	if base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		return nil, errors.New("the URL of the user-management service must have no user, query or fragment")
	}
	if o.Timeout <= 0 || o.Concurrency <= 0 || o.CacheFor < 0 {
		return nil, errors.New("the limits of the user-management service must be positive")
	}
	verified, err := lru.New[tokenHash, verification](maxCached)
	if err != nil {
		return nil, err
	}
	return &Client{
		verifyURL:  base.JoinPath(verifyPath).String(),
		friendsURL: base.JoinPath(friendsPath).String(),
		// Every connection can be used again: of logins, friends lists and rechecks.
		asker:        questions.New(o.Timeout, 3*o.Concurrency),
		cacheFor:     o.CacheFor,
		verifyTurns:  semaphore.NewWeighted(int64(o.Concurrency)),
		pending:      semaphore.NewWeighted(int64(o.Concurrency) + maxWaiting),
		friendsTurns: semaphore.NewWeighted(int64(o.Concurrency)),
		verified:     verified,
	}, nil
}

// Close ends the questions under way, waits until they have ended and closes idle connections. Whoever asks later gets
// CodeUnavailable.
func (c *Client) Close() { c.asker.Close() }

var (
	errClosed   = errors.New("the client is closed")
	errTooMany  = errors.New("too many questions wait")
	errTooLarge = errors.New("the answer is too large")
)

// get asks one question and returns the whole answer. An error other than errTooLarge means that there was none.
func (c *Client) get(ctx context.Context, address, token string, limit int64) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Accept", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.asker.HTTP.Do(request)
	if err != nil {
		return 0, nil, netcause.Of(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return 0, nil, netcause.Of(err)
	}
	if int64(len(body)) > limit {
		return response.StatusCode, nil, errTooLarge
	}
	return response.StatusCode, body, nil
}

// unavailable classifies the want of an answer.
func unavailable(cause error) *domain.Error {
	return domain.WrapError(domain.CodeUnavailable, "The user-management service does not answer.", cause)
}
