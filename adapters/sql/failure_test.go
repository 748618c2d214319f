package sqlstore

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

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
		s := d.open(t, func(o *Options) { o.Timeout = 2 * time.Second })
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
		{"40001", 100, 8, domain.CodeUnavailable},
		{"23505", 100, 1, domain.CodeInternal},
		{"57014", 100, 1, domain.CodeUnavailable},
		{"53300", 100, 1, domain.CodeUnavailable},
		{"25006", 100, 1, domain.CodeUnavailable},
		{"08006", 100, 1, domain.CodeUnavailable},
		{"55P03", 100, 1, domain.CodeUnavailable},
		{"25P03", 100, 1, domain.CodeUnavailable},
		{"25001", 100, 1, domain.CodeInternal},
		{"57", 100, 1, domain.CodeInternal},
		{"", 100, 1, domain.CodeInternal},
	} {
		attempts := 0
		err := s.retryConflicts(t.Context(), func(context.Context) error {
			if attempts++; attempts <= test.failures {
				return fmt.Errorf("wrapped: %w", &pq.Error{Code: pqerror.Code(test.code)})
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
