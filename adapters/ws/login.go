package ws

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"chatting/adapters/ws/frames"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// loginHold is for how long a login over a rate is held before it is refused. A client that comes again at once gets one attempt
// in that time on each of its sockets. So it costs little, and the user's other clients get their turns.
const loginHold = 100 * time.Millisecond

// visit is the login of a connection, and what the log of logins says of it. It belongs to the reading goroutine.
type visit struct {
	conn     *connection
	requests *requests
	// refused is why the login was refused; "" while it was not.
	refused string
}

// logInAside is logIn in another goroutine. A login needs a deep stack, and a goroutine keeps most of the stack that it once
// needed, for as long as its connection is idle.
func (v *visit) logInAside(data []byte) (ok bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		guard(v.conn.server.deps.Notices, func() { ok = v.logIn(data) }, func() { v.conn.out.Close(closeInternal, "") })
	}()
	<-done
	return ok
}

// logIn takes the first message.
func (v *visit) logIn(data []byte) bool {
	c, deps := v.conn, &v.conn.server.deps
	c.named.Store(true)
	began := time.Now()
	if deps.Observer != nil {
		deps.Observer.FrameReceived(ReceivedLogin, len(data))
	}
	// Before the token is looked at: to check a bad one costs as much.
	if wait := deps.Rates.TakeLogin(c.address); wait > 0 {
		deps.Notices.Warn("login refused: too many from its address", c.from())
		v.refused = "too many logins from its address"
		v.observe(string(domain.CodeRateLimited), began)
		v.refuseEarly()
		return false
	}
	first, ok := frames.ParseLogin(data)
	if !ok {
		v.observe(OutcomeNoToken, began)
		v.refuseFirst()
		return false
	}
	c.asked(first)
	c.server.roster.named(c)
	var (
		session  Session
		identity application.Identity
		err      error
	)
	span := deps.Traces.Root(port.SpanLogin, v.requests.trace)
	c.checking(func(ctx context.Context) {
		session, identity, err = deps.Login(span.In(ctx), first.Token, c)
	})
	span.End(err)
	v.observe(outcomeOf(err), began)
	if err != nil {
		v.failed(err)
		return false
	}
	v.requests.begin(session, identity)
	c.out.Held().Of(identity.User)
	deps.Logins.LoggedIn(v.visitor())
	return true
}

// failed logs why a login failed, and closes the connection. The use case logs a refused token itself.
func (v *visit) failed(err error) {
	who := slog.Attr{}
	v.refused = application.WhyRefused(err)
	var failed *application.LoginError
	if errors.As(err, &failed) {
		who = slog.Any("user", failed.User)
		v.requests.user = failed.User
	}
	switch domain.CodeOf(err) {
	case domain.CodeRateLimited:
		v.conn.server.deps.Notices.Warn("login refused: too many of its user", who, v.conn.from())
		v.refuseEarly()
		return
	case domain.CodeUnauthenticated:
	case domain.CodeBanned:
		v.refused = "banned"
		v.conn.out.send(refusalFrame(v.requests.user, err, v.conn.server.deps.Now()))
	default:
		v.conn.server.deps.Notices.Warn("login failed", who, v.conn.from(), slog.Any("error", err))
	}
	v.conn.out.Close(causeOfLogin(err), "")
}

// refuseEarly closes the connection whose login came too early.
func (v *visit) refuseEarly() {
	v.conn.checking(func(ctx context.Context) {
		timer := time.NewTimer(loginHold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	})
	v.conn.out.Close(closeLoginRate, "")
}

// refuseFirst closes the connection whose first frame is no login.
func (v *visit) refuseFirst() {
	v.conn.server.deps.Notices.Warn("login refused: the first frame holds no token", v.conn.from())
	v.refused = "no token in the first frame"
	v.conn.out.Close(closeNoToken, "")
}

// visitor names the connection in the log of logins.
func (v *visit) visitor() application.Visitor {
	return application.Visitor{User: v.requests.user, Address: addressText(v.conn.address), Connection: v.conn.number}
}

func addressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// logEnd logs and counts how the connection ended; cutOff tells that the ledger cut it off. A client that left before it sent a
// token was neither in nor refused.
func (v *visit) logEnd(cutOff bool) {
	state := v.conn.out.State()
	cause, _ := state.Cause.(closeCause)
	v.conn.server.counts.ended(cause)
	reason := state.Why
	if cutOff {
		reason = "cut off: too many bytes are under way"
	}
	switch logins := v.conn.server.deps.Logins; {
	case v.requests.session != nil:
		logins.LoggedOut(v.visitor(), reason)
	case v.conn.evicted.Load():
		logins.Refused(v.visitor(), "its place was needed")
	case v.refused != "":
		logins.Refused(v.visitor(), v.refused)
	case v.conn.named.Load() || state.Cause != closeAbnormal && state.Cause != closeNormal:
		logins.Refused(v.visitor(), reason)
	}
}
