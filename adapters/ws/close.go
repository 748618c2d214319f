package ws

import (
	"errors"

	"chatting/adapters/ws/socket"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

// closeCause is why a connection ends. It decides on the code and the reason of the close frame (RFC 6455 §7.4).
type closeCause uint8

// The causes. Those without a close frame have no reason in closings.
const (
	closeInternal    closeCause = iota // a fault of the server
	closeAbnormal                      // without a close frame
	closeNormal                        // the client's own close
	closeGone                          // silent for too long
	closeProtocol                      // the client broke RFC 6455
	closeUnsupported                   // a binary message
	closeNotUTF8
	closeBadJSON          // too many frames in a row that are not JSON
	closeRate             // it kept sending over its rate
	closeControls         // too many control frames
	closeFragments        // fragments without end
	closeTooBig           // a frame above Options.MaxFrame
	closeRestart          // the node leaves
	closeHole             // the log lost records
	closeSlow             // a reader that does not keep up
	closeOverload         // no room for what the client sends
	closeTryLater         // a part of the server is away
	closeLoginRate        // too many logins of the user, or from its address
	closeNoLogin          // no first frame in time
	closeNoToken          // a first frame without a token
	closeBadToken         // a token that was refused
	closeExpired          // the token's time is over, at the login or since
	closeRevoked          // a token that was good is refused
	closeErased           // the user is to be forgotten
	closeBanned           // the platform has banned the user
	closeEnded            // the platform has ended the connection
	closeReplaced         // by a newer connection of its user
	causes         = iota // how many there are
)

// closings has all causes. Codes below 3000 are from the IANA registry that RFC 6455 §11.7 founds.
var closings = [causes]struct {
	code   int
	reason string // in the close frame: clients rely on it, and docs/protocol.md lists it
	why    string // for log lines
}{
	closeInternal:    {1011, "server_error", "server error"},
	closeAbnormal:    {1006, "", "connection lost"},
	closeNormal:      {1000, "client_closed", "closed by the client"},
	closeGone:        {1001, "idle_timeout", "silent for too long"},
	closeProtocol:    {1002, "protocol_error", "protocol error"},
	closeUnsupported: {1003, "binary_message", "binary message"},
	closeNotUTF8:     {1007, "invalid_utf8", "not UTF-8"},
	closeBadJSON:     {1008, "bad_json", "misbehaving client"},
	closeRate:        {1008, "rate_limited", "misbehaving client"},
	closeControls:    {1008, "control_frames", "misbehaving client"},
	closeFragments:   {1008, "fragments", "misbehaving client"},
	closeTooBig:      {1009, "frame_too_long", "frame too long"},
	closeRestart:     {1012, "restart", "the node leaves"},
	closeHole:        {1012, "log_hole", "hole"},
	closeSlow:        {1013, "slow_reader", "overload"},
	closeOverload:    {1013, "overload", "overload"},
	closeTryLater:    {1013, "unavailable", "overload"},
	closeLoginRate:   {1013, "login_rate", "overload"},
	closeNoLogin:     {3401, "login_timeout", "no token in time"},
	closeNoToken:     {3401, "no_token", "not authenticated"},
	closeBadToken:    {3401, "bad_token", "not authenticated"},
	closeExpired:     {3401, "token_expired", "its token expired"},
	closeRevoked:     {3401, "token_revoked", "its token was revoked"},
	closeErased:      {3401, "user_erased", "erased"},
	closeBanned:      {3403, "banned", "banned"},
	closeEnded:       {3410, "ended", "ended by the platform"},
	closeReplaced:    {3409, "replaced", "replaced by a newer connection"},
}

// A closeCause is what sockets close with.
var _ socket.Cause = closeCause(0)

// Code implements socket.Cause.
func (c closeCause) Code() int { return closings[c].code }

// Reason implements socket.Cause.
func (c closeCause) Reason() string { return closings[c].reason }

// String implements socket.Cause.
func (c closeCause) String() string { return closings[c].why }

// causeOfReason maps what use cases and delivery ask for.
func causeOfReason(reason port.CloseReason) closeCause {
	switch reason {
	case port.CloseReplaced:
		return closeReplaced
	case port.CloseSlow:
		return closeSlow
	case port.CloseTryLater:
		return closeTryLater
	case port.CloseHole:
		return closeHole
	case port.CloseRestart:
		return closeRestart
	case port.CloseExpired:
		return closeExpired
	case port.CloseRevoked:
		return closeRevoked
	case port.CloseErased:
		return closeErased
	case port.CloseBanned:
		return closeBanned
	case port.CloseEnded:
		return closeEnded
	case port.CloseCut:
		return closeAbnormal
	default:
		return closeInternal
	}
}

// causeOfLogin maps why a login failed, or why a renewal was refused.
func causeOfLogin(err error) closeCause {
	var refused *application.RefusedToken
	switch domain.CodeOf(err) {
	case domain.CodeUnauthenticated:
		if errors.As(err, &refused) && refused.Reason == application.RefusedExpired {
			return closeExpired
		}
		return closeBadToken
	case domain.CodeBanned:
		return closeBanned
	case domain.CodeRateLimited:
		return closeLoginRate
	case domain.CodeInternal:
		return closeInternal
	default:
		return closeTryLater
	}
}

// causeOfRefusal maps the code of the close frame that the WebSocket library wanted to send.
func causeOfRefusal(code int) closeCause {
	if code == closeTooBig.Code() {
		return closeTooBig
	}
	return closeProtocol
}
