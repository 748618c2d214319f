package moderation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/porttest"
)

// announced is where a test announces to.
type announced struct {
	wait time.Duration // until something may be announced again
	// What the calls fail with.
	failAudit, failAppend error
	failSay               map[domain.UserID]error

	mu   sync.Mutex
	told []string // what was done, in order
}

func (a *announced) note(format string, arguments ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, fmt.Sprintf(format, arguments...))
}

func (a *announced) AppendAnnouncementToAudit(made domain.Announcement, done func(error)) {
	a.note("audit %s by %s", made.Text, made.Actor)
	done(a.failAudit)
}

func (a *announced) AppendAnnouncement(made domain.Announcement, done func(error)) {
	a.note("all %s", made.Text)
	done(a.failAppend)
}

func (a *announced) Take() time.Duration { return a.wait }

func (a *announced) say(_ context.Context, id domain.EventID, message domain.SystemMessage) error {
	a.note("%d %s %s", message.To, message.Text, id)
	return a.failSay[message.To]
}

func newAnnounce() (*announced, *moderation.Announce) {
	a := &announced{failSay: make(map[domain.UserID]error)}
	next := byte(0)
	return a, &moderation.Announce{Log: a, Say: a.say, Rate: a, Now: time.Now, NewID: func() domain.EventID {
		next++
		return domain.EventID{next}
	}}
}

func TestWhatIsForAllWhoAreOnlineIsOneRecordBehindTheAudit(t *testing.T) {
	a, use := newAnnounce()
	made, offline, err := use.Execute(t.Context(), moderation.AnnounceCommand{Text: "noon", Online: true, Actor: "alice"})
	if err != nil || len(offline) != 0 || made.ID != (domain.EventID{1}) {
		t.Fatalf("%+v, %v, %v", made, offline, err)
	}
	if want := []string{"audit noon by alice", "all noon"}; !slices.Equal(a.told, want) {
		t.Errorf("done was %q, want %q", a.told, want)
	}
}

func TestWhatIsForAListIsAMessageToEachAndTellsWhoIsOffline(t *testing.T) {
	a, use := newAnnounce()
	a.failSay[8], a.failSay[7] = domain.NewError(domain.CodeNoUserOrOffline, "off"), domain.NewError(domain.CodeNoUserOrOffline, "off")
	command := moderation.AnnounceCommand{ID: domain.EventID{9}, Text: "noon", Users: []domain.UserID{9, 8, 7, 9}, Actor: "alice"}
	_, offline, err := use.Execute(t.Context(), command)
	if err != nil || !slices.Equal(offline, []domain.UserID{7, 8}) {
		t.Fatalf("offline are %v, %v", offline, err)
	}
	if len(a.told) != 4 || !strings.HasPrefix(a.told[0], "audit") {
		t.Errorf("done was %q", a.told)
	}
	first := slices.Sorted(slices.Values(a.told))
	a.told = nil
	if _, _, err := use.Execute(t.Context(), command); err != nil {
		t.Fatal(err)
	}
	if again := slices.Sorted(slices.Values(a.told)); !slices.Equal(again, first) {
		t.Errorf("the second time %q was done, first %q", again, first)
	}
}

func TestNothingIsAnnouncedThatTheAuditDoesNotHave(t *testing.T) {
	for name, spoil := range map[string]func(*announced, *moderation.AnnounceCommand) domain.Code{
		"the audit is away": func(a *announced, _ *moderation.AnnounceCommand) domain.Code {
			a.failAudit = porttest.ErrRefused
			return domain.CodeUnavailable
		},
		"too many": func(a *announced, _ *moderation.AnnounceCommand) domain.Code {
			a.wait = time.Second
			return domain.CodeRateLimited
		},
		"nobody acts": func(_ *announced, c *moderation.AnnounceCommand) domain.Code {
			c.Actor = ""
			return domain.CodeBadAct
		},
	} {
		a, use := newAnnounce()
		command := moderation.AnnounceCommand{Text: "noon", Online: true, Actor: "alice"}
		want := spoil(a, &command)
		if _, _, err := use.Execute(t.Context(), command); domain.CodeOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if slices.Contains(a.told, "all noon") {
			t.Errorf("%s: it was announced", name)
		}
	}
}

func TestAnAnnouncementThatFailsHalfWaySaysSo(t *testing.T) {
	a, use := newAnnounce()
	a.failAppend = porttest.ErrUnconfirmed
	if _, _, err := use.Execute(t.Context(), moderation.AnnounceCommand{Text: "noon", Online: true, Actor: "alice"}); !errors.Is(err, a.failAppend) {
		t.Errorf("to all: %v", err)
	}
	a.failSay[7] = porttest.ErrRefused
	if _, _, err := use.Execute(t.Context(), moderation.AnnounceCommand{Text: "noon", Users: []domain.UserID{7}, Actor: "alice"}); !errors.Is(err, porttest.ErrRefused) {
		t.Errorf("to a list: %v", err)
	}
}

// seen is a moderation.Observer.
type seen []string

func (s *seen) CarriedOut(what string) { *s = append(*s, what) }

func TestWhatThePlatformDidIsCountedOnceItIsDone(t *testing.T) {
	var told seen
	_, acts := newActs()
	acts.Observer = &told
	if _, err := acts.Execute(t.Context(), moderation.Command{User: 201, Kind: domain.ActMute, Actor: "alice"}); err != nil {
		t.Fatal(err)
	}
	a, announce := newAnnounce()
	announce.Observer = &told
	command := moderation.AnnounceCommand{Text: "noon", Online: true, Actor: "alice"}
	if _, _, err := announce.Execute(t.Context(), command); err != nil {
		t.Fatal(err)
	}
	d, look := newActivity(t)
	look.Observer = &told
	for _, texts := range []bool{true, false} {
		if _, err := look.Execute(t.Context(), moderation.ActivityQuery{User: 201, Limit: 1, Texts: texts, Actor: "alice", Reason: "why"}); err != nil {
			t.Fatal(err)
		}
	}
	a.failAudit, d.failAudit = porttest.ErrRefused, porttest.ErrRefused
	_, _, _ = announce.Execute(t.Context(), command)
	_, _ = look.Execute(t.Context(), moderation.ActivityQuery{User: 201, Limit: 1, Texts: true, Actor: "alice", Reason: "why"})
	if want := (seen{"mute", moderation.Announced, moderation.TextsRead}); !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}
