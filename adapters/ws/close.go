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

// why returns what log lines say of a connection that was closed with the code for no reason of its own.
func (c closeCode) why() string {
	switch c {
	case closeNormal:
		return "closed by the client"
	case closeGone:
		return "silent for too long"
	case closeProtocol:
		return "protocol error"
	case closeUnsupported:
		return "binary message"
	case closeNotUTF8:
		return "not UTF-8"
	case closePolicy:
		return "misbehaving client"
	case closeTooBig:
		return "frame too long"
	case closeRestart:
		return "the node leaves"
	case closeTryLater:
		return "overload"
	case closeUnauthenticated:
		return "not authenticated"
	case closeReplaced:
		return "replaced by a newer connection"
	case closeNoStatus, closeAbnormal:
		return "connection lost"
	default:
		return "server error"
	}
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
