package ws

import (
	"context"
	"errors"
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

// LoggedIn implements application.Connection.
func (c *connection) LoggedIn(user domain.UserID, onlineFriends []domain.UserID, at time.Time) {
	c.out.send(frame.Login(user, onlineFriends, at))
}

// StatusChanged implements application.Connection.
func (c *connection) StatusChanged(to domain.UserID, change domain.Transition) {
	c.out.send(frame.Status(to, change))
}

// Deliver implements application.Connection.
func (c *connection) Deliver(data []byte, echoOf domain.ClientMessageID) {
	if echoOf != "" {
		data = frame.WithClientMessageID(data, echoOf)
	}
	c.out.send(data)
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
	if reason == application.CloseSlow {
		c.out.closeDropping(closeSlow)
		return
	}
	c.out.close(codeOfReason(reason))
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
		c.server.deps.Logger.Error("a frame failed", "user", c.user, "error", err)
		// How far it came is not known, which is what this code says.
		code, sentence = domain.CodeUnconfirmed, "The server failed."
	}
	c.out.send(frame.Error(c.user, code, sentence, req.sentTarget, req.name, c.server.deps.Now()))
}
