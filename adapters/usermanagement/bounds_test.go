package usermanagement

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

func TestLimitsAreThoseOfTheOptions(t *testing.T) {
	c, err := New(Options{URL: "https://127.0.0.1", Timeout: 2 * time.Second, Concurrency: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.asker.Timeout != 2*time.Second {
		t.Errorf("a question may take %v", c.asker.Timeout)
	}
	if !c.verifyTurns.TryAcquire(64) || c.verifyTurns.TryAcquire(1) || !c.friendsTurns.TryAcquire(64) || c.friendsTurns.TryAcquire(1) {
		t.Error("not 64 questions of each kind at the same time")
	}
}

// TestConnectionsAreUsedAgain however many questions come at the same time: logins, lists and rechecks.
func TestConnectionsAreUsedAgain(t *testing.T) {
	const concurrency = 40 // the three kinds are more than the 100 that http.Transport keeps by default
	var made atomic.Int64
	var mu sync.Mutex
	g := newGate()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		current := g
		mu.Unlock()
		current.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			made.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := newClient(t, Options{URL: server.URL, Concurrency: concurrency})
	for range 3 {
		var wg sync.WaitGroup
		for i := range concurrency {
			ask := func(question func() error) {
				wg.Go(func() {
					if err := question(); err != nil {
						t.Error(err)
					}
				})
			}
			ask(func() error { _, err := c.Verify(t.Context(), fmt.Sprint("token", i)); return err })
			ask(func() error { _, err := c.Recheck(t.Context(), fmt.Sprint("token", i)); return err })
			ask(func() error { _, err := c.Friends(t.Context(), domain.UserID(i+1)); return err })
		}
		until(t, "all questions", func() bool { return g.now.Load() == 3*concurrency })
		mu.Lock()
		before := g
		g = newGate()
		mu.Unlock()
		close(before.open)
		wg.Wait()
	}
	if n := made.Load(); n != 3*concurrency {
		t.Errorf("%d connections were made, want %d", n, 3*concurrency)
	}
}

// slowToEnd is a transport whose requests end a second after they are told to.
type slowToEnd struct{ asked atomic.Int64 }

func (s *slowToEnd) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	<-r.Context().Done()
	time.Sleep(time.Second)
	return nil, r.Context().Err()
}

func TestCloseWaitsForEachKindOfQuestion(t *testing.T) {
	for name, question := range map[string]func(*testing.T, *Client) error{
		"verify":  func(t *testing.T, c *Client) error { _, err := c.Verify(t.Context(), goodToken); return err },
		"recheck": func(t *testing.T, c *Client) error { _, err := c.Recheck(t.Context(), goodToken); return err },
		"friends": func(t *testing.T, c *Client) error { _, err := c.Friends(t.Context(), 201); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, Options{URL: "http://127.0.0.1", Timeout: time.Hour})
			c.asker.HTTP.Transport = &slowToEnd{}
			ended := make(chan error, 1)
			go func() { ended <- question(t, c) }()
			synctest.Wait()
			before := time.Now()
			c.Close()
			if took := time.Since(before); took != time.Second {
				t.Errorf("%s: Close took %v, the question a second", name, took)
			}
			mustFail(t, <-ended, domain.CodeUnavailable)
		})
	}
}

// TestTheCauseIsKeptForTheLog of a question without an answer.
func TestTheCauseIsKeptForTheLog(t *testing.T) {
	c := newClient(t, Options{URL: nobody(t)})
	_, verifyErr := c.Verify(t.Context(), goodToken)
	_, recheckErr := c.Recheck(t.Context(), goodToken)
	_, friendsErr := c.Friends(t.Context(), 201)
	for _, err := range []error{verifyErr, recheckErr, friendsErr} {
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v", err)
		}
	}
}

