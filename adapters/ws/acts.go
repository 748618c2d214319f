package ws

import (
	"errors"
	"time"

	"chatting/adapters/wire"
	"chatting/domain"
)

// refusalFrame returns the error frame that tells a user why its connection is closed, or its login refused.
func refusalFrame(user domain.UserID, why error, at time.Time) []byte {
	var classified *domain.Error
	if !errors.As(why, &classified) {
		classified = domain.NewError(domain.CodeOf(why), "The server failed.")
	}
	return withAct(wire.ErrorFrame(user, classified.Code, classified.Message, nil, "", at), why)
}

// withAct returns an error frame with until when an act of the platform lasts, and why there is one.
func withAct(frame []byte, err error) []byte {
	var classified *domain.Error
	if !errors.As(err, &classified) || classified.Code != domain.CodeMuted && classified.Code != domain.CodeBanned {
		return frame
	}
	return wire.WithAct(frame, classified.Until, classified.Reason)
}
