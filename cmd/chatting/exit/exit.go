// Package exit has the exit codes of the program. An error gets its code where it arises, and the command line ends with it.
package exit

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"chatting/domain"
)

// Code is an exit code of the process. Each has one meaning, for all commands.
type Code int

// The exit codes.
const (
	Done        Code = 0
	Failed      Code = 1
	Crashed     Code = 2 // Go's own: no command ends with it
	Usage       Code = 3
	Unavailable Code = 4
	Refused     Code = 5
	Unconfirmed Code = 6
	Findings    Code = 7
)

// Meanings lists all codes, in order, with a sentence for people.
func Meanings() []struct {
	Code    Code
	Meaning string
} {
	return []struct {
		Code    Code
		Meaning string
	}{
		{Done, "Done, and all is well."},
		{Failed, "It failed. The reason is on standard error."},
		{Crashed, "The process crashed, or got SIGQUIT. Standard error has the stacks."},
		{Usage, "The command line or the configuration is wrong. Nothing was done."},
		{Unavailable, "A server, a broker or a database does not answer, or cannot do it now. Try again later."},
		{Refused, "The server refused it. Trying again does not help."},
		{Unconfirmed, "Nobody knows whether it was done. Sending it again under the same name does it once."},
		{Findings, "The command did its work, and something is not well: its output says what."},
	}
}

// Table returns the codes and their meanings as lines of text.
func Table() string {
	var lines strings.Builder
	for _, row := range Meanings() {
		fmt.Fprintf(&lines, "  %d   %s\n", row.Code, row.Meaning)
	}
	return lines.String()
}

// coded is an error with the exit code of a command that ends with it.
type coded struct {
	error

	code Code
}

// Unwrap returns the error without its code.
func (c *coded) Unwrap() error { return c.error }

// With gives an error the code that a command which ends with it shall have. nil stays nil. The outermost code counts.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &coded{err, code}
}

// CodeOf returns the exit code of a command that ends with err.
func CodeOf(err error) Code {
	var known *coded
	switch {
	case err == nil:
		return Done
	case errors.As(err, &known):
		return known.code
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return Unavailable
	}
	return OfAnswer(domain.CodeOf(err))
}

// OfAnswer returns the exit code for what a server, or a part of this program, says of a request. A code that is not known here
// is a failure.
func OfAnswer(code domain.Code) Code {
	switch code {
	case domain.CodeUnavailable, domain.CodeKeyInProgress, domain.CodeRateLimited:
		return Unavailable
	case domain.CodeUnconfirmed:
		return Unconfirmed
	case domain.CodeInternal:
		return Failed
	case domain.CodeBadJSON, domain.CodeBadFrame, domain.CodeBadTarget, domain.CodeBadMessage, domain.CodeTooLong,
		domain.CodeNoUserOrOffline, domain.CodeMailboxFull, domain.CodeInviteEnded, domain.CodeNotInvited, domain.CodeUnauthenticated,
		domain.CodeUnknownUser, domain.CodeUnknownMessage, domain.CodeSelf, domain.CodeNotBlocked, domain.CodeNotWatched,
		domain.CodeLimit, domain.CodeKeyReused, domain.CodeBadAct, domain.CodeNotInForce, domain.CodeMuted, domain.CodeBanned,
		domain.CodeTextRefused:
		return Refused
	default:
		return Failed
	}
}
