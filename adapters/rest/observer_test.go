package rest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// answered notes what an Observer is told.
type answered struct {
	mu   sync.Mutex
	told []string
}

func (a *answered) Answered(method, route string, status int, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if took < 0 {
		route += " before it began"
	}
	a.told = append(a.told, fmt.Sprint(strings.Clone(method), " ", route, " ", status))
}

// What a client makes up does not reach the observer.
func TestAnObserverIsToldOfEachRequestByItsRoute(t *testing.T) {
	observer := &answered{}
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) { d.Observer = observer })
	observer.mu.Lock()
	observer.told = nil // how often it was asked whether it serves
	observer.mu.Unlock()
	w.call(t, "GET", friendsPath+"?x=secret", "", asUser1)
	w.call(t, "GET", friendsPath, "")
	w.call(t, "GET", "/made/up", "")
	w.call(t, "POST", "/s2sapi/system-message/", "{", asJSON)
	w.call(t, "GET", "/healthz", "")
	observer.mu.Lock()
	defer observer.mu.Unlock()
	want := []string{
		"GET /api/chatting/friends/ 200", "GET /api/chatting/friends/ 401", "GET  404", "POST /s2sapi/system-message/ 400",
		"GET /healthz 200",
	}
	if !slices.Equal(observer.told, want) {
		t.Errorf("it was told %q, want %q", observer.told, want)
	}
}

func TestRefusalsOfTheAPIAreCounted(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.UserConcurrency = 1 })
	leave, err := w.api.users.askers.enter(1)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if got := w.call(t, "GET", friendsPath, "", asUser1); got.status != 429 {
		t.Errorf("the answer is %d", got.status)
	}
	if got := w.api.Refusals(); got != (Refusals{UserConcurrency: 1}) {
		t.Errorf("the refusals are %+v", got)
	}
}
