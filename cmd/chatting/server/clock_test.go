package server

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/kafka"
	"chatting/adapters/sqlstore"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/configs"
	"chatting/domain"
	"chatting/test/harness"
)

// onClock is a server in the process of its test, whose wall clock the test sets.
type onClock struct {
	*inProcess
	ahead atomic.Int64 // of the real one, as a time.Duration
	store *sqlstore.Store
	tails *tails
	log   *lockedLog
}

type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedLog) has(text string) bool { return l.count(text) > 0 }

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (s *onClock) now() time.Time {
	ahead := time.Duration(s.ahead.Load())
	if ahead == 0 {
		return time.Now()
	}
	return time.Now().Add(ahead) // its monotonic reading leaps as well, which is worse than what a system does
}

// serveOnClock starts a server whose clock is ahead of the real one, in dir, and returns how to end it.
func serveOnClock(t *testing.T, dir string, ahead time.Duration, more ...string) (s *onClock, end func()) {
	t.Helper()
	cfg, err := configs.Load(configs.Sources{Environ: append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + dir,
		"CHATTING_JWT_SECRET=" + aftermathSecret, "CHATTING_KAFKA_PARTITIONS=2",
	}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	s = &onClock{inProcess: &inProcess{dir: dir}, log: &lockedLog{}}
	s.ahead.Store(int64(ahead))
	var listener net.Listener
	server := fx.New(
		graphOf(cfg, slog.New(slog.NewTextHandler(s.log, nil))), fx.NopLogger, fx.Populate(&listener, &s.store, &s.tails),
		fx.Decorate(
			func(port.Clock) port.Clock { return s.now },
			func(h historyParts) historyParts {
				h.Expire.Every = 10 * time.Millisecond
				return h
			},
		),
	)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	end = sync.OnceFunc(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return s, end
}

// readyz returns the status and the body of /readyz.
func (s *onClock) readyz(t *testing.T) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + s.addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func (s *onClock) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	for !holds() {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain: %s\n%s", what, s.log.text.String())
		}
		harness.Pause(ctx, 20*time.Millisecond)
	}
}

func (s *onClock) isReady(t *testing.T) func() bool {
	return func() bool {
		status, _ := s.readyz(t)
		return status == http.StatusOK
	}
}

