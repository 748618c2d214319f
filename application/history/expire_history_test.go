package history_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

// agedHistory is a history, its clock, and the database's and the log's time.
type agedHistory struct {
	mu            sync.Mutex
	database, log func() time.Time
	clock         domain.TrustedClock
	said          []time.Time
	err           error
}

func (h *agedHistory) AdvanceClock(_ context.Context, log time.Time) (domain.TrustedClock, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return domain.TrustedClock{}, h.err
	}
	told := h.database()
	if log.Before(told) {
		told = log
	}
	h.clock = h.clock.Next(told)
	return h.clock, nil
}

func (h *agedHistory) Expire(_ context.Context, before time.Time, limit int) (expired int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var kept []time.Time
	for _, at := range h.said {
		if expired < limit && at.Before(before) {
			expired++
		} else {
			kept = append(kept, at)
		}
	}
	h.said = kept
	return expired, nil
}

func (h *agedHistory) logTime() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log()
}

// left returns how many messages are left.
func (h *agedHistory) left() int {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.said)
}

func (h *agedHistory) set(change func(*agedHistory)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// expiring runs the expiry of a history of 90 days, of which each day has a message, until the test ends.
func expiring(t *testing.T) (*agedHistory, *porttest.Output) {
	h := &agedHistory{database: time.Now, log: time.Now}
	for age := range 90 {
		h.said = append(h.said, time.Now().Add(-time.Duration(age)*24*time.Hour))
	}
	out := &porttest.Output{}
	expire := &history.ExpireHistory{
		Store: h, Clock: h, LogTime: h.logTime, Retention: 90 * 24 * time.Hour, Every: time.Minute,
		Logger: slog.New(slog.NewTextHandler(out, nil)),
	}
	go expire.Run(t.Context())
	synctest.Wait()
	return h, out
}

func ahead(by time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(by) } }

func TestTheHistoryIsDeletedAsItGrowsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := expiring(t)
		time.Sleep(10*24*time.Hour + 2*time.Minute)
		if n := h.left(); n != 80 {
			t.Errorf("%d messages are left of the 80 that are younger than 90 days", n)
		}
	})
}

func TestAClockThatLeapsDeletesNothing(t *testing.T) {
	const leap = 100 * 24 * time.Hour
	bothAhead := func(h *agedHistory) { h.database, h.log = ahead(leap), ahead(leap) }
	for name, c := range map[string]struct {
		set, then func(*agedHistory)
		says      bool
	}{
		"both ahead":           {set: bothAhead, says: true},
		"the database's ahead": {set: func(h *agedHistory) { h.database = ahead(leap) }},
		"the log's ahead":      {set: func(h *agedHistory) { h.log = ahead(leap) }},
		"both in 1970": {set: func(h *agedHistory) {
			h.database, h.log = ahead(-30*365*24*time.Hour), ahead(-30*365*24*time.Hour)
		}, says: true},
		"the log is not read": {set: func(h *agedHistory) {
			h.database = ahead(leap)
			h.log = func() time.Time { return time.Time{} }
		}},
		"the database is away":   {set: func(h *agedHistory) { h.err = porttest.ErrRefused }},
		"ahead, and then behind": {set: bothAhead, then: func(h *agedHistory) { h.database = ahead(-leap) }, says: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, out := expiring(t)
				time.Sleep(90 * time.Second)
				h.set(c.set)
				time.Sleep(90 * time.Second)
				if c.then != nil {
					h.set(c.then)
				}
				time.Sleep(90 * time.Second)
				if n := h.left(); n != 90 {
					t.Errorf("%d messages of 90 are left", n)
				}
				if lines := strings.Count(out.Take(), "the clock leapt"); lines != map[bool]int{true: 1}[c.says] {
					t.Errorf("the log says %d times that the clock leapt", lines)
				}
				h.set(func(h *agedHistory) { h.database, h.log, h.err = time.Now, time.Now, nil })
				time.Sleep(24*time.Hour + 2*time.Minute)
				if n := h.left(); n != 89 {
					t.Errorf("a day after the clock is right again %d messages are left, want 89", n)
				}
			})
		})
	}
}

func TestTheLogsTimeIsThatOfTheNodeWhoseClockIsTheFurthestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := porttest.OneNode(t)
		begin := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		if at := n.Presence.LogTime(); at.Sub(begin) != time.Minute {
			t.Fatalf("the log has come to %s", at.Sub(begin))
		}
		beat := func(by time.Duration) {
			n.Presence.Apply(0, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: porttest.Incarnation(9, 9), Count: 1}, time.Now().Add(by))
		}
		beat(100 * 24 * time.Hour)
		if at := n.Presence.LogTime(); at.Sub(begin) != time.Minute {
			t.Errorf("with a node ahead the log has come to %s", at.Sub(begin))
		}
		beat(-time.Hour)
		if at := n.Presence.LogTime(); at.Sub(begin) != time.Minute-time.Hour {
			t.Errorf("with a node behind the log has come to %s", at.Sub(begin))
		}
		time.Sleep(time.Minute) // it is buried
		synctest.Wait()
		if at := n.Presence.LogTime(); at.Sub(begin) != 2*time.Minute {
			t.Errorf("after that node's burial the log has come to %s", at.Sub(begin))
		}
	})
}
