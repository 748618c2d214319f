package application_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// issuer is whoever decides about tokens. A token is good for the user that it was issued to, until it is revoked.
type issuer struct {
	mu        sync.Mutex
	users     map[string]domain.UserID
	away      bool
	takes     time.Duration // how long a recheck takes
	expires   time.Time     // of every token
	refusal   application.RefusalReason
	rechecked map[string][]time.Time
	now, most int // rechecks at the same time
}

func newIssuer() *issuer {
	return &issuer{
		users: map[string]domain.UserID{}, rechecked: map[string][]time.Time{}, refusal: application.RefusedByService,
	}
}

func (i *issuer) issue(token string, user domain.UserID) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users[token] = user
	return token
}

func (i *issuer) revoke(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.users, token)
}

func (i *issuer) isAway(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

func (i *issuer) Verify(_ context.Context, token string) (application.Identity, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	user, good := i.users[token]
	if !good {
		return application.Identity{}, application.RefuseToken("no", i.refusal, 0)
	}
	return application.Identity{User: user, Expires: i.expires}, nil
}

func (i *issuer) Recheck(ctx context.Context, token string) (application.Identity, error) {
	i.mu.Lock()
	i.rechecked[token] = append(i.rechecked[token], time.Now())
	i.now++
	i.most = max(i.most, i.now)
	away, takes := i.away, i.takes
	i.mu.Unlock()
	time.Sleep(takes)
	i.mu.Lock()
	i.now--
	i.mu.Unlock()
	if away {
		return application.Identity{}, porttest.ErrRefused
	}
	return i.Verify(ctx, token)
}

// times returns when the token was rechecked.
func (i *issuer) times(token string) []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rechecked[token]
}

func (i *issuer) checks() (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, times := range i.rechecked {
		n += len(times)
	}
	return n
}

const recheckEvery = time.Minute

// rechecking is a server that rechecks tokens, and its log.
type rechecking struct {
	*server
	issuer *issuer
	log    *bytes.Buffer
}

// newRechecking starts one; it stops with the test.
func newRechecking(t *testing.T) *rechecking {
	r := &rechecking{server: newServer(t), issuer: newIssuer(), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(r.log, nil))
	notices := notice.NewLog(logger, time.Now)
	r.login.Authenticate.Tokens, r.login.Authenticate.Notices = r.issuer, notices
	r.login.MaxPerUser, r.login.Notices = 0, notices
	r.login.Recheck = &application.RecheckTokens{
		Tokens: r.issuer, Notices: notices, Every: recheckEvery, AtATime: 4, Now: time.Now, Logger: logger,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.login.Recheck.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func (r *rechecking) in(t *testing.T, token string) (*porttest.Conn, *application.LoggedIn) {
	t.Helper()
	c := &porttest.Conn{ClientAddress: "192.0.2.1"}
	session, err := r.login.Execute(t.Context(), token, c)
	if err != nil {
		t.Fatal(err)
	}
	return c, session
}

// rounds lets time pass in which each token is rechecked at least so often.
func rounds(n int) {
	time.Sleep(time.Duration(n) * recheckEvery)
	synctest.Wait()
}

func mustBeClosed(t *testing.T, c *porttest.Conn, want bool) {
	t.Helper()
	reasons := porttest.Of[porttest.Closed](c)
	if want && (len(reasons) != 1 || reasons[0].Reason != port.CloseRevoked) || !want && len(reasons) > 0 {
		t.Fatalf("closed %v, want closed: %v", reasons, want)
	}
}

func TestAConnectionEndsWithinTheTimeOnceItsTokenIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token, other := r.issuer.issue("secret-token", 201), r.issuer.issue("other", 201)
		first, session := r.in(t, token)
		defer session.Close()
		second, session := r.in(t, token)
		defer session.Close()
		stays, session := r.in(t, other)
		defer session.Close()
		rounds(3)
		mustBeClosed(t, first, false)
		r.issuer.revoke(token)
		rounds(1)
		mustBeClosed(t, first, true)
		mustBeClosed(t, second, true)
		mustBeClosed(t, stays, false)
		asked := len(r.issuer.times(token))
		rounds(3)
		if again := len(r.issuer.times(token)); again != asked {
			t.Fatalf("a refused token was verified %d times more", again-asked)
		}
		if log := r.log.String(); !strings.Contains(log, `"token refused: refused by the user-management service" user=201 address=192.0.2.1 count=1`) || strings.Contains(log, token) {
			t.Fatalf("the log: %s", log)
		}
	})
}

func TestATokenIsRecheckedWithinTheTimeAndOnceForAllItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token := r.issuer.issue("t", 201)
		last := time.Now()
		for range 3 {
			_, session := r.in(t, token)
			defer session.Close()
		}
		rounds(20)
		times := r.issuer.times(token)
		for _, at := range times {
			if gap := at.Sub(last); gap > recheckEvery || gap < recheckEvery/3 {
				t.Fatalf("rechecked after %v, want at most %v", gap, recheckEvery)
			}
			last = at
		}
		if len(times) < 20 || len(times) > 60 {
			t.Fatalf("%d rechecks in 20 rounds", len(times))
		}
	})
}

