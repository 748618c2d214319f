package ws

import (
	"context"

	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/socket"
	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/domain"
)

// feed is what delivery and presence show to the client of one connection, as the client asked for it at its login. How the
// connection ends is not here.
type feed struct {
	resume

	out        *outbound
	receipts   receipts
	queueBytes int // as Options.QueueBytes
	now        port.Clock
	// features are those of the login, set before it begins and not changed after.
	features frames.Features
}

func (f *feed) init(out *outbound, queueBytes int, now port.Clock) {
	f.out, f.receipts.out, f.queueBytes, f.now = out, out, queueBytes, now
}

// asked notes what the first frame asks for. It is called before the login begins.
func (f *feed) asked(first frames.Login) {
	f.features, f.claimed = first.Features, first.Resume
	f.out.stringIDs = f.Has(port.FeatureStringIDs)
}

// Has implements application.Connection.
func (f *feed) Has(feature port.Feature) bool {
	_, has := f.features[feature]
	return has
}

// StatusChanged implements application.Connection.
func (f *feed) StatusChanged(to domain.UserID, change domain.Transition) {
	f.out.send(wire.StatusFrame(to, change))
}

// Deliver implements application.Connection.
func (f *feed) Deliver(data []byte, echoOf domain.ClientMessageID) {
	if echoOf == "" && !f.isStamped() {
		f.out.send(data)
		return
	}
	buffer := socket.Buffer()
	defer socket.Recycle(buffer)
	if echoOf != "" {
		*buffer = wire.AppendWithClientMessageID(*buffer, data, echoOf)
		data = *buffer
	}
	f.out.send(f.stamped(buffer, data)) // which copies it
}

// DeliverOwnMark implements application.Connection.
func (f *feed) DeliverOwnMark(data []byte, unread int) {
	buffer := socket.Buffer()
	defer socket.Recycle(buffer)
	*buffer = wire.AppendWithUnread(*buffer, data, unread)
	f.out.send(f.stamped(buffer, *buffer)) // which copies it
}

// DeliverAt implements application.Connection.
func (f *feed) DeliverAt(data []byte, at domain.Place) {
	if !f.isStamped() {
		f.receipts.deliver(data, at)
		return
	}
	buffer := socket.Buffer()
	defer socket.Recycle(buffer)
	f.receipts.deliver(f.stamped(buffer, data), at)
}

// Gather implements application.Connection.
func (f *feed) Gather() { f.out.Gather(true) }

// Flush implements application.Connection.
func (f *feed) Flush() { f.out.Gather(false) }

// Replay implements application.Connection.
func (f *feed) Replay(batch []delivery.Replayed) { f.receipts.replay(batch) }

// AwaitRoom implements application.Connection. What others send meanwhile has the other half of the queue.
func (f *feed) AwaitRoom(ctx context.Context, bytes int) error {
	state := f.out.Await(ctx, func(now socket.State) bool {
		pending := int(now.Total - now.Written)
		return now.Closing || pending == 0 || pending+bytes <= f.queueBytes/2
	})
	if state.Closing || ctx.Err() != nil {
		return errEnded
	}
	return nil
}

var errEnded = domain.NewError(domain.CodeUnavailable, "The connection has ended.")

// Pong implements application.Connection.
func (f *feed) Pong(token string) {
	f.out.send(wire.AppendWithResume(nil, wire.PongFrame(f.now()), token))
}
