package rest

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"chatting/adapters/limits"
	"chatting/domain"
)

// onceIn returns a rate that gives so many at once, and one more in so long.
func onceIn[K comparable](every time.Duration, burst int) *limits.Rate[K] {
	return limits.New[K](1/every.Seconds(), burst, time.Now)
}

func TestTheWritesOfAUserAreBounded(t *testing.T) {
	const burst = 3
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) { d.Writes = onceIn[domain.UserID](time.Hour, burst) })
	for i := range 5 * burst {
		method := []string{"POST", "DELETE"}[i%2]
		got := w.call(t, method, friendsPath, `{"target_id":9}`, asUser1, asJSON)
		if (got.status == 429) != (i >= burst) {
			t.Fatalf("write %d is answered by %d %s", i, got.status, got.body)
		}
		if i < burst {
			continue
		}
		var body struct {
			Code   string
			Status int
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Code != "rate_limited" || body.Status != 429 ||
			got.header.Get("Content-Type") != problemType {
			t.Errorf("the answer is %s %s", got.header.Get("Content-Type"), got.body)
		}
		if after := got.header.Get("Retry-After"); after != "3600" {
			t.Errorf("Retry-After is %q, want an hour", after)
		}
	}
	w.call(t, "GET", friendsPath, "", asUser1).mustBe(t, 200, `[{"id":9}]`)
	if got := w.call(t, "POST", friendsPath, `{"target_id":9}`, "Authorization: Bearer token-2", asJSON); got.status != 201 {
		t.Errorf("another user is answered by %d", got.status)
	}
	logs := w.logs.String()
	if n := strings.Count(logs, "request refused: over the rate of its user"); n < 1 || n > 2 || !strings.Contains(logs, "user=1 address=127.0.0.1") {
		t.Errorf("%d lines:\n%s", n, logs)
	}
}

func TestRefusedTokensOfAnAddressAreBoundedBeforeTheyAreChecked(t *testing.T) {
	const burst = 4
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) { d.Logins = onceIn[netip.Addr](90*time.Second, burst) })
	for range 3 * burst {
		if got := w.call(t, "GET", friendsPath, "", asUser1); got.status != 200 {
			t.Fatalf("a good token counts: %d", got.status)
		}
	}
	good := len(w.tokens)
	for i := range 3 * burst {
		got := w.call(t, "GET", friendsPath, "", "Authorization: Bearer bad")
		if want := map[bool]int{false: 401, true: 429}[i >= burst]; got.status != want {
			t.Errorf("bad token %d is answered by %d, want %d", i, got.status, want)
		}
		if after := got.header.Get("Retry-After"); got.status == 429 && after != "90" {
			t.Errorf("Retry-After is %q", after)
		}
	}
	if checked := len(w.tokens) - good; checked != burst {
		t.Errorf("%d bad tokens were checked, want %d", checked, burst)
	}
}

// An unavailable part makes every request fail; the log has one line a second of it.
func TestFailuresAreLoggedOnceASecond(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
		w.tokensErr = domain.NewError(domain.CodeUnavailable, "Away.")
	})
	began := time.Now()
	for range 200 {
		if got := w.call(t, "GET", friendsPath, "", asUser1); got.status != 503 {
			t.Fatalf("answered by %d", got.status)
		}
	}
	most := 1 + int(time.Since(began)/time.Second)
	if n := strings.Count(w.logs.String(), "level=ERROR"); n < 1 || n > most {
		t.Errorf("%d lines for 200 failures, want 1 to %d", n, most)
	}
}
