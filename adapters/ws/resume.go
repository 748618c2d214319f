package ws

import (
	"chatting/adapters/wire"
	"chatting/application/delivery"
)

// resume is what a connection knows of where its client stops and takes up again.
type resume struct {
	// claimed is the token that the client named at login, nil for none. It is set before the login begins.
	claimed *string
	// told is what the answer to the login says; nil without the feature.
	told *delivery.ResumeAnswer
	// stamp is the token of the next frame, "" for none. Delivery hands frames over under its own lock, which guards it.
	stamp string
}

// Resumes implements application.Connection.
func (r *resume) Resumes() (token string, named bool) {
	if r.claimed == nil {
		return "", false
	}
	return *r.claimed, true
}

// Resumed implements application.Connection.
func (r *resume) Resumed(answer delivery.ResumeAnswer) { r.told = &answer }

// recovered tells whether the client gets everything since the token that it named; named is false if it named none, or has no
// such feature.
func (r *resume) recovered() (recovered, named bool) {
	if r.told == nil || !r.told.Named {
		return false, false
	}
	return r.told.Recovered, true
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

// Stamp implements application.Connection.
func (r *resume) Stamp(token string) { r.stamp = token }

// isStamped tells whether the next frame carries a token.
func (r *resume) isStamped() bool { return r.stamp != "" }

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
