package domain_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

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
