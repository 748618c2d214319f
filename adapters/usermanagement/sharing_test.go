package usermanagement

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

// gate is a service that counts its requests and holds each until it is opened.
type gate struct {
	asked, now, most atomic.Int64
	open             chan struct{}
	status           atomic.Int64
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	g.status.Store(200)
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.asked.Add(1)
	now := g.now.Add(1)
	defer g.now.Add(-1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	select {
	case <-g.open:
	case <-r.Context().Done():
		return
	}
	w.WriteHeader(int(g.status.Load()))
	if strings.Contains(r.URL.Path, "friends") {
		io.WriteString(w, `[{"id":202}]`)
	} else {
		io.WriteString(w, `{"id":201}`)
	}
}

func TestOneTokenIsVerifiedOnceAtATime(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), CacheFor: time.Hour})
	impatient, giveUp := context.WithCancel(t.Context())
	const callers = 50
	var wg sync.WaitGroup
	errs := make([]error, callers)
	first := make(chan error, 1)
	go func() {
		_, err := c.Verify(impatient, goodToken)
		first <- err
	}()
	until(t, "the question", func() bool { return g.asked.Load() == 1 })
	var begun atomic.Int64
	for i := range callers {
		wg.Go(func() {
			begun.Add(1)
			_, errs[i] = c.Verify(t.Context(), goodToken)
		})
	}
	until(t, "all callers", func() bool { return begun.Load() == callers })
	// The caller that caused the question gives up; the others still get the answer.
	giveUp()
	mustFail(t, <-first, domain.CodeUnavailable)
	close(g.open)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
	}
	if n := g.asked.Load(); n != 1 {
		t.Fatalf("the service was asked %d times", n)
	}
}

func TestQuestionsAtTheSameTimeAreBounded(t *testing.T) {
	g := newGate()
	const concurrency, tokens = 3, 40
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), Concurrency: concurrency})
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() {
			if _, err := c.Verify(t.Context(), fmt.Sprint("token", i)); err != nil {
				t.Errorf("token %d: %v", i, err)
			}
		})
	}
	until(t, "the first questions", func() bool { return g.now.Load() == concurrency })
	close(g.open)
	wg.Wait()
	if most := g.most.Load(); most != concurrency {
		t.Fatalf("%d questions at the same time, want %d", most, concurrency)
	}
	if n := g.asked.Load(); n != tokens {
		t.Fatalf("%d questions, want %d", n, tokens)
	}
}

func TestWhoGetsNoTurnInTimeIsRefusedAsUnavailable(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), Concurrency: 1, Timeout: short})
	// Both the one that holds the turn and those that wait for it are refused.
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			_, err := c.Verify(t.Context(), fmt.Sprint("token", i))
			if domain.CodeOf(err) != domain.CodeUnavailable {
				t.Errorf("token %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	close(g.open)
}

func TestWhenTooManyWaitFurtherOnesAreRefusedAtOnce(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), Concurrency: 1})
	if !c.pending.TryAcquire(maxWaiting) {
		t.Fatal("someone waits")
	}
	held := make(chan error, 1)
	go func() {
		_, err := c.Verify(t.Context(), "first")
		held <- err
	}()
	until(t, "the question", func() bool { return g.asked.Load() == 1 })
	_, err := c.Verify(t.Context(), "second")
	mustFail(t, err, domain.CodeUnavailable)
	close(g.open)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(t.Context(), "second"); err != nil {
		t.Fatalf("after the others: %v", err)
	}
}

func TestSlowFriendsHoldUpNoVerification(t *testing.T) {
	friends := newGate()
	c := newClient(t, Options{Concurrency: 1, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "friends") {
			friends.ServeHTTP(w, r)
			return
		}
		io.WriteString(w, `{"id":201}`)
	})})
	listed := make(chan error, 1)
	go func() {
		_, err := c.Friends(t.Context(), 201)
		listed <- err
	}()
	until(t, "the question for friends", func() bool { return friends.asked.Load() == 1 })
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatal(err)
	}
	close(friends.open)
	if err := <-listed; err != nil {
		t.Fatal(err)
	}
}

