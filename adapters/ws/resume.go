package ws

import (
	"chatting/adapters/wire"
	"chatting/application/delivery"
)

// resume is what a connection knows of where its client stops and takes up again.
type resume struct {
	// named is the token that the client named at login, nil for none. It is set before the login begins.
	named *string
	// told is what the answer to the login says; nil without the feature.
	told *delivery.ResumeAnswer
	// stamp is the token of the next frame, "" for none. Delivery hands frames over under its own lock, which guards it.
	stamp string
}

// answer adds what the client is told to the answer to its login.
func (r *resume) answer(frame []byte) []byte {
	if r.told == nil {
		return frame
	}
	if r.told.Named {
		frame = wire.WithRecovered(frame, r.told.Recovered, r.told.From)
	}
	return wire.AppendWithResume(nil, frame, r.told.Token)
}

// stamped returns a frame with the stamp, which it uses up. The frame may be in the buffer, which is room for the result.
func (r *resume) stamped(buffer *[]byte, frame []byte) []byte {
	if r.stamp == "" {
		return frame
	}
	// Of a frame that is in the buffer the end is overwritten, and only that.
	*buffer = wire.AppendWithResume((*buffer)[:0], frame, r.stamp)
	r.stamp = ""
	return *buffer
}

// Resumes implements application.Connection.
func (c *connection) Resumes() (token string, named bool) {
	if c.resume.named == nil {
		return "", false
	}
	return *c.resume.named, true
}

// Resumed implements application.Connection.
func (c *connection) Resumed(answer delivery.ResumeAnswer) { c.resume.told = &answer }

// Stamp implements application.Connection.
func (c *connection) Stamp(token string) { c.resume.stamp = token }

// Pong implements application.Connection.
func (c *connection) Pong(token string) {
	c.out.send(wire.AppendWithResume(nil, wire.PongFrame(c.server.deps.Now()), token))
}
