package rest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"chatting/adapters/httpconn"
	"chatting/adapters/problem"
	"chatting/adapters/rest/platform"
	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/presence"
	"chatting/domain"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's clock for the Date header runs for the life of the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// Its worker pools look whether they were stopped every ten seconds.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// world is an API over parts in memory. Its users 7 and 9 are known, of them 7 is online; token "token-N" is user N's.
type world struct {
	mu      sync.Mutex
	known   map[domain.UserID]bool
	online  map[domain.UserID]bool
	blocks  map[[2]domain.UserID]bool
	friends map[domain.UserID][]domain.UserID
	events  []domain.Event

	// What goes wrong, if not nil.
	tokensErr, storeErr, appendErr error
	appendHangs                    bool
	panicWith                      any

	keys map[string]*storedKey
	// since is what Since returns.
	since time.Time
	// tokens are those that were verified, as they were handed over.
	tokens []string
	logs   lockedBuffer
	// peer is where all connections seem to come from, if not nil.
	peer net.Addr
	// listener changes the listener, if not nil.
	listener func(net.Listener) net.Listener
	// plain serves without httpconn, for what the API refuses on any listener. An answer that comes before its request is
	// complete may get lost then: the socket is reset.
	plain bool
	// mount adds another adapter's routes, if not nil.
	mount   func(*fiber.App)
	api     *API
	options Options // of the API, with their defaults
	url     string
}

type storedKey struct {
	fingerprint [32]byte
	status      int // 0 while in progress
	body        []byte
}

// lockedBuffer is a log that tests may read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// peerListener and peerConn show another address of the peer than the real one.
type peerListener struct {
	net.Listener
	peer net.Addr
}

func (l peerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.peer == nil {
		return conn, err
	}
	return peerConn{conn, l.peer}, nil
}

type peerConn struct {
	net.Conn
	peer net.Addr
}

func (c peerConn) RemoteAddr() net.Addr { return c.peer }

// newWorld serves an API on a free port until the test ends. change may alter the options and parts.
func newWorld(t testing.TB, change ...func(*world, *Options, *Deps)) *world {
	t.Helper()
	w := &world{
		known:   map[domain.UserID]bool{7: true, 9: true},
		online:  map[domain.UserID]bool{7: true},
		blocks:  map[[2]domain.UserID]bool{},
		friends: map[domain.UserID][]domain.UserID{},
		keys:    map[string]*storedKey{},
	}
	ids := func() domain.EventID { return domain.DerivedID("test", time.Now().String()) }
	logger := slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	options := Options{
		TrustLoopback: true, ClientAddress: httpconn.NewProxies(nil).ClientAddress, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BodyLimit: 512 << 10, PageBytes: 512 << 10, Concurrency: 8192,
	}
	deps := Deps{
		Authenticate: &application.Authenticate{Tokens: w, Users: w},
		Block:        &blocks.Block{Store: blockStore{w}, Users: w, Log: w, Now: time.Now},
		Friends:      &presence.Friends{Store: w, Sessions: sessions{w}},
		IsOnline:     &presence.IsOnline{Users: w, Presence: w},
		Platform: platform.Deps{
			SystemMessage: &messaging.SendSystemMessage{Log: w, Online: w, Now: time.Now, NewID: ids}, Idempotency: w, Now: time.Now,
		},
		Bytes:  ledger.NewByteLedger(0, 0, time.Now),
		Logger: logger,
	}
	for _, c := range change {
		c(w, &options, &deps)
	}
	if deps.Notices == nil {
		deps.Notices = notice.NewLog(deps.Logger, time.Now)
	}
	deps.Platform.Notices = deps.Notices
	var err error
	w.options = options.withDefaults()
	if w.api, err = New(options, deps); err != nil {
		t.Fatal(err)
	}
	if w.mount != nil {
		w.mount(w.api.App())
	}
	w.serve(t)
	return w
}

// onPlainListener is a change for newWorld: see world.plain.
func onPlainListener(w *world, _ *Options, _ *Deps) { w.plain = true }

func (w *world) serve(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + listener.Addr().String()
	if w.listener != nil {
		listener = w.listener(listener)
	}
	if !w.plain {
		listener = httpconn.Listen(listener, httpconn.Options{
			HeaderLimit: w.options.HeaderLimit, ReadTimeout: w.options.ReadTimeout, IdleTimeout: w.options.IdleTimeout,
			Notices: w.api.edge.log.Log, CORS: w.api.edge.cors.CORS,
		})
	}
	served := make(chan error, 1)
	go func() { served <- w.api.App().Listener(peerListener{listener, w.peer}) }()
	// A server that is shut down before it serves would never hear of it.
	w.call(t, "GET", "/healthz", "")
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := w.api.App().ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// reply is an answer, its body read.
type reply struct {
	status int
	header http.Header
	body   string
}

// call sends a request; headers are "Name: value".
func (w *world) call(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	request, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header[http.CanonicalHeaderKey(name)] = append(request.Header[http.CanonicalHeaderKey(name)], value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(data)}
}

const problemType = problem.MediaType

const (
	asJSON  = "Content-Type: application/json"
	asForm  = "Content-Type: application/x-www-form-urlencoded"
	asUser1 = "Authorization: Bearer token-1"
)

// mustBe fails the test where the answer is another.
func (r reply) mustBe(t testing.TB, status int, body string) {
	t.Helper()
	if r.status != status || r.body != body {
		t.Errorf("answer is %d %s, want %d %s", r.status, r.body, status, body)
	}
}

// Verify implements application.Tokens.
func (w *world) Verify(_ context.Context, token string) (application.Identity, error) {
	if w.panicWith != nil {
		panic(w.panicWith)
	}
	w.mu.Lock()
	w.tokens = append(w.tokens, token)
	w.mu.Unlock()
	if w.tokensErr != nil {
		return application.Identity{}, w.tokensErr
	}
	number, ok := strings.CutPrefix(token, "token-")
	user, err := domain.ParseUserID(number)
	if !ok || err != nil {
		return application.Identity{}, domain.NewError(domain.CodeUnauthenticated, "The token is not valid.")
	}
	return application.Identity{User: user}, nil
}

// Remember implements port.KnownUsers.
func (w *world) Remember(_ context.Context, user domain.UserID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[user] = true
	return nil
}

// Known implements port.KnownUsers.
func (w *world) Known(_ context.Context, user domain.UserID) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[user], w.storeErr
}

