package rest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"chatting/application/moderation"
	"chatting/domain"
)

// audience is whom a test announces to.
type audience struct{ said []domain.EventID }

func (a *audience) AppendAnnouncementToAudit(_ domain.Announcement, done func(error)) { done(nil) }
func (a *audience) AppendAnnouncement(_ domain.Announcement, done func(error))        { done(nil) }
func (a *audience) Take() time.Duration                                               { return 0 }

func (a *audience) say(_ context.Context, id domain.EventID, _ domain.SystemMessage) error {
	a.said = append(a.said, id)
	return nil
}

// announces has the world announce to an audience.
func announces(to *audience) func(*world, *Options, *Deps) {
	return func(_ *world, _ *Options, d *Deps) {
		d.Platform.Announce = &moderation.Announce{Log: to, Say: to.say, Rate: to, Now: time.Now, NewID: func() domain.EventID { return domain.EventID{1} }}
	}
}

func TestAnAnnouncementIsTheSameAsLongAsItsKeyIsKeptAndThenAnother(t *testing.T) {
	to := &audience{}
	w := newWorld(t, announces(to))
	announce := func(body string) string {
		t.Helper()
		got := w.call(t, "POST", "/s2sapi/moderation/announcements/", body, "Idempotency-Key: k", asJSON)
		var made struct{ ID string }
		if got.status != 200 || json.Unmarshal([]byte(got.body), &made) != nil || made.ID == "" {
			t.Fatalf("%s: %d %s", body, got.status, got.body)
		}
		return made.ID
	}
	for _, to := range []string{`"to":"online"`, `"user_ids":[7]`} {
		body := `{"message":"noon","actor":"alice",` + to + `}`
		first := announce(body)
		clear(w.keys) // it was not known whether it was done
		if again := announce(body); again != first {
			t.Errorf("%s: the repetition is %s, the first was %s", to, again, first)
		}
		clear(w.keys)
		w.since = w.since.Add(24 * time.Hour)
		if later := announce(body); later == first {
			t.Errorf("%s: a day later it is still %s", to, later)
		}
		clear(w.keys)
	}
	if len(to.said) != 3 || to.said[0] != to.said[1] || to.said[1] == to.said[2] {
		t.Errorf("the user of the list got %v", to.said)
	}
}

func TestAnAnnouncementMayNameItsUsersInAnyOrder(t *testing.T) {
	w := newWorld(t, announces(&audience{}))
	said := func(body string) reply {
		return w.call(t, "POST", "/s2sapi/moderation/announcements/", body, "Idempotency-Key: k", asJSON)
	}
	first := said(`{"message":"noon","actor":"alice","user_ids":[7,9]}`)
	said(`{"user_ids":["9",7,9],"message":"noon","actor":" alice "}`).mustBe(t, 200, first.body)
	if got := said(`{"message":"noon","actor":"alice","user_ids":[7]}`); got.status != 422 {
		t.Errorf("to other users: %d %s", got.status, got.body)
	}
}
