package ws

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// A connection is what delivery and presence write to.
var _ application.Connection = (*connection)(nil)

// Has implements application.Connection.
func (c *connection) Has(feature application.Feature) bool {
	_, has := c.features[feature]
	return has
}

// Address implements application.Connection.
func (c *connection) Address() string {
	if !c.address.IsValid() {
		return ""
	}
	return networkOf(c.address).String()
}

// LoggedIn implements application.Connection.
func (c *connection) LoggedIn(user domain.UserID, onlineFriends []domain.UserID, at time.Time) {
	c.server.known(c) // before the client knows: from then on it makes room for nobody
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.owner = user
	c.out.sendLocked(frame.Login(user, onlineFriends, at))
}

// StatusChanged implements application.Connection.
func (c *connection) StatusChanged(to domain.UserID, change domain.Transition) {
	c.out.send(frame.Status(to, change))
}

// Deliver implements application.Connection.
func (c *connection) Deliver(data []byte, echoOf domain.ClientMessageID) {
	if echoOf == "" {
		c.out.send(data)
		return
	}
	buffer := buffers.Get().(*[]byte)
	defer recycle(buffer)
	*buffer = frame.AppendWithClientMessageID(*buffer, data, echoOf)
	c.out.send(*buffer) // which copies it
}

// DeliverAt implements application.Connection.
func (c *connection) DeliverAt(data []byte, at application.Position) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.sendLocked(data) {
		c.noteLocked(at)
	}
}

// Replay implements application.Connection.
func (c *connection) Replay(batch []application.Replayed) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for _, r := range batch {
		if c.out.closing || r.Frame != nil && !c.out.sendLocked(frame.WithReplayed(r.Frame)) {
			return
		}
		if r.At != nil {
			c.noteLocked(*r.At)
		}
	}
	c.askLocked(time.Time{})
}

// AwaitRoom implements application.Connection.
func (c *connection) AwaitRoom(ctx context.Context, bytes int) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.awaitRoomLocked(ctx, bytes) {
		return errEnded
	}
	return nil
}

var errEnded = domain.NewError(domain.CodeUnavailable, "The connection has ended.")

// Close implements application.Connection.
func (c *connection) Close(reason application.CloseReason) {
	switch reason {
	case application.CloseSlow:
		c.out.closeDropping(closeSlow)
	case application.CloseReplaced:
		c.out.mu.Lock()
		owner := c.owner
		c.out.closeLocked(closeReplaced, false)
		c.out.mu.Unlock()
		c.server.deps.Notices.Warn("connection closed: replaced by a newer one of its user", slog.Any("user", owner), c.whence())
	case application.CloseCut:
		c.abort()
	default:
		c.out.closeBecause(codeOfReason(reason), string(reason))
	}
}

// refuse answers a frame with an error frame.
func (c *connection) refuse(req request, err error) {
	code := domain.CodeOf(err)
	var sentence string
	var classified *domain.Error
	switch {
	case code == domain.CodeNoUserOrOffline:
		sentence = errOffline.Message
	case code != domain.CodeInternal && errors.As(err, &classified):
		sentence = classified.Message
	default:
		c.server.deps.Notices.Error("a frame failed", c.who(), slog.Any("error", err))
		// How far it came is not known, which is what this code says.
		code, sentence = domain.CodeUnconfirmed, "The server failed."
	}
	answer := frame.Error(c.user, code, sentence, req.sentTarget, req.name, c.server.deps.Now())
	if after := domain.RetryAfterOf(err); after > 0 {
		answer = frame.WithRetryAfter(answer, after)
	}
	c.out.send(answer)
}
