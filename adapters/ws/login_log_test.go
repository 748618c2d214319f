package ws

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// logged waits for one line of the log of logins, and returns it without what is the same in all.
func (f *fixture) logged(t *testing.T, logins *logBuffer, n int) []string {
	t.Helper()
	var lines []string
	eventually(t, "lines about logins", func() bool {
		lines = strings.Split(strings.TrimSpace(logins.text()), "\n")
		return logins.text() != "" && len(lines) >= n
	})
	for i, line := range lines {
		lines[i] = regexp.MustCompile(`time=\S+ level=DEBUG `).ReplaceAllString(line, "")
	}
	return lines
}

func TestTheLogTellsWhoCameAndWhyWhoLeft(t *testing.T) {
	refuse := func(err error) func(*chat) {
		return func(c *chat) { c.logIn = func(context.Context, string) error { return err } }
	}
	login := `msg=login user=7 address=127.0.0.1 connection=1`
	logout := `msg=logout user=7 address=127.0.0.1 connection=1 reason=`
	refused := `msg="login refused" address=127.0.0.1 connection=1 reason=`
	for name, c := range map[string]struct {
		options Options
		prepare func(*chat)
		do      func(*testing.T, *fixture)
		want    []string
	}{
		"the client closes": {do: func(t *testing.T, f *fixture) {
			c := f.login(t, 7)
			_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
			c.closed()
		}, want: []string{login, logout + `"closed by the client"`}},
		"the connection is lost": {do: func(t *testing.T, f *fixture) {
			_ = f.login(t, 7).NetConn().Close()
		}, want: []string{login, logout + `"connection lost"`}},
		"the token expires": {do: func(t *testing.T, f *fixture) {
			c := f.login(t, 7)
			f.chat.connectionOf(t, 7).TokenExpires(time.Now())
			c.closed()
		}, want: []string{login, logout + `"its token expired"`}},
		"the application closes": {do: func(t *testing.T, f *fixture) {
			c := f.login(t, 7)
			f.chat.connectionOf(t, 7).Close(port.CloseErased)
			c.closed()
		}, want: []string{login, logout + `erased`}},
		"a binary message": {do: func(t *testing.T, f *fixture) {
			c := f.login(t, 7)
			_ = c.WriteMessage(websocket.BinaryMessage, []byte("x"))
			c.closed()
		}, want: []string{login, logout + `"binary message"`}},
		"a token that is refused": {
			prepare: refuse(application.RefuseToken("The token has expired.", application.RefusedExpired, 0)),
			do: func(t *testing.T, f *fixture) {
				c := f.dial(t)
				c.send(`{"token":"secret-marker"}`)
				c.closed()
			}, want: []string{refused + "expired"},
		},
		"a part that is away": {
			prepare: refuse(&application.LoginError{User: 9, Err: domain.NewError(domain.CodeUnavailable, "away")}),
			do: func(t *testing.T, f *fixture) {
				c := f.dial(t)
				c.send(`{"token":"secret-marker"}`)
				c.closed()
			}, want: []string{`msg="login refused" user=9 address=127.0.0.1 connection=1 reason=unavailable`},
		},
		"no token": {do: func(t *testing.T, f *fixture) {
			c := f.dial(t)
			c.send(`{}`)
			c.closed()
		}, want: []string{refused + `"no token in the first frame"`}},
		"a binary message first": {do: func(t *testing.T, f *fixture) {
			c := f.dial(t)
			_ = c.WriteMessage(websocket.BinaryMessage, []byte("x"))
			c.closed()
		}, want: []string{refused + `"no token in the first frame"`}},
		"an origin that is not allowed": {do: func(t *testing.T, f *fixture) {
			if got := statusOfRequest(t, f, upgradeHead+"Origin: https://elsewhere.example\r\n\r\n"); got != 403 {
				t.Errorf("%d", got)
			}
		}, want: []string{`msg="login refused" address=127.0.0.1 reason="its origin is not allowed"`}},
		"another one needs its place": {options: Options{MaxConnections: 1}, do: func(t *testing.T, f *fixture) {
			silent := f.dial(t)
			eventually(t, "it waits for its login", func() bool {
				f.roster.mu.Lock()
				defer f.roster.mu.Unlock()
				return f.roster.strangers.Len() == 1
			})
			other := f.dial(t)
			silent.closed()
			_ = other.NetConn().Close()
		}, want: []string{refused + `"its place was needed"`}},
		"silence": {options: Options{Times: Times{FirstFrame: 30 * time.Millisecond}}, do: func(t *testing.T, f *fixture) {
			f.dial(t).closed()
		}, want: []string{refused + `"no token in time"`}},
	} {
		t.Run(name, func(t *testing.T) {
			chat := newChat()
			if c.prepare != nil {
				c.prepare(chat)
			}
			c.options.Times.Drain = 20 * time.Millisecond
			f := serve(t, c.options, chat)
			logins := &logBuffer{}
			f.deps.Logins = application.NewLoginLog(slog.New(slog.NewTextHandler(logins, &slog.HandlerOptions{Level: slog.LevelDebug})))
			c.do(t, f)
			got := f.logged(t, logins, len(c.want))
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("the log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestSomebodyWhoLeavesBeforeAFirstFrameIsNotRefused(t *testing.T) {
	f := serve(t, Options{}, newChat())
	logins := &logBuffer{}
	f.deps.Logins = application.NewLoginLog(slog.New(slog.NewTextHandler(logins, &slog.HandlerOptions{Level: slog.LevelDebug})))
	_ = f.dial(t).NetConn().Close()
	eventually(t, "the end of the connection", func() bool { return f.Connections() == 0 })
	if got := logins.text(); got != "" {
		t.Errorf("the log says %s", got)
	}
}

func TestTheEndOfAConnectionIsLoggedAsWhatItWas(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(*stuck)
		want string
	}{
		"cut off by what waits for it": {func(s *stuck) { s.out.Cut() }, `msg=logout user=7 reason="cut off: too many bytes are under way"`},
		"cut off by what it sends":     {func(s *stuck) { s.messages.Cut() }, `msg=logout user=7 reason="cut off: too many bytes are under way"`},
		"lost while its token was checked": {func(s *stuck) {
			s.session, s.user = nil, 0
			s.named.Store(true)
			s.abort()
		}, `msg="login refused" reason="connection lost"`},
		"closed by its client before it sent a token": {func(s *stuck) {
			s.session, s.user = nil, 0
			s.out.Close(closeNormal, "")
		}, ""},
	} {
		s, logins := newStuck(t, Options{}), &logBuffer{}
		s.server.deps.Logins = application.NewLoginLog(slog.New(slog.NewTextHandler(logins, &slog.HandlerOptions{Level: slog.LevelDebug})))
		row.end(s)
		s.visit.logEnd(s.isCutOff())
		if got := logins.text(); row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s: the log says %q, want %q", name, got, row.want)
		}
	}
}
