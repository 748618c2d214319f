package exit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"chatting/domain"
)

func TestTheCodeOfAnErrorIsFoundThroughItsWrapping(t *testing.T) {
	for _, row := range []struct {
		err  error
		want Code
	}{
		{nil, Done},
		{io.EOF, Failed},
		{With(Usage, nil), Done},
		{fmt.Errorf("user 1: %w", &net.OpError{Op: "dial", Err: io.EOF}), Unavailable},
		{&net.OpError{Op: "listen", Err: io.EOF}, Failed},
		{With(Usage, io.EOF), Usage},
		{fmt.Errorf("reading: %w", With(Findings, io.EOF)), Findings},
		{With(Refused, With(Usage, io.EOF)), Refused},
		{errors.Join(io.EOF, With(Unavailable, io.EOF)), Unavailable},
		{domain.WrapError(domain.CodeUnavailable, "The database is away.", io.EOF), Unavailable},
		{fmt.Errorf("x: %w", domain.NewError(domain.CodeUnconfirmed, "Not known.")), Unconfirmed},
		{domain.NewError(domain.CodeTooLong, "Too long."), Refused},
		{With(Usage, domain.NewError(domain.CodeUnavailable, "Away.")), Usage},
	} {
		if got := CodeOf(row.err); got != row.want {
			t.Errorf("%v: %d, want %d", row.err, got, row.want)
		}
	}
	if err := With(Usage, io.EOF); err.Error() != "EOF" || !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if got := OfAnswer("a code of a later server"); got != Failed {
		t.Error(got)
	}
}

func TestEachCodeHasOneMeaning(t *testing.T) {
	seen := map[string]bool{}
	for i, row := range Meanings() {
		if int(row.Code) != i || row.Meaning == "" || seen[row.Meaning] {
			t.Errorf("row %d: %+v", i, row)
		}
		seen[row.Meaning] = true
	}
	if len(seen) != int(Findings)+1 {
		t.Errorf("%d meanings", len(seen))
	}
}