// Online implements port.OnlineUsers.
func (w *world) Online(user domain.UserID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.online[user]
}

// Append implements port.ConversationLog.
func (w *world) Append(event domain.Event, done func(error)) {
	w.mu.Lock()
	if w.appendErr == nil {
		w.events = append(w.events, event)
	}
	hangs, err := w.appendHangs, w.appendErr
	w.mu.Unlock()
	if !hangs {
		done(err)
	}
}

func (w *world) appended() []domain.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// blockStore implements blocks.Store, with an outbox that is always empty.
type blockStore struct{ w *world }

func (s blockStore) SetBlocked(_ context.Context, change blocks.Change) (bool, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	pair := [2]domain.UserID{change.Blocker, change.Target}
	was := s.w.blocks[pair]
	s.w.blocks[pair] = change.Blocked
	return was != change.Blocked, s.w.storeErr
}

func (s blockStore) Blocks(_ context.Context, blocker domain.UserID) ([]blocks.Entry, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	var entries []blocks.Entry
	for pair, blocked := range s.w.blocks {
		if pair[0] == blocker {
			entries = append(entries, blocks.Entry{Target: pair[1], Blocked: blocked})
		}
	}
	slices.SortFunc(entries, func(a, b blocks.Entry) int { return cmp.Compare(a.Target, b.Target) })
	return entries, s.w.storeErr
}

func (s blockStore) IsBlocked(_ context.Context, blocker, target domain.UserID) (bool, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.w.blocks[[2]domain.UserID{blocker, target}], s.w.storeErr
}

func (s blockStore) PendingOf(context.Context, domain.UserID, domain.UserID) ([]domain.Event, error) {
	return nil, nil
}

func (s blockStore) Pending(context.Context, time.Time, int) ([]domain.Event, error) { return nil, nil }

func (s blockStore) MarkPublished(context.Context, []domain.EventID) error { return nil }

// Friends implements presence.FriendLists.
func (w *world) Friends(_ context.Context, user domain.UserID) ([]domain.UserID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.friends[user]), w.storeErr
}

// AddFriend implements presence.FriendStore. A list of three is full.
func (w *world) AddFriend(_ context.Context, user, friend domain.UserID, _ int) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, found := slices.BinarySearch(w.friends[user], friend)
	switch {
	case found:
		return false, nil
	case len(w.friends[user]) >= 3:
		return false, domain.NewError(domain.CodeLimit, "The list is full.")
	}
	w.friends[user] = slices.Insert(w.friends[user], at, friend)
	return true, nil
}

// RemoveFriend implements presence.FriendStore.
func (w *world) RemoveFriend(_ context.Context, user, friend domain.UserID) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, found := slices.BinarySearch(w.friends[user], friend)
	if found {
		w.friends[user] = slices.Delete(w.friends[user], at, at+1)
	}
	return found, nil
}

// sessions implements port.SessionLog for the announcement of friends.
type sessions struct{ w *world }

func (s sessions) Append(_ domain.SessionRecord, done func(error)) { done(s.w.appendErr) }
func (s sessions) Bury(_ domain.Incarnation, done func(error))     { done(nil) }
func (s sessions) PartitionOf(domain.UserID) int                   { return 0 }
func (s sessions) Partitions() int                                 { return 1 }

// Begin implements platform.IdempotencyStore.
func (w *world) Begin(_ context.Context, key string, fingerprint [32]byte, _ time.Time) (int, []byte, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	held, ok := w.keys[key]
	switch {
	case !ok:
		w.keys[key] = &storedKey{fingerprint: fingerprint}
		return 0, nil, false, nil
	case held.fingerprint != fingerprint:
		return 0, nil, false, domain.NewError(domain.CodeKeyReused, "The key belongs to another request.")
	case held.status == 0:
		return 0, nil, false, domain.NewError(domain.CodeKeyInProgress, "The first request is under way.")
	}
	return held.status, held.body, true, nil
}

// Since implements platform.IdempotencyStore.
func (w *world) Since(context.Context, string, [32]byte) (time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, nil
}

// Complete implements platform.IdempotencyStore.
func (w *world) Complete(ctx context.Context, key string, status int, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[key].status, w.keys[key].body = status, slices.Clone(body)
	return ctx.Err()
}

// Abandon implements platform.IdempotencyStore.
func (w *world) Abandon(ctx context.Context, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
	return ctx.Err()
}

func (w *world) keyNames() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.keys))
}

func TestMalformedOriginsAreRefused(t *testing.T) {
	if _, err := New(Options{CORSOrigins: []string{"example.com"}}, Deps{}); err == nil {
		t.Error("an origin without a scheme is accepted")
	}
}
