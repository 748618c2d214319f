package auth

import (
	"context"
	"encoding/json"
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

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"chatting/domain"
)

const (
	jwksTimeout  = 5 * time.Second  // a whole load
	jwksMaxBytes = 1 << 20          // a set, and the header of its response
	jwksMaxKeys  = 100              // the keys of a set; a token without kid is tried on all that fit it
	jwksAge      = 5 * time.Minute  // a set is loaded again after that
	jwksPause    = 10 * time.Second // the least time between a good load and the next, whatever tokens ask for
	retryFirst   = time.Second      // the pause after a failed load, doubled by each further one
	retryMost    = time.Minute
	// keyWait bounds how long a token whose key is not known waits for a load.
	keyWait = 2 * time.Second
)

var errKeysAway = domain.NewError(domain.CodeUnavailable, "The keys to verify tokens could not be loaded yet.")

// remoteKeys are the keys of a JWK Set published at a URL. One goroutine loads it: at once, every jwksAge, after a
// failure with growing pauses, and when a token names an unknown key, but not within jwksPause. The last set that could
// be loaded counts, however old; what a new set no longer holds is forgotten at once. keyfunc's own refresh is not used:
// its first load blocks, its goroutine cannot be joined, its responses have no limit, and with it one bad key of a set
// hides all others.
type remoteKeys struct {
	endpoint string
	client   *http.Client
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

// keySet is one loaded set: for each algorithm the keys that may verify it.
type keySet map[string]keyfunc.Keyfunc

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

// newRemoteKeys starts to load. close must be called in the end.
func newRemoteKeys(endpoint string, transport http.RoundTripper, logger *slog.Logger) *remoteKeys {
	ctx, stop := context.WithCancel(context.Background())
	r := &remoteKeys{
		endpoint: endpoint,
		client: &http.Client{
			Transport: transport,
			// Whoever can redirect could name the keys; the URL that is configured is the one that is trusted.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
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

// find implements keySource.
func (r *remoteKeys) find(ctx context.Context, token *jwt.Token) (any, error) {
	if !slices.Contains(asymmetricAlgorithms, token.Method.Alg()) {
		return nil, errNoKey
	}
	if r.set.Load() == nil {
		r.awaitLoad(ctx)
	}
	set := r.set.Load()
	if set == nil {
		return nil, errKeysAway
	}
	key, err := set.find(ctx, token)
	if errors.Is(err, jwkset.ErrKeyNotFound) {
		r.awaitLoad(ctx)
		// Also without a wait a newer set may be there by now.
		if newer := r.set.Load(); newer != set {
			key, err = newer.find(ctx, token)
		}
	}
	if err != nil {
		return nil, errNoKey
	}
	return key, nil
}

func (s *keySet) find(ctx context.Context, token *jwt.Token) (any, error) {
	keys := (*s)[token.Method.Alg()]
	if keys == nil {
		return nil, jwkset.ErrKeyNotFound
	}
	return keys.KeyfuncCtx(ctx)(token)
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
		pause := jwksPause
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
			if !wait(ctx, jwksAge-jwksPause, r.demand) {
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
	set, keys, skipped, err := parseKeySet(ctx, body)
	if err != nil {
		return 0, 0, err
	}
	r.set.Store(&set)
	return keys, skipped, nil
}

func (r *remoteKeys) fetch(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.endpoint, nil)
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := r.client.Do(request)
	if err != nil {
		// The client's error quotes the URL, whose query may hold a secret.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jwksMaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > jwksMaxBytes {
		return nil, fmt.Errorf("the answer is larger than %d bytes", jwksMaxBytes)
	}
	return body, nil
}

// parseKeySet reads a JWK Set. Keys that are malformed, symmetric, of an unknown kind or not for signatures are counted
// as skipped (RFC 7517 §5 wants that of unknown kinds). A set without a usable key is a set: it revokes the last one's.
func parseKeySet(ctx context.Context, body []byte) (set keySet, keys, skipped int, err error) {
	var document struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, 0, 0, errors.New("the answer is no JWK set")
	}
	if document.Keys == nil {
		return nil, 0, 0, errors.New("the answer is no JWK set: it has no keys member")
	}
	if len(*document.Keys) > jwksMaxKeys {
		return nil, 0, 0, fmt.Errorf("the set has %d keys, %d are the most", len(*document.Keys), jwksMaxKeys)
	}
	stores := make(map[string]jwkset.Storage)
	for _, raw := range *document.Keys {
		// Private false: what a private key has beyond its public half is not read, and symmetric keys are refused.
		key, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{Private: false}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		algorithms := usableFor(key)
		if len(algorithms) > 0 {
			keys++
		}
		for _, algorithm := range algorithms {
			if stores[algorithm] == nil {
				stores[algorithm] = jwkset.NewMemoryStorage()
			}
			if err := stores[algorithm].KeyWrite(ctx, key); err != nil {
				return nil, 0, 0, err
			}
		}
	}
	set = make(keySet, len(stores))
	for algorithm, store := range stores {
		found, err := keyfunc.New(keyfunc.Options{Storage: store})
		if err != nil {
			return nil, 0, 0, err
		}
		set[algorithm] = found
	}
	return set, keys, len(*document.Keys) - keys, nil
}

// usableFor returns the algorithms that a key of a set may verify: those of its kind, only the one it names if it names
// one, and none where its use or operations exclude verifying (RFC 7517 §4.2 to §4.4).
func usableFor(key jwkset.JWK) []string {
	described := key.Marshal()
	if described.USE != "" && described.USE != jwkset.UseSig {
		return nil
	}
	if len(described.KEYOPS) > 0 && !slices.Contains(described.KEYOPS, jwkset.KeyOpsVerify) {
		return nil
	}
	algorithms, err := algorithmsOf(key.Key())
	if err != nil {
		return nil
	}
	if described.ALG == "" {
		return algorithms
	}
	if named := described.ALG.String(); slices.Contains(algorithms, named) {
		return []string{named}
	}
	return nil
}
