package ws

import (
	"chatting/adapters/wire"
	"chatting/adapters/ws/socket"
)

// outbound sends the frames of one connection as its client wants them.
type outbound struct {
	socket.Outbound
	// stringIDs has the ids of users in frames become decimal strings. It is set before the login begins, and not changed after.
	stringIDs bool
	observer  Observer // nil for none
}

// send queues text frames, one after the other; false if not all were taken.
func (o *outbound) send(frames ...[]byte) bool {
	if o.observer != nil {
		for _, frame := range frames {
			o.observer.FrameSent(wire.KindOf(frame), len(frame))
		}
	}
	if o.stringIDs {
		return o.sendWithStringIDs(frames)
	}
	return o.Send(frames...)
}

// sendWithStringIDs is send of frames that are written anew for this connection. Frames have few readers, and the queue copies
// them anyway: it costs less than a second form of each frame that connections share.
func (o *outbound) sendWithStringIDs(frames [][]byte) bool {
	buffer := socket.Buffer()
	defer socket.Recycle(buffer)
	written := make([][]byte, len(frames))
	for i, frame := range frames {
		start := len(*buffer)
		*buffer = wire.AppendWithStringIDs(*buffer, frame)
		written[i] = (*buffer)[start:len(*buffer):len(*buffer)] // stays as it is if the buffer grows into another
	}
	return o.Send(written...)
}
