package usermanagement

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
)

func TestARecheckTellsARefusalFromAFault(t *testing.T) {
	for name, c := range map[string]struct {
		service http.HandlerFunc
		want    domain.Code
	}{
		"good":              {answer(200, `{"id":201}`), ""},
		"401":               {answer(401, `{"detail":"no"}`), domain.CodeUnauthenticated},
		"403":               {answer(403, ``), domain.CodeUnauthenticated},
		"200 of nobody":     {answer(200, `{"id":null}`), domain.CodeUnauthenticated},
		"404":               {answer(404, `not here`), domain.CodeUnavailable},
		"429":               {answer(429, ``), domain.CodeUnavailable},
		"500":               {answer(500, `{"id":201}`), domain.CodeUnavailable},
		"502 of a balancer": {answer(502, `<html>`), domain.CodeUnavailable},
		"a redirect":        {answer(302, ``), domain.CodeUnavailable},
		"endless":           {endless, domain.CodeUnavailable},
		"no answer":         {drop, domain.CodeUnavailable},
		"half an answer":    {stall, domain.CodeUnavailable},
		"silence":           {hang, domain.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{URL: serve(t, c.service)}
			if c.want == domain.CodeUnavailable {
				o.Timeout = short
			}
			identity, err := newClient(t, o).Recheck(t.Context(), goodToken)
			if c.want == "" {
				if err != nil || identity.User != 201 {
					t.Fatalf("%v, %v", identity, err)
				}
				return
			}
			mustFail(t, err, c.want)
		})
	}
	c := newClient(t, Options{URL: nobody(t)})
	_, err := c.Recheck(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnavailable)
	_, err = c.Recheck(t.Context(), "no token")
	mustFail(t, err, domain.CodeUnauthenticated)
}

func TestARecheckAsksWhateverIsRemembered(t *testing.T) {
	var status, asked atomic.Int64
	status.Store(200)
	c := newClient(t, Options{CacheFor: time.Hour, URL: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, `{"id":201}`)
	})})
	for range 3 {
		if _, err := c.Recheck(t.Context(), goodToken); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Fatalf("asked %d times, want 3", n)
	}
	// Its answers are remembered for others.
	if _, err := c.Verify(t.Context(), goodToken); err != nil || asked.Load() != 3 {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	// A fault changes nothing of that; a refusal is forgotten by nobody.
	status.Store(503)
	_, err := c.Recheck(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnavailable)
	if _, err := c.Verify(t.Context(), goodToken); err != nil {
		t.Fatal(err)
	}
	status.Store(401)
	_, err = c.Recheck(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnauthenticated)
	_, err = c.Verify(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnauthenticated)
}

func TestRechecksTakeNoTurnOfLogins(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP), Concurrency: 1})
	held := make(chan error, 1)
	go func() {
		_, err := c.Recheck(t.Context(), "rechecked")
		held <- err
	}()
	until(t, "the recheck", func() bool { return g.now.Load() == 1 })
	login := make(chan error, 1)
	go func() {
		_, err := c.Verify(t.Context(), "login")
		login <- err
	}()
	until(t, "the login's question", func() bool { return g.now.Load() == 2 })
	close(g.open)
	for _, outcome := range []chan error{held, login} {
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseAndTheCallerEndARecheck(t *testing.T) {
	g := newGate()
	c := newClient(t, Options{URL: serve(t, g.ServeHTTP)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	recheck := func(ctx context.Context) {
		_, err := c.Recheck(ctx, goodToken)
		ended <- err
	}
	go recheck(ctx)
	until(t, "the first recheck", func() bool { return g.asked.Load() == 1 })
	cancel()
	mustFail(t, <-ended, domain.CodeUnavailable)
	go recheck(t.Context())
	until(t, "the second recheck", func() bool { return g.asked.Load() == 2 })
	c.Close()
	mustFail(t, <-ended, domain.CodeUnavailable)
	_, err := c.Recheck(t.Context(), goodToken)
	mustFail(t, err, domain.CodeUnavailable)
}

func TestTheReasonOfARefusalIsForTheLog(t *testing.T) {
	c := newClient(t, Options{URL: serve(t, answer(401, ""))})
	for token, want := range map[string]application.RefusalReason{
		goodToken: application.RefusedByService, "no token": application.RefusedMalformed,
	} {
		_, err := c.Verify(t.Context(), token)
		var refused *application.RefusedToken
		if !errors.As(err, &refused) || refused.Reason != want || refused.User != 0 {
			t.Errorf("%v, want the reason %q", err, want)
		}
	}
}
