package texthook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/domain"
)

// held is a hook that answers each question when it is told to.
type held struct {
	came   chan struct{} // one for each question
	answer chan struct{}
}

func newHeld() held { return held{came: make(chan struct{}, 100), answer: make(chan struct{})} }

func (h held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // else net/http does not notice that the client has gone
	h.came <- struct{}{}
	select {
	case <-h.answer:
		answer(pass)(w, r)
	case <-r.Context().Done():
	}
}

func TestNoMoreQuestionsAreAskedAtATimeThanAllowed(t *testing.T) {
	const turns, questions = 3, 20
	var now, most atomic.Int64
	hook := newHeld()
	c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		for n := now.Add(1); ; {
			if was := most.Load(); n <= was || most.CompareAndSwap(was, n) {
				break
			}
		}
		hook.ServeHTTP(w, r)
		now.Add(-1)
	}, Options{Concurrency: turns})
	var asking sync.WaitGroup
	for range questions {
		asking.Go(func() {
			if _, err := c.Ask(t.Context(), said(secretText, "")); err != nil {
				t.Error(err)
			}
		})
	}
	for range turns {
		<-hook.came
	}
	if c.turns.TryAcquire(1) {
		t.Error("a turn is left")
	}
	close(hook.answer)
	asking.Wait()
	if most.Load() > turns {
		t.Errorf("%d questions were asked at a time", most.Load())
	}
}

func TestWhoGetsNoTurnGetsNoAnswer(t *testing.T) {
	hook := newHeld()
	c, _ := newClient(t, hook.ServeHTTP, Options{Concurrency: 1})
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := c.Ask(t.Context(), said(secretText, "")); err != nil {
			t.Error(err)
		}
	})
	<-hook.came
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ask(ended, said(secretText, "")); !errors.Is(err, errNoTurn) || domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	close(hook.answer)
	asking.Wait()
}

// The hook holds up one user's text, and another user's passes.
func TestASlowAnswerHoldsUpNobodyElse(t *testing.T) {
	hook := newHeld()
	c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "slow") {
			hook.ServeHTTP(w, r)
			return
		}
		answer(pass)(w, r)
	}, Options{Concurrency: 2})
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := c.Ask(t.Context(), said("slow", "")); err != nil {
			t.Error(err)
		}
	})
	<-hook.came
	for range 10 {
		if _, err := c.Ask(t.Context(), said("fast", "")); err != nil {
			t.Error(err)
		}
	}
	close(hook.answer)
	asking.Wait()
}

func TestAHookThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	var asked atomic.Int64
	c, log := newClient(t, func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(500) }, Options{Pause: time.Hour})
	for range 3 * failuresUntilPause {
		if _, err := c.Ask(t.Context(), said(secretText, "")); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Fatalf("got %v", err)
		}
	}
	if asked.Load() != failuresUntilPause {
		t.Errorf("the hook was asked %d times", asked.Load())
	}
	if !log.has("the text hook does not answer: it is not asked for a while") {
		t.Error("the log does not say so")
	}
}

func TestAHookThatAnswersAgainIsAskedAgain(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	c, log := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(500)
			return
		}
		answer(pass)(w, r)
	}, Options{Pause: time.Nanosecond})
	for range 2 * failuresUntilPause {
		if _, err := c.Ask(t.Context(), said(secretText, "")); err == nil {
			t.Fatal("a broken hook has answered")
		}
	}
	broken.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for { // until the pause is over
		if _, err := c.Ask(ctx, said(secretText, "")); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the hook is not asked again")
		}
	}
	if !log.has("the text hook answers again") {
		t.Error("the log does not say so")
	}
}

// Connections that close say nothing of the hook.
func TestQuestionsThatAreGivenUpDoNotCountAgainstTheHook(t *testing.T) {
	hook := newHeld()
	c, _ := newClient(t, hook.ServeHTTP, Options{Pause: time.Hour})
	for range 2 * failuresUntilPause {
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := c.Ask(ctx, said(secretText, "")); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		<-hook.came
		cancel()
		asking.Wait()
	}
	close(hook.answer)
	if _, err := c.Ask(t.Context(), said(secretText, "")); err != nil {
		t.Error(err)
	}
}

func TestWhatWasLetPassIsNotAskedAgain(t *testing.T) {
	for name, row := range map[string]struct {
		body   string
		second string // the text that is sent under the same name
		name   domain.ClientMessageID
		asked  int64
	}{
		"passed":                  {body: pass, name: "m1", second: secretText, asked: 1},
		"rewritten":               {body: `{"action":"rewrite","text":"other"}`, name: "m1", second: secretText, asked: 1},
		"rewritten to nothing":    {body: `{"action":"rewrite","text":""}`, name: "m1", second: secretText, asked: 1},
		"rewritten at length":     {body: `{"action":"rewrite","text":"` + strings.Repeat("x", maxGivenText+1) + `"}`, name: "m1", second: secretText, asked: 2},
		"another text":            {body: pass, name: "m1", second: "something else", asked: 2},
		"refused":                 {body: `{"action":"refuse"}`, name: "m1", second: secretText, asked: 2},
		"a message without name":  {body: pass, second: secretText, asked: 2},
		"an answer that was none": {body: `{}`, name: "m1", second: secretText, asked: 2},
	} {
		var asked atomic.Int64
		c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); answer(row.body)(w, r) }, Options{})
		first, errFirst := c.Ask(t.Context(), said(secretText, row.name))
		again, errAgain := c.Ask(t.Context(), said(row.second, row.name))
		if asked.Load() != row.asked || domain.CodeOf(errFirst) != domain.CodeOf(errAgain) {
			t.Errorf("%s: asked %d times, %v, %v", name, asked.Load(), errFirst, errAgain)
		}
		if row.second == secretText && first != again {
			t.Errorf("%s: %q came out as %q", name, first, again)
		}
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	hook := newHeld()
	c, _ := newClient(t, hook.ServeHTTP, Options{Concurrency: 1})
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := c.Ask(t.Context(), said(secretText, "")); domain.CodeOf(err) != domain.CodeUnavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	<-hook.came
	c.Close()
	asking.Wait()
	if _, err := c.Ask(t.Context(), said(secretText, "")); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(answer(pass))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c, err := New(Options{URL: server.URL, Timeout: patient, Concurrency: 4, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		if _, err := c.Ask(t.Context(), said(secretText, "")); err != nil {
			t.Fatal(err)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("20 questions took %d connections", connections.Load())
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{pass, `{"action":"refuse","reason":"no"}`, `{"action":"rewrite","text":"x\ud83d\ude00"}`, `{"action":"rewrite","text":"\ud83d"}`, ``, `[`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseAnswer(data)
		if err != nil {
			return
		}
		if got.refused && (got.reason == "" || len(got.reason) > max(maxReasonBytes, len(defaultReason)) || strings.ContainsAny(got.reason, "\x00\n\x1b")) {
			t.Errorf("the reason is %q", got.reason)
		}
		if _, err := domain.NewText(got.text.String()); err != nil || got.refused && got.rewritten {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
