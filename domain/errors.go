package domain

import (
	"errors"
	"time"
)

// Code classifies an error once, where it arises; every transport maps it once to what its clients understand (a
// WebSocket error frame or close code, an HTTP status). Codes that appear in error frames are part of the contract.
type Code string

// The codes. Those marked "frame" are sent to clients as they are.
const (
	CodeBadJSON         Code = "bad_json"           // frame: the bytes are no JSON value
	CodeBadFrame        Code = "bad_frame"          // frame: JSON, but no frame that the contract knows
	CodeBadTarget       Code = "bad_target"         // frame: target_id names no user
	CodeBadMessage      Code = "bad_message"        // frame: message is no text, or client_msg_id is malformed
	CodeTooLong         Code = "too_long"           // frame: the text is above the limit
	CodeNoUserOrOffline Code = "no_user_or_offline" // frame: the target is unknown or has no connection
	CodeMailboxFull     Code = "mailbox_full"       // frame: too much of the sender's waits for a target who is offline
	CodeRateLimited     Code = "rate_limited"       // frame: more in a second, or more pending invites, than the limit
	CodeUnavailable     Code = "unavailable"        // frame: not done, and will not be: try again later
	CodeUnconfirmed     Code = "unconfirmed"        // frame: unknown outcome; it may still take effect, once
	CodeInviteEnded     Code = "invite_ended"       // frame: the invite to end is not pending
	CodeNotInvited      Code = "not_invited"        // frame: answering an invite to somebody else
	CodeMuted           Code = "muted"              // frame: the platform has muted the user
	CodeBanned          Code = "banned"             // frame: the platform has banned the user
	CodeBadAct          Code = "bad_act"            // a field of an act of the platform is wrong
	CodeNotInForce      Code = "not_in_force"       // ending what is not in force
	CodeUnauthenticated Code = "unauthenticated"    // the token is missing, bad, expired, revoked, or no access token
	CodeUnknownUser     Code = "unknown_user"       // the user was never seen
	CodeUnknownMessage  Code = "unknown_message"    // the user's conversation has no such message
	CodeSelf            Code = "self"               // a user named itself where it may not
	CodeNotBlocked      Code = "not_blocked"        // unblocking whom one does not block
	CodeNotWatched      Code = "not_watched"        // removing a friend who is none
	CodeLimit           Code = "limit"              // a list is full
	CodeKeyReused       Code = "idempotency_key_reused"
	CodeKeyInProgress   Code = "idempotency_key_in_progress"
	CodeInternal        Code = "internal" // a bug or a broken part: nothing the caller did
)

// Error is a classified error. Message is for the caller and holds no secret and no message text.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is after how long the same would be taken, of CodeRateLimited; 0 if that is not known.
	RetryAfter time.Duration
	// Until and Reason are those of the platform's act, of CodeMuted and CodeBanned. Until is zero for without end.
	Until  time.Time
	Reason string
	cause  error
}

// NewError classifies a fault that has no deeper cause.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// WrapError classifies cause. The cause is for logs (Unwrap), not for callers.
func WrapError(code Code, message string, cause error) *Error {
	return &Error{Code: code, Message: message, cause: cause}
}

// NewRateLimited classifies what came too early by retryAfter.
func NewRateLimited(message string, retryAfter time.Duration) *Error {
	return &Error{Code: CodeRateLimited, Message: message, RetryAfter: retryAfter}
}

// Error returns the message and, where there is one, the cause: a line for a log.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf returns the code of the outermost classified error in err's chain, CodeInternal if there is none, and ""
// for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var classified *Error
	if errors.As(err, &classified) {
		return classified.Code
	}
	return CodeInternal
}

// RetryAfterOf returns after how long what failed with err would be taken; 0 if that is not known.
func RetryAfterOf(err error) time.Duration {
	var classified *Error
	if !errors.As(err, &classified) {
		return 0
	}
	return classified.RetryAfter
}
