package application

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"chatting/application/notice"
	"chatting/domain"
)

// recheckedTokens is a TokenRechecks that is away for some tokens, and refuses others.
type recheckedTokens struct {
	away  map[string]bool
	order []string
}

func (r *recheckedTokens) Recheck(_ context.Context, token string) (Identity, error) {
	r.order = append(r.order, token)
	if r.away[token] {
		return Identity{}, domain.NewError(domain.CodeUnavailable, "away: "+token)
	}
	return Identity{User: 1}, nil
}

func TestTheTokensThatHaveWaitedLongestAreCheckedFirst(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tokens := &recheckedTokens{}
	r := &RecheckTokens{
		Tokens: tokens, Every: time.Hour, AtATime: 1, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		tokens: make(map[string]*openToken),
	}
	var want []string
	for n := range 50 {
		token := fmt.Sprint("token", n)
		r.tokens[token] = &openToken{due: now.Add(time.Duration(n-49) * time.Second), holders: []*heldToken{{user: 1}}}
		want = append(want, token)
	}
	r.tokens["later"] = &openToken{due: now.Add(1), holders: []*heldToken{{user: 1}}}
	if r.round(t.Context()); !slices.Equal(tokens.order, want) {
		t.Errorf("they were checked in the order %v", tokens.order)
	}
}

func TestATokenThatNobodyCouldVerifyIsTriedAgainSoon(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for every, within := range map[time.Duration]time.Duration{time.Hour: time.Minute, 10 * time.Second: 10 * time.Second} {
		r := &RecheckTokens{
			Tokens: &recheckedTokens{away: map[string]bool{"t": true}}, Every: every, Now: func() time.Time { return now },
			Logger: slog.New(slog.DiscardHandler),
		}
		h := r.hold("t", 1, nil)
		for range 20 { // the times are by chance
			r.tokens["t"].due = now
			r.round(t.Context())
			if left := r.tokens["t"].due.Sub(now); left <= 0 || left > within {
				t.Errorf("checked every %v, it is tried again after %v", every, left)
			}
		}
		h.release()
		if r.postpone("t"); len(r.tokens) != 0 {
			t.Error("a token of nobody is tried again")
		}
	}
}

func TestTheNextCheckIsInTheSecondHalfOfTheTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &RecheckTokens{Every: time.Minute, Now: func() time.Time { return now }}
	if scan := r.scan(); scan != time.Second {
		t.Errorf("tokens are looked for every %v, want each second", scan)
	}
	if scan := (&RecheckTokens{Every: 10 * time.Second}).scan(); scan != 500*time.Millisecond {
		t.Errorf("tokens are looked for every %v, want twice a second", scan)
	}
	earliest, latest := time.Hour, time.Duration(0)
	for range 2000 {
		left := r.next(time.Minute).Sub(now)
		earliest, latest = min(earliest, left), max(latest, left)
	}
	if earliest < 29*time.Second || latest > 59*time.Second || latest-earliest < 20*time.Second {
		t.Errorf("the next check is after %v to %v, want the second half of the minute less a scan", earliest, latest)
	}
}

func TestAnOutageOfWhoeverVerifiesIsLoggedOnceWithItsCauseAndItsEnd(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var log bytes.Buffer
	tokens := &recheckedTokens{away: map[string]bool{}}
	r := &RecheckTokens{
		Tokens: tokens, Every: time.Minute, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	for _, token := range []string{"a", "b", "c"} {
		r.hold(token, 1, nil)
	}
	round := func(what string, warnings, infos int) {
		t.Helper()
		for _, open := range r.tokens {
			open.due = now
		}
		r.round(t.Context())
		if w, i := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); w != warnings || i != infos {
			t.Errorf("%s: %d warnings and %d times its end, want %d and %d: %s", what, w, i, warnings, infos, &log)
		}
	}
	round("all is well", 0, 0)
	tokens.away["b"], tokens.away["c"] = true, true
	round("an outage", 1, 0)
	if !strings.Contains(log.String(), "tokens=2") || !strings.Contains(log.String(), "away: ") {
		t.Errorf("the log says %s", &log)
	}
	round("it goes on", 1, 0)
	clear(tokens.away)
	round("its end", 1, 1)
	round("all is well again", 1, 1)
}

func TestARefusalIsLoggedWithWhatIsKnownOfIt(t *testing.T) {
	for what, test := range map[string]struct {
		ctx  context.Context
		user domain.UserID
		want string
	}{
		"nothing":          {t.Context(), 0, "count=1"},
		"no address":       {WithClientAddress(t.Context(), ""), 7, "user=7 count=1"},
		"user and address": {WithClientAddress(t.Context(), "192.0.2.1"), 7, "user=7 address=192.0.2.1 count=1"},
	} {
		var log bytes.Buffer
		notices := notice.NewLog(slog.New(slog.NewTextHandler(&log, nil)), time.Now)
		noteRefusal(test.ctx, notices, RefuseToken("no", RefusedExpired, test.user))
		if got := log.String(); !strings.Contains(got, "\"token refused: expired\" "+test.want) {
			t.Errorf("%s: %s", what, got)
		}
		log.Reset()
		if noteRefusal(test.ctx, notices, errors.New("another error")); log.Len() != 0 {
			t.Errorf("%s: %s", what, &log)
		}
	}
}
