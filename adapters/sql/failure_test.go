package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"chatting/domain"
)

var failureContract = map[string]func(*testing.T, database){
	"ACallWhoseContextEndedIsUnavailable": func(t *testing.T, d database) {
		s := d.migrated(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.SetBlocked(ended, change(1, 2, true))
		wantCode(t, err, domain.CodeUnavailable)
		_, err = s.Blocks(ended, 1)
		wantCode(t, err, domain.CodeUnavailable)
		wantCode(t, s.Ping(ended), domain.CodeUnavailable)
		noError(t, s.Ping(t.Context()))
		wantBlocks(t, s, 1)
	},
	"ACallThatDoesNotGetItsLockInTimeIsUnavailable": func(t *testing.T, d database) {
		holder := d.migrated(t)
		s := d.open(t, func(o *Options) { o.Timeout = 200 * time.Millisecond })
		tx, err := holder.writer.BeginTxx(t.Context(), nil)
		noError(t, err)
		tx.MustExecContext(t.Context(), setBlocked, 1, 2, 0)
		_, err = s.SetBlocked(t.Context(), change(1, 2, true))
		wantCode(t, err, domain.CodeUnavailable)
		wantBlocks(t, s, 1) // a reader waits for no writer
		noError(t, tx.Rollback())
		if !set(t, s, change(1, 2, true)) {
			t.Error("the call that timed out had an effect")
		}
	},
	"CallersBeyondTheConnectionsWaitTheirTurn": func(t *testing.T, d database) {
		s := d.migrated(t, func(o *Options) { o.MaxOpen = 1 })
		atOnce(50, func(i int) {
			user := domain.UserID(i + 1)
			if _, err := s.SetBlocked(t.Context(), change(user, 1000, true)); err != nil {
				t.Error(err)
			}
			if blocked, err := s.IsBlocked(t.Context(), user, 1000); err != nil || !blocked {
				t.Errorf("blocked %t, %v", blocked, err)
			}
		})
	},
	"AStatementThatIsWrongIsInternal": func(t *testing.T, d database) {
		s := d.open(t) // not migrated: no tables
		_, err := s.Blocks(t.Context(), 1)
		wantCode(t, err, domain.CodeInternal)
	},
}

func TestConflictsAreRetriedAFewTimesAndThenUnavailable(t *testing.T) {
	dialect, err := newPostgres("postgres://127.0.0.1/x", time.Second)
	noError(t, err)
	s := &Store{dialect: dialect}
	for _, test := range []struct {
		code     string
		failures int
		attempts int
		want     domain.Code
	}{
		{"40001", 3, 4, ""},
		{"40P01", 1, 2, ""},
		{"40001", 100, 6, domain.CodeUnavailable},
		{"23505", 100, 1, domain.CodeInternal},
		{"57014", 100, 1, domain.CodeUnavailable},
		{"53300", 100, 1, domain.CodeUnavailable},
		{"25006", 100, 1, domain.CodeUnavailable},
	} {
		attempts := 0
		err := s.retryConflicts(t.Context(), func(context.Context) error {
			if attempts++; attempts <= test.failures {
				return fmt.Errorf("wrapped: %w", &pq.Error{Code: pq.ErrorCode(test.code)})
			}
			return nil
		})
		if got := domain.CodeOf(s.classify(t.Context(), "test", err)); got != test.want || attempts != test.attempts {
			t.Errorf("%s: %q after %d attempts, want %q after %d", test.code, got, attempts, test.want, test.attempts)
		}
	}
}

func TestDatabaseThatIsAwayIsUnavailable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	address := listener.Addr().String()
	noError(t, listener.Close())
	_, err = Open(t.Context(), Options{URL: "postgres://u:s3cr3t@" + address + "/x?sslmode=disable"})
	wantCode(t, err, domain.CodeUnavailable)
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestUnusableURLIsRefusedWithoutShowingIt(t *testing.T) {
	for _, url := range []string{
		"", "s3cr3t", "mysql://u:s3cr3t@h/x", "sqlite:", "sqlite::memory:", "sqlite:/no/such/s3cr3t-directory/x.db",
		"postgres://u:s3cr3t#@h/x", "postgres://u:s3cr3t@h:port/x", "postgres://u:s3cr3t%zz@h/x",
		"postgres://u:s3cr3t@h/x?sslmode=maybe",
	} {
		s, err := Open(t.Context(), Options{URL: url})
		if err == nil {
			t.Errorf("%s opened", url)
			_ = s.Close()
			continue
		}
		if domain.CodeOf(err) != domain.CodeInternal {
			t.Errorf("%s: %v is no plain error", url, err)
		}
		if strings.HasPrefix(url, "postgres") && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// FuzzDatabaseURL looks for passwords that an error would show.
func FuzzDatabaseURL(f *testing.F) {
	for _, password := range []string{"", "#", "/", "?", "@", "%", "%41", ":", " ", "\x00", "\xff", "[", "]:5432"} {
		f.Add(password, "sslmode=disable")
	}
	f.Fuzz(func(t *testing.T, password, parameters string) {
		if strings.Contains(parameters, "s3cr3t") {
			t.Skip()
		}
		_, err := newDialect(Options{URL: "postgres://u:s3cr3t" + password + "@127.0.0.1/x?" + parameters, Timeout: time.Second})
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error shows the password: %v", err)
		}
	})
}

func TestSQLiteSurvivesPowerLossAndKeepsReadersFromWriting(t *testing.T) {
	s := newSQLiteDatabase(t).migrated(t)
	pragma := func(pool *sqlx.DB, name string) (value string) {
		noError(t, pool.GetContext(t.Context(), &value, "PRAGMA "+name))
		return value
	}
	for name, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "30000",
	} {
		if got := pragma(s.writer, name); got != want {
			t.Errorf("%s of the writer is %s, want %s", name, got, want)
		}
	}
	if open := s.writer.Stats().MaxOpenConnections; open != 1 {
		t.Errorf("%d writers", open)
	}
	if _, err := s.reader.ExecContext(t.Context(), rememberUser, 1, 1); err == nil {
		t.Error("a reader wrote")
	}
}

func TestSQLiteTakesAnyFileName(t *testing.T) {
	directory := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "a?mode=memory", "b#c", "d%20e", "f:g", "ü&=+"} {
		d := database{url: "sqlite:" + directory + "/" + name}
		s := d.migrated(t)
		noError(t, s.Remember(t.Context(), 1))
		var file string
		noError(t, s.reader.GetContext(t.Context(), &file, "SELECT file FROM pragma_database_list WHERE name = 'main'"))
		if file != directory+"/"+name {
			t.Errorf("%q was opened as %q", name, file)
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
		noError(t, s.writer.GetContext(t.Context(), &pid, "SELECT pg_backend_pid()"))
		killer.writer.MustExecContext(t.Context(), "SELECT pg_terminate_backend($1, 10000)", pid)
		if !set(t, s, change(1, domain.UserID(10+i), true)) {
			t.Error("no change")
		}
	}
}

func TestPostgreSQLThatHangsDoesNotHangItsCallers(t *testing.T) {
	requirePostgres(t)
	d := newPostgresDatabase(t)
	d.migrated(t)
	proxy := startProxy(t, d.url)
	const timeout = 500 * time.Millisecond
	s := database{url: proxy.url(t, d.url)}.open(t, func(o *Options) { o.Timeout = timeout; o.MaxOpen = 1 })
	set(t, s, change(1, 2, true))

	proxy.hang()
	failed := make(chan error, 1)
	calls := map[string]func() error{
		"write":   func() error { _, err := s.SetBlocked(t.Context(), change(1, 2, false)); return err },
		"read":    func() error { _, err := s.Blocks(t.Context(), 1); return err },
		"ping":    func() error { return s.Ping(t.Context()) },
		"version": func() error { _, _, err := s.Version(t.Context()); return err },
		"migrate": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			return s.Migrate(ctx)
		},
	}
	for name, call := range calls {
		go func() { failed <- call() }()
		select {
		case err := <-failed:
			if domain.CodeOf(err) != domain.CodeUnavailable {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(3 * 2 * timeout):
			t.Fatalf("%s hangs", name)
		}
	}

	proxy.resume()
	if !set(t, s, change(1, 3, true)) {
		t.Error("no change once the database answers again")
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
			if !errors.Is(err, io.EOF) {
				slog.Debug("proxy", "error", err)
			}
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
