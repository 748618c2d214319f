package database

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

func TestConflictsAreRetriedAFewTimesAndThenUnavailable(t *testing.T) {
	dialect, err := newPostgres("postgres://127.0.0.1/x", time.Second)
	noError(t, err)
	s := &DB{dialect: dialect}
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
	_, err = Open(t.Context(), Options{URL: "postgres://u:s3cr3t@" + address + "/x?sslmode=disable", MaxOpen: 1, Timeout: 30 * time.Second})
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
		s, err := Open(t.Context(), Options{URL: url, MaxOpen: 1, Timeout: 30 * time.Second})
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
