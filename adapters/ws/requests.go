package ws

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
)

// maxBadJSON is how many frames in a row may be no JSON before the connection is closed with 1008.
const maxBadJSON = 10

// requests carries out the frames of a client that is logged in. It belongs to the reading goroutine; only settle and refuse may
// be called by others.
type requests struct {
	conn     *connection
	session  Session // nil before the login
	user     domain.UserID
	acts     int64 // the newest act on the user that the login knew
	throttle throttle.Throttle
	badJSON  int // frames in a row
	// trace is the span of the connection's upgrade; "" if that is not recorded.
	trace domain.TraceParent
}

// begin notes whose frames come from now on.
func (r *requests) begin(session Session, identity application.Identity) {
	r.session, r.user, r.acts = session, identity.User, identity.Acts
}

// handle takes a frame; false when it ended the connection.
func (r *requests) handle(data []byte) bool {
	req, err := frames.Parse(data, r.conn.features)
	if domain.CodeOf(err) == domain.CodeBadJSON {
		if r.badJSON++; r.badJSON >= maxBadJSON {
			r.conn.out.Close(closeBadJSON, "")
			return false
		}
	} else {
		r.badJSON = 0
	}
	now := time.Now()
	if wait := r.throttle.Message(now, r.user, len(data)); wait > 0 {
		r.conn.server.deps.Notices.Warn("frame refused: over the rate", r.who(), r.conn.from())
		if !r.throttle.MayRefuse(r.user) {
			r.conn.server.deps.Notices.Warn("connection closed: it kept sending over the rate", r.who(), r.conn.from())
			r.conn.out.Close(closeRate, "")
			return false
		}
		err = domain.NewRateLimited("Too many frames.", wait)
	}
	if observer := r.conn.server.deps.Observer; observer != nil {
		observer.FrameReceived(receivedKind(req, err), len(data))
	}
	if err != nil {
		r.refuse(req, err)
		return true
	}
	switch req.Kind {
	case frames.Renewal:
		return r.renew(req)
	case frames.Ping:
		if !r.session.Pong() {
			r.conn.out.send(wire.PongFrame(r.conn.server.deps.Now()))
		}
		return true
	default:
		return r.submit(req, now)
	}
}

// renew takes another token of the same user. One that cannot be checked now leaves the earlier one in force.
func (r *requests) renew(req frames.Request) bool {
	var (
		identity application.Identity
		err      error
	)
	r.conn.checking(func(ctx context.Context) { identity, err = r.session.Renew(ctx, req.Token) })
	switch domain.CodeOf(err) {
	case "":
		r.conn.token.renewed(identity.Expires)
	case domain.CodeUnauthenticated:
		r.conn.out.Close(causeOfLogin(err), "its new token was refused: "+application.WhyRefused(err))
		return false
	default:
		r.refuse(req, err)
	}
	return true
}

// submit hands a command to its use case. It waits while too many have no outcome; false when the connection closed meanwhile.
// began is when the command was read.
func (r *requests) submit(req frames.Request, began time.Time) bool {
	span := r.traced(req)
	if !r.conn.reading.Claim() {
		span.End(errEnded)
		return false
	}
	done := func(err error) {
		guard(r.conn.server.deps.Notices, func() { r.settle(req, err) }, r.conn.abort)
		if observer := r.conn.server.deps.Observer; observer != nil {
			observer.Answered(err == nil, time.Since(began))
		}
		span.End(err)
	}
	switch req.Kind {
	case frames.Invite:
		r.conn.server.deps.Invites.Execute(invites.Command{
			Sender: r.user, Target: req.Target, Status: req.Status, Room: req.Room, ClientMessageID: req.Name, Trace: span.Parent(),
		}, done)
	default:
		r.send(messaging.ChatCommand{
			Sender: r.user, Target: req.Target, Text: req.Text, ClientMessageID: req.Name, Acts: r.acts, Trace: span.Parent(),
		}, done)
	}
	return true
}

// traced begins the span of a command. It ends with the command's outcome.
func (r *requests) traced(req frames.Request) port.Span {
	name := port.SpanFrameMessage
	if req.Kind == frames.Invite {
		name = port.SpanFrameInvite
	}
	return r.conn.server.deps.Traces.RootLinked(name, r.trace)
}

// send sends a message, after the check if there is one.
func (r *requests) send(command messaging.ChatCommand, done func(error)) {
	if r.conn.server.deps.Checks != nil {
		checked, err := r.check(command)
		if err != nil {
			done(err)
			return
		}
		command = checked
	}
	r.conn.server.deps.Messages.Execute(command, done)
}

// check waits until a message is checked. Nothing is read meanwhile, so what the client sends keeps its order, and its silence is
// the server's doing. If the connection closes, the check ends. If it leaves, the check gets its outcome first.
func (r *requests) check(command messaging.ChatCommand) (messaging.ChatCommand, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.conn.reading.Pause(cancel)
	defer r.conn.reading.Resume()
	return r.conn.server.deps.Checks.Execute(ctx, command)
}

// settle takes the outcome of an append.
func (r *requests) settle(req frames.Request, err error) {
	if err != nil {
		r.refuse(req, err)
	}
	if r.conn.reading.Settle() {
		r.conn.out.Close(closeRestart, "")
	}
}

// refuse answers a frame with an error frame.
func (r *requests) refuse(req frames.Request, err error) {
	code := domain.CodeOf(err)
	var sentence string
	var classified *domain.Error
	switch {
	case code == domain.CodeNoUserOrOffline:
		sentence = frames.ErrOffline.Message
	case code != domain.CodeInternal && errors.As(err, &classified):
		sentence = classified.Message
	default:
		r.conn.server.deps.Notices.Error("a frame failed", r.who(), slog.Any("error", err))
		// How far it came is not known, which is what this code says.
		code, sentence = domain.CodeUnconfirmed, "The server failed."
	}
	answer := wire.ErrorFrame(r.user, code, sentence, req.SentTarget, req.Name, r.conn.server.deps.Now())
	if after := domain.RetryAfterOf(err); after > 0 {
		answer = wire.WithRetryAfter(answer, after)
	}
	answer = withAct(answer, err)
	r.conn.out.send(answer)
}

// received tells the session what the client has got.
func (r *requests) received(places []domain.Place) {
	if r.session != nil && len(places) > 0 {
		r.session.Received(places)
	}
}

// who names the user in log lines.
func (r *requests) who() slog.Attr { return slog.Any("user", r.user) }