func TestABadAnswerIsNotRemembered(t *testing.T) {
	g := newGate()
	close(g.open)
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), CacheFor: time.Hour})
	for _, status := range []int64{401, 500} {
		g.status.Store(status)
		_, err := c.Verify(t.Context(), goodToken)
		mustFail(t, err, domain.CodeUnauthenticated)
	}
	g.status.Store(200)
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatal(err)
	}
	g.status.Store(401)
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatalf("the good answer was forgotten: %v", err)
	}
	if n := g.asked.Load(); n != 3 {
		t.Fatalf("the service was asked %d times, want 3", n)
	}
}

func TestWithoutACacheEveryVerificationAsks(t *testing.T) {
	g := newGate()
	close(g.open)
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP)})
	for asked := int64(1); asked <= 3; asked++ {
		if _, err := c.Verify(t.Context(), goodToken); err != nil {
			t.Fatal(err)
		}
		if n := g.asked.Load(); n != asked {
			t.Fatalf("the service was asked %d times, want %d", n, asked)
		}
	}
}

// bubbleTransport answers inside a bubble, where a real connection would stop its clock.
type bubbleTransport struct {
	asked  int
	status int
}

func (b *bubbleTransport) RoundTrip(*http.Request) (*http.Response, error) {
	b.asked++
	time.Sleep(time.Second)
	return &http.Response{StatusCode: b.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"id":201}`))}, nil
}

func TestAGoodAnswerIsBelievedFromItsQuestionOnAndNotLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, Options{URL: "http://127.0.0.1", CacheFor: 5 * time.Second})
		transport := &bubbleTransport{status: 200}
		c.asker.HTTP.Transport = transport
		verify := func(asked int, code domain.Code) {
			t.Helper()
			_, err := c.Verify(t.Context(), goodToken)
			if domain.CodeOf(err) != code {
				t.Fatalf("%v, want %q", err, code)
			}
			if transport.asked != asked {
				t.Fatalf("the service was asked %d times, want %d", transport.asked, asked)
			}
		}
		verify(1, "")
		transport.status = 401
		time.Sleep(4*time.Second - 1) // the question took one
		verify(1, "")
		time.Sleep(1)
		verify(2, domain.CodeUnauthenticated)
		verify(3, domain.CodeUnauthenticated)
	})
}

func TestRememberedAnswersAreBoundedAndHoldNoToken(t *testing.T) {
	c := newClient(t, Options{URL: serve(t, answer(200, `{"id":201}`)), CacheFor: time.Hour})
	for i := range maxCached + 10 {
		c.verified.Add(tokenHash{byte(i), byte(i >> 8), byte(i >> 16)}, verification{})
	}
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatal(err)
	}
	if n := c.verified.Len(); n != maxCached {
		t.Fatalf("%d answers are remembered", n)
	}
	if kept := fmt.Sprint(c.verified.Keys(), c.verified.Values()); strings.Contains(kept, goodToken) {
		t.Fatal("the token is remembered")
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), Timeout: time.Hour})
	outcomes := make(chan error, 2)
	go func() {
		_, err := c.Verify(context.Background(), goodToken)
		outcomes <- err
	}()
	go func() {
		_, err := c.Friends(context.Background(), 201)
		outcomes <- err
	}()
	until(t, "both questions", func() bool { return g.asked.Load() == 2 })
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.Close()
		c.Close() // again is no error
	}()
	select {
	case <-closed:
	case <-time.After(patient):
		close(g.open) // so that the test can end
		t.Fatal("Close waits for the answers")
	}
	for range 2 {
		mustFail(t, <-outcomes, domain.CodeUnavailable)
	}
	_, err := c.Verify(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnavailable)
	if !errors.Is(err, errClosed) {
		t.Fatalf("verified after Close: %v", err)
	}
	if _, err = c.Friends(t.Context(), 201); !errors.Is(err, errClosed) {
		t.Fatalf("asked for friends after Close: %v", err)
	}
}

func TestCloseLeavesNoConnection(t *testing.T) {
	var open atomic.Int64
	server := httptest.NewUnstartedServer(answer(200, `{"id":201}`))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	c := newClient(t, Options{URL: server.URL})
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection", func() bool { return open.Load() == 1 })
	c.Close()
	until(t, "the end of the connection", func() bool { return open.Load() == 0 })
}
