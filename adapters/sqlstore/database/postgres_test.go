package database

import (
	"context"
	"fmt"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/lib/pq"

	"chatting/domain"
)

func TestThePoolOfPostgreSQLIsBoundedAsTheOptionsSay(t *testing.T) {
	dialect, err := newPostgres("postgres://127.0.0.1:1/x", time.Second)
	noError(t, err)
	writer, reader, err := dialect.open(Options{MaxOpen: 3})
	noError(t, err)
	if got := writer.Stats().MaxOpenConnections; got != 3 || reader != writer {
		t.Errorf("%d connections, want 3", got)
	}
	noError(t, writer.Close())
}

func TestAConnectionThatIsNotAnsweredIsGivenUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer silent.Close()
	for parameters, timeout := range map[string]time.Duration{"": time.Millisecond, "?connect_timeout=1": 24 * time.Hour} {
		dialect, err := newPostgres("postgres://"+silent.Addr().String()+"/x"+parameters, timeout)
		noError(t, err)
		opened := make(chan error, 1)
		go func() {
			_, _, err := dialect.openToMigrate(t.Context())
			opened <- err
		}()
		select {
		case err := <-opened:
			if !isOutage(err) {
				t.Errorf("%q: %v", parameters, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q: it waits for ever", parameters)
		}
	}
}

func TestPostgreSQLEndsWhatItsClientCannotEnd(t *testing.T) {
	requirePostgres(t)
	d := newPostgresDatabase(t)
	for _, test := range []struct {
		url     string
		timeout time.Duration
		want    [2]string
	}{
		{d.url, 7 * time.Second, [2]string{"7s", "14s"}},
		{withParameter(t, d.url, "statement_timeout", "3000"), 7 * time.Second, [2]string{"3s", "14s"}},
	} {
		s := testDB{url: test.url}.open(t, func(o *Options) { o.Timeout = test.timeout })
		for i, name := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
			var got string
			noError(t, s.Reader.GetContext(t.Context(), &got, "SHOW "+name))
			if got != test.want[i] {
				t.Errorf("%s is %s, want %s", name, got, test.want[i])
			}
		}
	}
}

func TestATimeoutThatTheServerIsToldIsNeverNone(t *testing.T) {
	parameters := map[string]string{"set": "0"}
	setDefault(parameters, "set", time.Second)
	setDefault(parameters, "second", time.Second)
	setDefault(parameters, "short", time.Microsecond) // 0 would be none
	if want := map[string]string{"set": "0", "second": "1000", "short": "1"}; !maps.Equal(parameters, want) {
		t.Errorf("%v, want %v", parameters, want)
	}
}

func TestAConnectionToPostgreSQLIsReplacedAfterItsLifetime(t *testing.T) {
	requirePostgres(t)
	defer func(life time.Duration) { connectionLife = life }(connectionLife)
	for lifetime, replaced := range map[time.Duration]bool{time.Nanosecond: true, time.Hour: false} {
		connectionLife = lifetime
		s := newPostgresDatabase(t).open(t, func(o *Options) { o.MaxOpen = 1 })
		var pids [2]int
		for i := range pids {
			noError(t, s.Reader.GetContext(t.Context(), &pids[i], "SELECT pg_backend_pid()"))
		}
		if (pids[0] != pids[1]) != replaced {
			t.Errorf("after %s: %v", lifetime, pids)
		}
	}
}

func TestPostgreSQLThatCutsItsConnectionsIsReachedAgain(t *testing.T) {
	requirePostgres(t)
	d := newPostgresDatabase(t)
	killer := d.migrated(t)
	s := d.open(t, func(o *Options) { o.MaxOpen = 1 })
	for i := range 3 {
		var pid int
		noError(t, s.Writer.GetContext(t.Context(), &pid, "SELECT pg_backend_pid()"))
		killer.Writer.MustExecContext(t.Context(), "SELECT pg_terminate_backend($1, 10000)", pid)
		if known, err := hasUser(t.Context(), s, domain.UserID(10+i)); err != nil || known {
			t.Errorf("the user is there: %t, %v", known, err)
		}
		noError(t, insertUser(t.Context(), s, domain.UserID(10+i)))
	}
}

