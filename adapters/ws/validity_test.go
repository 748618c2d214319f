package ws

import (
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/socket"
	"chatting/application"
	"chatting/application/port"
)

// renewing returns a connection with the feature, an hour of warning, and its own time.
func renewing(t *testing.T) (*stuck, *time.Time) {
	s := newStuck(t, Options{Times: Times{Silence: time.Hour, TokenWarning: time.Hour}})
	now := someTime
	s.keepTime(func() time.Time { return now })
	s.features = frames.Features{port.FeatureTokenRenewal: {}}
	s.named.Store(true)
	return s, &now
}

func TestAClientIsWarnedOnceThatItsTokenExpires(t *testing.T) {
	s, now := renewing(t)
	expires := someTime.Add(3 * time.Hour)
	s.TokenExpires(expires)
	s.LoggedIn(7, nil, *now)
	s.mustGet(wire.WithTokenExpiry(wire.LoginFrame(7, nil, *now), expires))
	*now = expires.Add(-time.Hour - 1)
	s.keep(socket.Elapsed())
	*now = expires.Add(-time.Hour)
	s.keep(socket.Elapsed())
	s.keep(socket.Elapsed())
	s.out.send([]byte(`{}`))
	s.mustGet(wire.TokenExpiringFrame(7, expires, *now), []byte(`{}`))
	// The next token has its own warning.
	expires = expires.Add(3 * time.Hour)
	s.token.renewed(expires)
	s.keep(socket.Elapsed())
	s.mustGet(wire.TokenRenewedFrame(7, expires, *now))
	*now = expires.Add(-1)
	s.keep(socket.Elapsed())
	s.mustGet(wire.TokenExpiringFrame(7, expires, *now))
	// One that expires no more has none.
	s.token.renewed(time.Time{})
	*now = now.Add(1000 * time.Hour)
	s.keep(socket.Elapsed())
	s.out.send([]byte(`{}`))
	s.mustGet(wire.TokenRenewedFrame(7, time.Time{}, expires.Add(-1)), []byte(`{}`))
}

func TestNobodyIsWarnedBeforeTheLoginIsAnswered(t *testing.T) {
	s, now := renewing(t)
	expires := someTime.Add(time.Minute)
	s.TokenExpires(expires)
	s.keep(socket.Elapsed())
	s.LoggedIn(7, nil, *now)
	s.mustGet(wire.WithTokenExpiry(wire.LoginFrame(7, nil, *now), expires), wire.TokenExpiringFrame(7, expires, *now))
}

func TestOnlyAClientWithTheFeatureHearsOfItsToken(t *testing.T) {
	for name, change := range map[string]func(*stuck){
		"without the feature":  func(s *stuck) { s.features = nil },
		"no warning wanted":    func(s *stuck) { s.token.ahead = 0 },
		"no end":               func(s *stuck) { s.TokenExpires(time.Time{}) },
		"an end long from now": func(s *stuck) { s.TokenExpires(someTime.Add(time.Hour + 1)) },
	} {
		s, _ := renewing(t)
		s.TokenExpires(someTime.Add(time.Minute))
		change(s)
		s.keep(socket.Elapsed())
		s.token.answerLogin(7, []byte(`{"a":1}`), s.Has(port.FeatureTokenRenewal))
		s.keep(socket.Elapsed())
		s.out.send([]byte(`{}`))
		answer := []byte(`{"a":1}`)
		if s.features != nil && !s.token.expires.IsZero() {
			answer = wire.WithTokenExpiry(answer, s.token.expires)
		}
		s.mustGet(answer, []byte(`{}`))
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestARenewalIsAnsweredToAClientWithTheFeature(t *testing.T) {
	chat := newChat()
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	chat.renewed = func(string) (application.Identity, error) {
		return application.Identity{User: 7, Expires: expires}, nil
	}
	c := serve(t, Options{}, chat).dial(t)
	c.send(`{"token":"user-7","features":["x","token_renewal","invites"]}`)
	c.next()
	c.send(`{"token":"again"}`)
	if got := c.next(); got["type"] != "token_renewed" || got["to_id"] != 7.0 || got["expires_at"] != wire.Time(expires) || len(got) != 4 {
		t.Errorf("got %v", got)
	}
}