// history returns how many messages 1 and 2 have.
func (s *onClock) history(t *testing.T) int {
	t.Helper()
	entries, _, err := s.store.History.Messages(t.Context(), 1, 2, nil, history.PageBounds{Entries: 100, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// says has 1 say something to 2, and waits until the history has it.
func (s *onClock) says(t *testing.T) {
	t.Helper()
	before := s.history(t)
	for _, user := range []int{2, 1} {
		client, err := harness.Connect(s.addr, s.token(t, user))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if user == 1 {
			if err := client.Send(2, "hello"); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.until(t, "the message in the history", func() bool { return s.history(t) > before })
}

// refuses waits for the line about a leap, and for that which comes many rounds later: by then something would be deleted.
func (s *onClock) refuses(t *testing.T) {
	t.Helper()
	s.until(t, "two lines about the leap", func() bool { return s.log.count("the clock leapt: nothing is deleted") > 1 })
}

const hundredDays = 100 * 24 * time.Hour

func TestAClockThatIsAheadForAWhileDeletesNothing(t *testing.T) {
	dir := t.TempDir()
	s, end := serveOnClock(t, dir, 0)
	s.until(t, "readiness", s.isReady(t))
	s.says(t)
	s.ahead.Store(int64(hundredDays))
	s.refuses(t)
	if n := s.history(t); n != 1 {
		t.Errorf("%d messages are left of one", n)
	}
	s.ahead.Store(0)
	s.until(t, "a line that it is over", func() bool { return s.log.has("the clock is trusted again") })
	s.says(t)
	end()

	// So does one that is ahead at the start, of the database and of the broker.
	s, end = serveOnClock(t, dir, hundredDays)
	s.refuses(t)
	s.until(t, "a line of the broker", func() bool { return s.log.has("embedded Kafka broker: the clock leapt") })
	s.until(t, "readiness", s.isReady(t))
	if n := s.history(t); n != 2 {
		t.Errorf("%d messages are left of two", n)
	}
	end()
}

func TestAStartIn1970KeepsLoginsOutNoLongerThanALease(t *testing.T) {
	since1970 := -time.Since(time.Unix(60, 0))
	login := func(t *testing.T, s *onClock) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*presence.DefaultTimes.Lease)
		defer cancel()
		for {
			client, err := harness.Connect(s.addr, s.token(t, 1))
			if err == nil {
				client.Close()
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("nobody can log in: %v\n%s", err, s.log.text.String())
			}
			harness.Pause(ctx, 50*time.Millisecond)
		}
	}
	for name, c := range map[string]struct {
		behind time.Duration
		known  bool // the server has run before
		why    string
	}{
		"at first": {since1970, false, "The clock of this node is not set: it tells 1970-01-01"},
		"later":    {since1970, true, "The clock of this node is not set: it tells 1970-01-01"},
		// Of more than domain.MaxLeap: else what is trusted may follow it back, and there is nothing to be behind.
		"later, 25 hours behind (no 1970)": {-domain.MaxLeap - time.Hour, true, "behind the database's"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			said := 0
			if c.known {
				s, end := serveOnClock(t, dir, 0)
				s.until(t, "readiness", s.isReady(t))
				s.says(t)
				said++
				s.until(t, "a time to compare with", func() bool {
					at, _, err := s.store.Clock.ReferenceTime(t.Context())
					return err == nil && time.Since(at).Abs() < time.Minute
				})
				end()
			}
			s, _ := serveOnClock(t, dir, c.behind)
			s.until(t, "the reason", func() bool {
				status, body := s.readyz(t)
				return status == http.StatusServiceUnavailable && strings.Contains(body, c.why)
			})
			s.ahead.Store(0)
			login(t, s)
			if n := s.history(t); n != said {
				t.Errorf("%d messages are left of %d", n, said)
			}
			s.until(t, "readiness", s.isReady(t))
			// Once it serves, a wrong clock ends nothing.
			s.ahead.Store(int64(c.behind))
			s.until(t, "the reason", func() bool {
				status, body := s.readyz(t)
				return status == http.StatusServiceUnavailable && strings.Contains(body, c.why)
			})
			login(t, s)
			s.ahead.Store(0)
			login(t, s)
		})
	}
}

// banUnread bans a user by an act that this node does not read in the log.
func (s *onClock) banUnread(t *testing.T, user domain.UserID) {
	t.Helper()
	ban, err := domain.NewAct(user, domain.ActBan, time.Time{}, "", "alice", time.Now())
	if err == nil {
		ban, err = s.store.Moderation.Add(t.Context(), ban)
	}
	if err == nil {
		err = s.store.Moderation.Published(t.Context(), ban, []int64{0, 0})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestANodeLoadsActsAgainBehindAHole(t *testing.T) {
	s, _ := serveOnClock(t, t.TempDir(), 0)
	s.until(t, "readiness", s.isReady(t))
	s.banUnread(t, 1)
	if err := s.tails.acts.BanOf(1); err != nil {
		t.Fatalf("the node has read what it was not told of: %v", err)
	}
	s.tails.delivering.Reload()
	if got := domain.CodeOf(s.tails.acts.BanOf(1)); got != domain.CodeBanned {
		t.Errorf("a user who is banned gets %q", got)
	}
}

// While a node waits for its clock, other nodes publish acts. It may wait for so long that it does not read those in the log.
func TestActsFromBeforeTheClockIsRightAreKnown(t *testing.T) {
	dir := t.TempDir()
	s, end := serveOnClock(t, dir, 0)
	s.until(t, "readiness", s.isReady(t))
	s.until(t, "a time to compare with", func() bool {
		at, _, err := s.store.Clock.ReferenceTime(t.Context())
		return err == nil && !at.IsZero()
	})
	end()

	s, _ = serveOnClock(t, dir, -domain.MaxLeap-time.Hour)
	s.until(t, "the wait", func() bool { return s.log.has("the node does not serve before its clock is right") })
	s.banUnread(t, 1)
	s.ahead.Store(0)
	s.until(t, "readiness", s.isReady(t))
	if client, err := harness.Connect(s.addr, s.token(t, 1)); err == nil {
		client.Close()
		t.Error("a user who is banned may log in")
	}
	client, err := harness.Connect(s.addr, s.token(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

func TestWhatIsSaidWhileTheClockIsNotSetIsKept(t *testing.T) {
	s, _ := serveOnClock(t, t.TempDir(), 0)
	s.until(t, "readiness", s.isReady(t))
	s.says(t)
	s.ahead.Store(int64(-time.Since(time.Unix(60, 0))))
	s.until(t, "a line about the leap", func() bool { return s.log.has("the clock leapt: nothing is deleted") })
	s.says(t)
	s.ahead.Store(0)
	s.until(t, "a line that it is over", func() bool { return s.log.has("the clock is trusted again") })
	s.says(t)
	if n := s.history(t); n != 3 {
		t.Errorf("%d messages are left of three", n)
	}
}

// TestANodeOfAClusterWhoseClockIsWrongDeletesNothing runs two nodes on real parts, which have clocks of their own.
func TestANodeOfAClusterWhoseClockIsWrongDeletesNothing(t *testing.T) {
	parts := harness.SharedParts(t)
	name := fmt.Sprintf("clock_%d", time.Now().UnixNano())
	admin, err := sql.Open("postgres", parts.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
		harness.DeleteTopics(context.Background(), t, parts.Brokers, kafka.NamesFor(name).All()...)
	})
	own, err := url.Parse(parts.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	own.Path = "/" + name
	node := func() *onClock {
		s, _ := serveOnClock(t, t.TempDir(), 0,
			"CHATTING_KAFKA_BROKERS="+parts.Brokers, "CHATTING_DATABASE_URL="+own.String(), "CHATTING_TOPIC_PREFIX="+name)
		s.until(t, "readiness", s.isReady(t))
		return s
	}
	right, wrong := node(), node()
	right.says(t)

	wrong.ahead.Store(int64(hundredDays))
	right.until(t, "the burial of the node that is ahead", func() bool { return right.log.has("a node is buried") })
	if n := right.history(t); n != 1 || right.log.has("the clock leapt") {
		t.Errorf("while a node is ahead %d messages are left of one; %s", n, right.log.text.String())
	}
	wrong.ahead.Store(0)
	wrong.until(t, "readiness", wrong.isReady(t))
	wrong.says(t)

	wrong.ahead.Store(int64(-hundredDays))
	right.until(t, "a line about the leap", func() bool { return right.log.has("the clock leapt: nothing is deleted") })
	wrong.ahead.Store(0)
	right.until(t, "a line that it is over", func() bool { return right.log.has("the clock is trusted again") })
	wrong.says(t)
	if n := right.history(t); n != 3 {
		t.Errorf("%d messages are left of three", n)
	}
}
