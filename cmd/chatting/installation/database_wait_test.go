package installation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"chatting/adapters/sqlstore"
	"chatting/domain"
)

func TestAStartRepeatsOnlyWhatTheDatabaseDidNotAnswer(t *testing.T) {
	away := domain.NewError(domain.CodeUnavailable, "The database is not available.")
	moved := domain.WrapError(domain.CodeUnavailable, "The database is not available.", &sqlstore.OtherLogError{})
	for name, row := range map[string]struct {
		answers []error
		want    error
	}{
		"it answers":            {[]error{nil}, nil},
		"it answers in the end": {[]error{away, away, nil}, nil},
		"another failure":       {[]error{io.EOF}, io.EOF},
		"a failure in the end":  {[]error{away, io.EOF}, io.EOF},
		"another log":           {[]error{moved}, moved},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				asked := 0
				err := Patiently(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) error {
					asked++
					return row.answers[asked-1]
				})
				if !errors.Is(err, row.want) || asked != len(row.answers) {
					t.Errorf("asked %d times, it comes to %v", asked, err)
				}
				if said := strings.Count(log.String(), "waiting for the database"); said != min(1, len(row.answers)-1) {
					t.Errorf("it was said %d times", said)
				}
			})
		})
	}
}

func TestWaitingForTheDatabaseIsSaidOnceAMinuteAndEndsWithTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, stop := context.WithTimeout(t.Context(), 2*databaseWaitRepeat+databaseWaitEvery*9/2) // ends while it waits
		defer stop()
		err := Patiently(ctx, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) error {
			return domain.NewError(domain.CodeUnavailable, "The database is not available.")
		})
		if !errors.Is(err, context.DeadlineExceeded) || strings.Count(log.String(), "waiting for the database") != 3 {
			t.Errorf("%v after\n%s", err, log.String())
		}
	})
}