func TestAnswersMayBeAsLargeAsTheBoundAndNotLarger(t *testing.T) {
	for size, code := range map[int]domain.Code{0: "", 1: domain.CodeUnauthenticated} {
		body := `{"id":201}`
		c := newClient(t, Options{URL: serve(t, answer(200, body+strings.Repeat(" ", maxVerifyBytes-len(body)+size)))})
		if _, err := c.Verify(t.Context(), goodToken); domain.CodeOf(err) != code {
			t.Errorf("a verification of %d bytes: %v", maxVerifyBytes+size, err)
		}
	}
	for size, code := range map[int]domain.Code{0: "", 1: domain.CodeUnavailable} {
		c := newClient(t, Options{URL: serve(t, answer(200, `[]`+strings.Repeat(" ", maxFriendsBytes-2+size)))})
		if _, err := c.Friends(t.Context(), 201); domain.CodeOf(err) != code {
			t.Errorf("a list of %d bytes: %v", maxFriendsBytes+size, err)
		}
	}
	if _, err := parseFriends([]byte(`{}`)); err == nil {
		t.Error("an empty object is taken for an empty list")
	}
}

func TestAnswersAreAskedForAsJSON(t *testing.T) {
	asked := make(chan http.Header, 2)
	c := newClient(t, Options{URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		io.WriteString(w, `{"id":201}`)
	})})
	_, err := c.Verify(t.Context(), goodToken)
	_, _ = c.Friends(t.Context(), 201)
	for range 2 {
		if accept := (<-asked).Get("Accept"); accept != "application/json" || err != nil {
			t.Errorf("Accept: %s, %v", accept, err)
		}
	}
}

// TestAnAnswerThatNamesNobodyIsARefusal, and ends the belief in the one before.
func TestAnAnswerThatNamesNobodyIsARefusal(t *testing.T) {
	for _, refusal := range []struct {
		status int
		body   string
	}{{200, `{"id":null}`}, {401, ``}, {403, ``}} {
		var refuses atomic.Bool
		c := newClient(t, Options{CacheFor: time.Hour, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
			if refuses.Load() {
				answer(refusal.status, refusal.body)(w, r)
				return
			}
			io.WriteString(w, `{"id":201}`)
		})})
		if _, err := c.Verify(t.Context(), goodToken); err != nil {
			t.Fatal(err)
		}
		refuses.Store(true)
		_, err := c.Recheck(t.Context(), goodToken)
		mustFail(t, err, domain.CodeUnauthenticated)
		if n := c.verified.Len(); n != 0 {
			t.Errorf("%d %s: the good answer is still believed", refusal.status, refusal.body)
		}
		_, err = c.Verify(t.Context(), goodToken)
		mustFail(t, err, domain.CodeUnauthenticated)
	}
}

// TestEachLetterOfATokenCounts: those of b64token, and none beside them.
func TestEachLetterOfATokenCounts(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	for c := range 256 {
		token := string([]byte{byte(c)})
		if got, want := sendable(token), strings.Contains(letters, token); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
	if !sendable("a==") || sendable("=a") {
		t.Error("= stands at the end only")
	}
}

// TestTokensAndUsersAreNotMixedUp: each answer is its own question's.
func TestTokensAndUsersAreNotMixedUp(t *testing.T) {
	c := newClient(t, Options{CacheFor: time.Hour, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if id := r.URL.Query().Get("id"); id != "" {
			fmt.Fprintf(w, `[{"id":%s0}]`, id)
			return
		}
		fmt.Fprintf(w, `{"id":%s}`, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})})
	for range 2 { // the second time from memory
		for user := domain.UserID(1); user < 10; user++ {
			if identity, err := c.Verify(t.Context(), user.String()); err != nil || identity.User != user {
				t.Errorf("the token of %d: %v, %v", user, identity, err)
			}
			if friends, err := c.Friends(t.Context(), user); err != nil || len(friends) != 1 || friends[0] != 10*user {
				t.Errorf("the friends of %d: %v, %v", user, friends, err)
			}
		}
	}
}
