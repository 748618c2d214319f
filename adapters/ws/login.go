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

// logInAside is logIn in another goroutine. A login needs a deep stack, and a goroutine keeps most of the stack that it once
// needed, for as long as its connection is idle.
func (r *reader) logInAside(data []byte) (ok bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		guard(r.server.deps.Notices, func() { ok = r.logIn(data) }, func() { r.out.Close(closeInternal, "") })
	}()
	<-done
	return ok
}

// logIn takes the first message.
func (r *reader) logIn(data []byte) bool {
	r.named.Store(true)
	began := time.Now()
	if observer := r.server.deps.Observer; observer != nil {
		observer.FrameReceived(ReceivedLogin, len(data))
	}
	// Before the token is looked at: to check a bad one costs as much.
	if wait := r.server.deps.Rates.TakeLogin(r.address); wait > 0 {
		r.server.deps.Notices.Warn("login refused: too many from its address", r.from())
		r.notIn = "too many logins from its address"
		r.observeLogin(string(domain.CodeRateLimited), began)
		r.refuseEarly()
		return false
	}
	first, ok := frames.ParseLogin(data)
	if !ok {
		r.observeLogin(OutcomeNoToken, began)
		r.refuseFirst()
		return false
	}
	r.features, r.resume.named = first.Features, first.Resume
	r.out.stringIDs = r.Has(port.FeatureStringIDs)
	r.server.roster.named(&r.connection)
	var (
		session  Session
		identity application.Identity
		err      error
	)
	span := r.server.deps.Traces.Root(port.SpanLogin, r.trace)
	r.checking(func(ctx context.Context) {
		session, identity, err = r.server.deps.Login(span.In(ctx), first.Token, &r.connection)
	})
	span.End(err)
	r.observeLogin(outcomeOf(err), began)
	if err != nil {
		r.loginFailed(err)
		return false
	}
	r.session, r.user, r.acts = session, identity.User, identity.Acts
	r.out.Held().Of(r.user)
	r.messages.Held().Of(r.user)
	r.server.deps.Logins.LoggedIn(r.visitor())
	return true
}

// loginFailed logs why a login failed, and closes the connection. The use case logs a refused token itself.
func (r *reader) loginFailed(err error) {
	who := slog.Attr{}
	r.notIn = application.WhyRefused(err)
	var failed *application.LoginError
	if errors.As(err, &failed) {
		who = slog.Any("user", failed.User)
		r.user = failed.User
	}
	switch domain.CodeOf(err) {
	case domain.CodeRateLimited:
		r.server.deps.Notices.Warn("login refused: too many of its user", who, r.from())
		r.refuseEarly()
		return
	case domain.CodeUnauthenticated:
	case domain.CodeBanned:
		r.notIn = "banned"
		r.out.send(refusalFrame(r.user, err, r.server.deps.Now()))
	default:
		r.server.deps.Notices.Warn("login failed", who, r.from(), slog.Any("error", err))
	}
	r.out.Close(causeOfLogin(err), "")
}

// refuseEarly closes the connection whose login came too early.
func (r *reader) refuseEarly() {
	r.checking(func(ctx context.Context) {
		timer := time.NewTimer(loginHold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	})
	r.out.Close(closeLoginRate, "")
}

// refuseFirst closes the connection whose first frame is no login.
func (r *reader) refuseFirst() {
	r.server.deps.Notices.Warn("login refused: the first frame holds no token", r.from())
	r.notIn = "no token in the first frame"
	r.out.Close(closeNoToken, "")
}

// visitor names the connection in the log of logins.
func (r *reader) visitor() application.Visitor {
	return application.Visitor{User: r.user, Address: addressText(r.address), Connection: r.number}
}

func addressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// isCutOff tells whether the ledger cut the connection off.
func (r *reader) isCutOff() bool { return r.out.State().CutOff || r.messages.IsCutOff() }

// logEnd logs and counts how the connection ended. A client that left before it sent a token was neither in nor refused.
func (r *reader) logEnd() {
	state := r.out.State()
	cause, _ := state.Cause.(closeCause)
	r.server.counts.ended(cause)
	reason := state.Why
	if r.isCutOff() {
		reason = "cut off: too many bytes are under way"
	}
	switch logins := r.server.deps.Logins; {
	case r.session != nil:
		logins.LoggedOut(r.visitor(), reason)
	case r.evicted.Load():
		logins.Refused(r.visitor(), "its place was needed")
	case r.notIn != "":
		logins.Refused(r.visitor(), r.notIn)
	case r.named.Load() || state.Cause != closeAbnormal && state.Cause != closeNormal:
		logins.Refused(r.visitor(), reason)
	}
}
