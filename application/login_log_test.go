package application_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
	"chatting/test/porttest"
)

// loginLog runs a log of logins at a level until the test ends.
func loginLog(t *testing.T, level slog.Level) (*application.LoginLog, *porttest.Output, context.CancelFunc) {
	out := &porttest.Output{}
	l := application.NewLoginLog(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})))
	ctx, cancel := context.WithCancel(t.Context())
	go l.Run(ctx)
	return l, out, cancel
}

func TestEachLoginIsALineAtDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out, _ := loginLog(t, slog.LevelDebug)
		who := application.Visitor{User: 7, Address: "10.0.0.1", Connection: 12}
		l.LoggedIn(who)
		if got := out.Take(); !strings.Contains(got, "level=DEBUG msg=login user=7 address=10.0.0.1 connection=12\n") {
			t.Error(got)
		}
		l.LoggedOut(who, "silent for too long")
		if got := out.Take(); !strings.Contains(got, `level=DEBUG msg=logout user=7 address=10.0.0.1 connection=12 reason="silent for too long"`) {
			t.Error(got)
		}
		l.Refused(application.Visitor{Address: "10.0.0.1", Connection: 13}, "expired")
		if got := out.Take(); !strings.Contains(got, `level=DEBUG msg="login refused" address=10.0.0.1 connection=13 reason=expired`) {
			t.Error(got)
		}
	})
}

func TestLoginsAreCountedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out, cancel := loginLog(t, slog.LevelInfo)
		for range 3 {
			l.LoggedIn(application.Visitor{User: 7})
		}
		l.LoggedOut(application.Visitor{User: 7}, "closed by the client")
		l.Refused(application.Visitor{}, "expired")
		l.Refused(application.Visitor{}, "expired")
		if got := out.Take(); got != "" {
			t.Errorf("before the minute is over: %s", got)
		}
		time.Sleep(time.Minute + time.Second)
		got := out.Take()
		if !strings.Contains(got, "logins=3 logouts=1 refused=2 refused_because=map[expired:2]\n") || strings.Count(got, "\n") != 1 {
			t.Errorf("after a minute: %s", got)
		}
		time.Sleep(10 * time.Minute)
		if got := out.Take(); got != "" {
			t.Errorf("although nothing happened: %s", got)
		}
		l.LoggedIn(application.Visitor{User: 7})
		cancel()
		synctest.Wait()
		if got := out.Take(); !strings.Contains(got, "logins=1 logouts=0 refused=0\n") {
			t.Errorf("at the end: %s", got)
		}
	})
}

func TestWhyALoginWasRefused(t *testing.T) {
	for want, err := range map[string]error{
		"expired":     &application.LoginError{Err: application.RefuseToken("The token has expired.", application.RefusedExpired, 7)},
		"unavailable": domain.NewError(domain.CodeUnavailable, "The database is not available."),
	} {
		if got := application.WhyRefused(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
