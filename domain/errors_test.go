package domain_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"chatting/domain"
)

func TestTheOutermostCodeOfAnErrorCounts(t *testing.T) {
	inner := domain.WrapError(domain.CodeUnavailable, "The log is away.", io.ErrUnexpectedEOF)
	for _, test := range []struct {
		err  error
		want domain.Code
	}{
		{nil, ""},
		{io.EOF, domain.CodeInternal},
		{inner, domain.CodeUnavailable},
		{fmt.Errorf("appending: %w", inner), domain.CodeUnavailable},
		{domain.WrapError(domain.CodeUnconfirmed, "Not known.", inner), domain.CodeUnconfirmed},
	} {
		if got := domain.CodeOf(test.err); got != test.want {
			t.Errorf("CodeOf(%v) = %q, want %q", test.err, got, test.want)
		}
	}
	if !errors.Is(inner, io.ErrUnexpectedEOF) {
		t.Error("the cause is not found in the chain")
	}
}

func TestTheCauseIsInTheLogLineAndNotInTheMessage(t *testing.T) {
	err := domain.WrapError(domain.CodeUnavailable, "The log is away.", io.EOF)
	if err.Message != "The log is away." || err.Error() != "The log is away.: EOF" {
		t.Errorf("Message %q, Error %q", err.Message, err.Error())
	}
}

func TestWhenToTryAgainIsSaidOfTheOutermostErrorThatIsClassified(t *testing.T) {
	limited := domain.NewRateLimited("Too many.", 3*time.Second)
	if limited.Code != domain.CodeRateLimited || limited.Message != "Too many." {
		t.Errorf("code %s, message %q", limited.Code, limited.Message)
	}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 0},
		{io.EOF, 0},
		{domain.NewError(domain.CodeRateLimited, "Too many."), 0},
		{limited, 3 * time.Second},
		{fmt.Errorf("sending: %w", limited), 3 * time.Second},
		{domain.WrapError(domain.CodeUnavailable, "Not now.", limited), 0},
	} {
		if got := domain.RetryAfterOf(test.err); got != test.want {
			t.Errorf("RetryAfterOf(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}

// Clients compare these strings.
func TestTheCodesOfErrorFramesAreThoseOfTheContract(t *testing.T) {
	for code, want := range map[domain.Code]string{
		domain.CodeBadJSON: "bad_json", domain.CodeBadFrame: "bad_frame", domain.CodeBadTarget: "bad_target",
		domain.CodeBadMessage: "bad_message", domain.CodeTooLong: "too_long", domain.CodeNoUserOrOffline: "no_user_or_offline",
		domain.CodeMailboxFull: "mailbox_full", domain.CodeRateLimited: "rate_limited", domain.CodeInviteEnded: "invite_ended",
		domain.CodeNotInvited: "not_invited", domain.CodeUnavailable: "unavailable", domain.CodeUnconfirmed: "unconfirmed",
		domain.CodeTextRefused: "text_refused",
	} {
		if string(code) != want {
			t.Errorf("%q, want %q", code, want)
		}
	}
}
