package ws

import (
	"encoding/binary"

	"chatting/application"
	"chatting/domain"
)

// closeCode is the status code of a close frame (RFC 6455 §7.4).
type closeCode int

// The codes that the server sends. Those below 3000 are from the IANA registry that RFC 6455 §11.7 founds.
const (
	closeNormal          closeCode = 1000
	closeGone            closeCode = 1001 // silent for too long
	closeProtocol        closeCode = 1002
	closeUnsupported     closeCode = 1003 // a binary message
	closeNoStatus        closeCode = 1005 // never sent: the peer's close frame had no code
	closeAbnormal        closeCode = 1006 // never sent: the connection was lost
	closeNotUTF8         closeCode = 1007
	closePolicy          closeCode = 1008
	closeTooBig          closeCode = 1009
	closeInternal        closeCode = 1011
	closeRestart         closeCode = 1012
	closeTryLater        closeCode = 1013
	closeSlow            closeCode = closeTryLater
	closeUnauthenticated closeCode = 3401
	closeReplaced        closeCode = 3409 // by a newer connection of its user
)

// reasons are the texts that go with codes which do not say enough by themselves. Clients may rely on them.
var reasons = map[closeCode]string{
	closeReplaced: "replaced by a newer connection",
}

// payload returns the body of the close frame.
func (c closeCode) payload() []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(c)), reasons[c]...)
}

// codeOfReason maps what use cases and delivery ask for.
func codeOfReason(reason application.CloseReason) closeCode {
	switch reason {
	case application.CloseReplaced:
		return closeReplaced
	case application.CloseSlow, application.CloseTryLater:
		return closeTryLater
	case application.CloseHole, application.CloseRestart:
		return closeRestart
	case application.CloseExpired, application.CloseErased:
		return closeUnauthenticated
	default:
		return closeInternal
	}
}

// codeOfLogin maps why a login failed.
func codeOfLogin(err error) closeCode {
	switch domain.CodeOf(err) {
	case domain.CodeUnauthenticated:
		return closeUnauthenticated
	case domain.CodeInternal:
		return closeInternal
	default:
		return closeTryLater
	}
}