func TestPostgreSQLThatHangsDoesNotHangItsCallers(t *testing.T) {
	requirePostgres(t)
	d := newPostgresDatabase(t)
	d.migrated(t)
	proxy := startProxy(t, d.url)
	const timeout = time.Second
	s := testDB{url: proxy.url(t, d.url)}.open(t, func(o *Options) { o.Timeout = timeout; o.MaxOpen = 1 })
	// The timeout is short: on a slow machine it may hit a healthy call too.
	untilItWorks(t, s.Ping)

	proxy.hang()
	failed := make(chan error, 1)
	calls := map[string]func() error{
		"write":   func() error { return insertUser(t.Context(), s, 2) },
		"read":    func() error { _, err := hasUser(t.Context(), s, 1); return err },
		"ping":    func() error { return s.Ping(t.Context()) },
		"version": func() error { _, _, err := s.Version(t.Context()); return err },
		"migrate": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			return s.Migrate(ctx, nothing)
		},
	}
	for name, call := range calls {
		go func() { failed <- call() }()
		select {
		case err := <-failed:
			if domain.CodeOf(err) != domain.CodeUnavailable {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s hangs", name)
		}
	}

	proxy.resume()
	untilItWorks(t, func(ctx context.Context) error { return insertUser(ctx, s, 3) })
}

func TestMigrationEndsWithItsContextThoughPostgreSQLHangs(t *testing.T) {
	requirePostgres(t)
	d := newPostgresDatabase(t)
	other := d.open(t)
	_, release, err := other.openToMigrate(t.Context())
	noError(t, err)
	defer func() { noError(t, release()) }()

	proxy := startProxy(t, d.url)
	s := testDB{url: proxy.url(t, d.url)}.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	migrated := make(chan error, 1)
	go func() { migrated <- s.Migrate(ctx, nothing) }()
	untilItWorks(t, func(ctx context.Context) error { // wait until it waits for the lock
		var waits int
		return other.Reader.GetContext(ctx, &waits,
			"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted LIMIT 1")
	})
	proxy.hang()
	cancel()
	select {
	case err := <-migrated:
		wantCode(t, err, domain.CodeUnavailable)
	case <-time.After(30 * time.Second):
		t.Fatal("the migration hangs")
	}
}

// untilItWorks calls f until it succeeds, for half a minute.
func untilItWorks(t *testing.T, f func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// proxy stands before a server and can stop passing bytes on, without closing anything.
type proxy struct {
	listener net.Listener
	server   string
	gate     chan chan struct{} // holds the gate that bytes pass: closed when open
	ended    context.Context
}

func startProxy(t *testing.T, rawURL string) *proxy {
	t.Helper()
	config, err := pq.NewConfig(rawURL)
	noError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	ended, end := context.WithCancel(context.Background())
	p := &proxy{
		listener: listener, server: net.JoinHostPort(config.Host, fmt.Sprint(config.Port)),
		gate: make(chan chan struct{}, 1), ended: ended,
	}
	open := make(chan struct{})
	close(open)
	p.gate <- open
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		p.accept()
	}()
	t.Cleanup(func() {
		end()
		_ = listener.Close()
		<-accepting
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		context.AfterFunc(p.ended, func() { _ = client.Close(); _ = server.Close() })
		go p.pass(client, server)
		go p.pass(server, client)
	}
}

func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		gate := <-p.gate
		p.gate <- gate
		select {
		case <-gate:
		case <-p.ended.Done():
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) hang() { <-p.gate; p.gate <- make(chan struct{}) }

func (p *proxy) resume() {
	gate := <-p.gate
	close(gate)
	p.gate <- gate
}

func (p *proxy) url(t *testing.T, rawURL string) string {
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	noError(t, err)
	return withParameter(t, withParameter(t, rawURL, "host", host), "port", port)
}
