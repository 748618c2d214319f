package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/adapters/netcause"
	"chatting/domain"
)

const (
	jwksTimeout  = 5 * time.Second  // a whole load
	jwksMaxBytes = 1 << 20          // a set, and the header of its response
	jwksMaxKeys  = 100              // the keys of a set
	jwksPause    = 10 * time.Second // the least time between a good load and the next, whatever tokens ask for
	retryFirst   = time.Second      // the pause after a failed load, doubled by each further one
	retryMost    = time.Minute
	// keyWait bounds how long a token whose key is not known waits for a load.
	keyWait = 2 * time.Second
)

var (
	errKeysAway    = domain.NewError(domain.CodeUnavailable, "The keys to verify tokens could not be loaded yet.")
	errKeysTooOld  = domain.NewError(domain.CodeUnavailable, "The keys to verify tokens are too old and could not be loaded again.")
	errKeysUseless = domain.NewError(domain.CodeUnavailable, "The key set has no key that can verify tokens.")
)

// remoteKeys are the keys of a JWK Set published at a URL. One goroutine loads it: at once, every refresh, after a failure
// with growing pauses, and when a token names an unknown key, but not within jwksPause. What a new set no longer holds is
// forgotten at once. While no new set can be loaded the last one counts, for maxAge.
//
// The loading is not left to a library: that of jwkset blocks at the first load, its goroutine cannot be joined, its
// responses have no limit, and one bad key of a set hides all others.
type remoteKeys struct {
	endpoint string
	client   *http.Client
	refresh  time.Duration
	maxAge   time.Duration
	logger   *slog.Logger

	set    atomic.Pointer[keySet] // nil until the first one was loaded
	demand chan struct{}          // asks for a load; holds one wish, which is as good as many
	stop   context.CancelFunc
	ended  chan struct{} // closed when the goroutine is gone

	mu       sync.Mutex
	phase    phase
	finished chan struct{} // closed when the load that runs, or else the next one, has ended
}

// phase is what the loading goroutine is at.
type phase int

const (
	loading phase = iota
	pausing       // too early for another load
	idle          // loads when asked to
)

func parseJWKSURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", errors.New("the JWKS URL must be an absolute http or https URL") // it may hold a password: not shown
	}
	return text, nil
}

func jwksTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = jwksMaxBytes
	return transport
}

func jwksClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		// Whoever can redirect could name the keys; the URL that is configured is the one that is trusted.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newRemoteKeys starts to load. close must be called in the end.
func newRemoteKeys(
	endpoint string, transport http.RoundTripper, refresh, maxAge time.Duration, logger *slog.Logger,
) *remoteKeys {
	ctx, stop := context.WithCancel(context.Background())
	r := &remoteKeys{
		endpoint: endpoint,
		client:   jwksClient(transport),
		refresh:  refresh,
		maxAge:   maxAge,
		logger:   logger,
		demand:   make(chan struct{}, 1),
		stop:     stop,
		ended:    make(chan struct{}),
		finished: make(chan struct{}),
	}
	go r.run(ctx)
	return r
}

func (r *remoteKeys) close() {
	r.stop()
	<-r.ended
	r.client.CloseIdleConnections()
}

// ready returns nil while the set can verify tokens.
func (r *remoteKeys) ready() error {
	_, err := r.current()
	return err
}

// current returns the set that counts now. A set without a usable key does not count, because an issuer that signs tokens
// has a key: such a set is a fault of the issuer, and says nothing about the tokens.
func (r *remoteKeys) current() (*keySet, error) {
	set := r.set.Load()
	switch {
	case set == nil:
		return nil, errKeysAway
	case time.Since(set.loaded) >= r.maxAge:
		return nil, errKeysTooOld
	case set.usable == 0:
		return nil, errKeysUseless
	}
	return set, nil
}

// find implements keySource.
func (r *remoteKeys) find(ctx context.Context, token *jwt.Token) ([]jwt.VerificationKey, error) {
	if !slices.Contains(asymmetricAlgorithms, token.Method.Alg()) {
		return nil, errNoKey
	}
	set, err := r.current()
	if err == nil {
		if keys := set.find(token); len(keys) > 0 {
			return keys, nil
		}
	}
	r.awaitLoad(ctx)
	// Also without a wait a newer set may be there by now.
	if set, err = r.current(); err != nil {
		return nil, err
	}
	return set.find(token), nil
}

// awaitLoad asks for a load and waits for its end, keyWait at most. It does not wait where it is too early for one: the
// load then follows when the pause is over.
func (r *remoteKeys) awaitLoad(ctx context.Context) {
	r.mu.Lock()
	phase, finished := r.phase, r.finished
	r.mu.Unlock()
	if phase != loading {
		select {
		case r.demand <- struct{}{}:
		default:
		}
	}
	if phase == pausing {
		return
	}
	timer := time.NewTimer(keyWait)
	defer timer.Stop()
	select {
	case <-finished:
	case <-timer.C:
	case <-ctx.Done():
	case <-r.ended:
	}
}

// run loads until ctx ends.
func (r *remoteKeys) run(ctx context.Context) {
	defer close(r.ended)
	retry := retryFirst
	told := false // whether the last outcome that was logged is the present one's kind
	for {
		keys, skipped, err := r.load(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := min(jwksPause, r.refresh)
		if err != nil {
			r.logger.Warn("the JWK set could not be loaded", "error", err, "again_in", retry)
			pause, retry, told = retry, min(2*retry, retryMost), false
		} else {
			if !told {
				r.logger.Info("the JWK set is loaded", "keys", keys, "unusable", skipped)
			}
			retry, told = retryFirst, true
		}
		r.enter(pausing)
		if !wait(ctx, pause, nil) {
			return
		}
		if err == nil {
			r.enter(idle)
			if !wait(ctx, r.refresh-pause, r.demand) {
				return
			}
		}
		r.enter(loading)
	}
}

// enter notes the next phase. The end of loading wakes whoever waits for it.
func (r *remoteKeys) enter(next phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == loading {
		close(r.finished)
		r.finished = make(chan struct{})
	}
	r.phase = next
}

// wait returns true after the duration or a wake, false when ctx ends.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// load fetches the set and puts it in place.
func (r *remoteKeys) load(ctx context.Context) (keys, skipped int, err error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	body, err := r.fetch(ctx)
	if err != nil {
		return 0, 0, err
	}
	set, err := parseKeySet(body)
	if err != nil {
		return 0, 0, err
	}
	set.loaded = time.Now()
	r.set.Store(set)
	return set.usable, set.skipped, nil
}

func (r *remoteKeys) fetch(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.endpoint, nil)
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, netcause.Of(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jwksMaxBytes+1))
	if err != nil {
		return nil, netcause.Of(err)
	}
	if len(body) > jwksMaxBytes {
		return nil, fmt.Errorf("the answer is larger than %d bytes", jwksMaxBytes)
	}
	return body, nil
}

// LookAtKeySet loads a JWK Set once, and returns how many of its keys can verify tokens and how many cannot. The error says why it
// cannot be loaded, without the URL's secrets.
func LookAtKeySet(ctx context.Context, address string) (usable, unusable int, err error) {
	endpoint, err := parseJWKSURL(address)
	if err != nil {
		return 0, 0, err
	}
	keys := &remoteKeys{endpoint: endpoint, client: jwksClient(jwksTransport())}
	defer keys.client.CloseIdleConnections()
	return keys.load(ctx)
}
