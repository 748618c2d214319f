package application_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
	"chatting/test/porttest"
)

// oddStore is a LoginStore that cannot read what it holds of some users.
type oddStore struct {
	application.LoginStore
	err   error
	odd   []domain.UserID
	asked int
}

func (s *oddStore) LoginFacts(ctx context.Context, users []domain.UserID, hiding bool) ([]application.LoginFacts, error) {
	time.Sleep(time.Millisecond)
	s.asked++
	if slices.ContainsFunc(users, func(user domain.UserID) bool { return slices.Contains(s.odd, user) }) {
		return nil, s.err
	}
	return s.LoginStore.LoginFacts(ctx, users, hiding)
}

func TestWhatIsWrongWithOneUserDoesNotKeepOthersOut(t *testing.T) {
	for what, test := range map[string]struct {
		err    error
		others domain.Code
		asked  int // once for the one who came first, and for the others
	}{
		"a row that cannot be read": {errors.New("a bad row"), "", 2 + 4},
		"a database that is away":   {porttest.ErrRefused, domain.CodeUnavailable, 2},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				store := &oddStore{LoginStore: s.store, err: test.err, odd: []domain.UserID{203}}
				s.login.Lookup = application.NewLoginLookup(store, true)
				defer s.login.Lookup.Wait()
				errs := make(map[domain.UserID]error)
				var mu sync.Mutex
				var logins sync.WaitGroup
				for _, user := range []domain.UserID{201, 202, 203, 204, 205} {
					logins.Go(func() {
						_, err := s.login.Execute(t.Context(), user.String(), &porttest.Conn{})
						mu.Lock()
						defer mu.Unlock()
						errs[user] = err
					})
					time.Sleep(time.Microsecond)
				}
				logins.Wait()
				porttest.WantCode(t, "the one", errs[203], domain.CodeOf(test.err))
				porttest.WantCode(t, "who came first", errs[201], "")
				for _, user := range []domain.UserID{202, 204, 205} {
					porttest.WantCode(t, "another one", errs[user], test.others)
				}
				if store.asked != test.asked {
					t.Errorf("asked %d times, want %d", store.asked, test.asked)
				}
			})
		})
	}
}

func TestManyNewUsersAreRememberedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		store := &slowStore{loginStore: s.store}
		s.login.Lookup = application.NewLoginLookup(store, true)
		defer s.login.Lookup.Wait()
		var logins sync.WaitGroup
		for user := domain.UserID(1000); user < 1300; user++ {
			logins.Go(func() {
				if _, err := s.login.Execute(t.Context(), user.String(), &porttest.Conn{}); err != nil {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		for user := domain.UserID(1000); user < 1300; user++ {
			if !s.known.Seen[user] {
				t.Fatalf("%d is not known", user)
			}
		}
		writes := store.writes
		if store.lookups < 3 || store.lookups > 6 || writes > 8 { // 128 at once, but not those who came while one was under way
			t.Errorf("%d lookups and %d writes", store.lookups, writes)
		}
		if _, err := s.login.Execute(t.Context(), "1000", &porttest.Conn{}); err != nil || store.writes > writes {
			t.Errorf("a known user is written, or refused: %v", err)
		}
	})
}

// slowStore counts questions, each of which takes a moment.
type slowStore struct {
	*loginStore
	lookups, writes int
}

func (s *slowStore) LoginFacts(ctx context.Context, users []domain.UserID, hiding bool) ([]application.LoginFacts, error) {
	s.lookups++
	time.Sleep(time.Millisecond)
	return s.loginStore.LoginFacts(ctx, users, hiding)
}

func (s *slowStore) RememberAll(ctx context.Context, users []domain.UserID) error {
	s.writes++
	time.Sleep(time.Millisecond)
	return s.loginStore.RememberAll(ctx, users)
}