func TestConnectionsStayWhileNobodyCanVerifyTheirTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token := r.issuer.issue("t", 201)
		c, session := r.in(t, token)
		defer session.Close()
		r.issuer.isAway(true)
		r.issuer.revoke(token)
		rounds(5)
		mustBeClosed(t, c, false)
		if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
			t.Fatalf("%d warnings, want one:\n%s", n, r.log)
		}
		if n := len(r.issuer.times(token)); n < 5 {
			t.Fatalf("tried %d times in five rounds", n)
		}
		r.issuer.isAway(false)
		rounds(1)
		mustBeClosed(t, c, true)
		if !strings.Contains(r.log.String(), "can be checked again") {
			t.Fatalf("the log does not say that it is over:\n%s", r.log)
		}
	})
}

func TestARenewedTokenIsRecheckedInPlaceOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		old, renewed := r.issuer.issue("old", 201), r.issuer.issue("renewed", 201)
		c, session := r.in(t, old)
		defer session.Close()
		if _, err := session.Renew(t.Context(), renewed); err != nil {
			t.Fatal(err)
		}
		r.issuer.revoke(old)
		rounds(3)
		mustBeClosed(t, c, false)
		if n := len(r.issuer.times(old)); n != 0 {
			t.Fatalf("the old token was verified %d times", n)
		}
		// A renewal that is refused changes nothing.
		if _, err := session.Renew(t.Context(), "bad"); domain.CodeOf(err) != domain.CodeUnauthenticated {
			t.Fatal(err)
		}
		r.issuer.revoke(renewed)
		rounds(1)
		mustBeClosed(t, c, true)
	})
}

func TestAConnectionIsToldUntilWhenItsTokenCountsAndThatItHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token := r.issuer.issue("t", 201)
		r.issuer.expires = time.Now().Add(recheckEvery / 4)
		c, session := r.in(t, token)
		defer session.Close()
		if got := c.Expires(); !got.Equal(r.issuer.expires) {
			t.Errorf("its token expires at %v", got)
		}
		r.issuer.refusal = application.RefusedExpired
		r.issuer.revoke(token)
		rounds(1)
		if got := porttest.Of[porttest.Closed](c); len(got) != 1 || got[0].Reason != port.CloseExpired {
			t.Errorf("closed: %v", got)
		}
	})
}

func TestATokenThatBecomesAnothersEndsItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token := r.issuer.issue("t", 201)
		c, session := r.in(t, token)
		defer session.Close()
		r.issuer.issue(token, 202)
		rounds(1)
		mustBeClosed(t, c, true)
		if log := r.log.String(); !strings.Contains(log, `"token refused: another user's" user=201`) {
			t.Fatalf("the log: %s", log)
		}
	})
}

func TestNoTokenIsHeldOnceItsConnectionEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		token := r.issuer.issue("t", 201)
		_, session := r.in(t, token)
		_, stays := r.in(t, token)
		session.Close()
		session.Close()
		rounds(1)
		if n := len(r.issuer.times(token)); n == 0 {
			t.Fatal("the other connection's token is not verified any more")
		}
		stays.Close()
		rounds(1)
		asked := r.issuer.checks()
		rounds(3)
		if more := r.issuer.checks() - asked; more != 0 {
			t.Fatalf("verified %d times without a connection", more)
		}
		// A login that fails holds nothing either.
		r.sessions.Decide(porttest.Ups(porttest.Refused))
		if _, err := r.login.Execute(t.Context(), token, &porttest.Conn{}); err == nil {
			t.Fatal("logged in")
		}
		rounds(3)
		if more := r.issuer.checks() - asked; more != 0 {
			t.Fatalf("verified %d times after a login that failed", more)
		}
	})
}

func TestRechecksOfConnectionsThatCameTogetherAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		r.issuer.takes = 10 * time.Millisecond
		const users = 300
		for user := range domain.UserID(users) {
			_, session := r.in(t, r.issuer.issue(fmt.Sprint("token", user), user+1))
			defer session.Close()
		}
		began := time.Now()
		rounds(1)
		seconds := map[int]int{}
		for user := range users {
			times := r.issuer.times(fmt.Sprint("token", user))
			if len(times) == 0 {
				t.Fatalf("the token of %d was not rechecked", user)
			}
			seconds[int(times[0].Sub(began)/time.Second)]++
		}
		for second, n := range seconds {
			if n > users/6 {
				t.Errorf("%d of %d tokens were verified in second %d", n, users, second)
			}
		}
		if most := r.issuer.most; most > 4 {
			t.Errorf("%d at the same time, want at most 4", most)
		}
	})
}

func TestEveryRefusedTokenIsLoggedWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRechecking(t)
		refuse := func(token string) {
			t.Helper()
			ctx := application.WithClientAddress(t.Context(), "192.0.2.7")
			if _, err := r.login.Authenticate.Execute(ctx, token); domain.CodeOf(err) != domain.CodeUnauthenticated {
				t.Fatal(err)
			}
		}
		for range 1000 {
			refuse("bad-token")
		}
		c, session := r.in(t, r.issuer.issue("t", 201))
		defer session.Close()
		if _, err := session.Renew(t.Context(), r.issuer.issue("u", 202)); err == nil {
			t.Fatal("renewed by another user's token")
		}
		mustBeClosed(t, c, false) // its socket does that
		time.Sleep(time.Second)
		refuse("bad-token")
		log := r.log.String()
		for _, want := range []string{
			"token refused: refused by the user-management service", "address=192.0.2.7", "count=1000 total=1001",
			`"token refused: another user's" user=202`,
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		if n := strings.Count(log, "\n"); n != 3 || strings.Contains(log, "bad-token") {
			t.Errorf("%d lines, want three:\n%s", n, log)
		}
	})
}
