package database

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lib/pq"

	"chatting/domain"
)

// calls notes the outcomes that an Observer is told.
type calls []string

func (c *calls) Called(outcome string, took time.Duration) {
	if took < 0 {
		outcome += " before it began"
	}
	*c = append(*c, outcome)
}

func TestAnObserverIsToldWhatBecomesOfEachCall(t *testing.T) {
	dialect, err := newPostgres("postgres://127.0.0.1/x", time.Second)
	noError(t, err)
	var told calls
	db := &DB{dialect: dialect, timeout: time.Minute, observer: &told}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, row := range []struct {
		ctx context.Context //nolint:containedctx // of one row
		err error
	}{
		{t.Context(), nil},
		{t.Context(), domain.NewError(domain.CodeLimit, "Enough.")},
		{t.Context(), errors.New("no such column")},
		{t.Context(), &pq.Error{Code: "57014"}},
		{ended, errors.New("anything")},
	} {
		_ = db.within(row.ctx, "test", func(context.Context) error { return row.err })
	}
	if want := (calls{OutcomeDone, OutcomeDone, OutcomeFailed, OutcomeUnavailable, OutcomeUnavailable}); !slices.Equal(told, want) {
		t.Errorf("the outcomes are %q, want %q", told, want)
	}
}
