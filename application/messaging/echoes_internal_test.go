package messaging

import (
	"slices"
	"testing"
	"time"

	"chatting/domain"
)

// heldLog is a port.ConversationLog whose answers the test gives.
type heldLog struct{ done []func(error) }

func (l *heldLog) Append(_ domain.Event, done func(error)) { l.done = append(l.done, done) }

func TestWhatHasItsOutcomeIsNotWaitedForAnyMore(t *testing.T) {
	log := &heldLog{}
	e := NewEchoes(log, time.Second)
	var outcomes []domain.Code
	for n := range byte(3) {
		e.Append(domain.Event{ID: domain.EventID{n}}, func(err error) { outcomes = append(outcomes, domain.CodeOf(err)) })
	}
	e.Read(domain.EventID{1}, nil)
	log.done[0](domain.NewError(domain.CodeUnavailable, "no"))
	if e.due.first == nil || e.due.first != e.due.last || len(e.waiting) != 1 {
		t.Errorf("due are %+v, %d wait, want one", e.due, len(e.waiting))
	}
	if want := []domain.Code{"", domain.CodeUnavailable}; !slices.Equal(outcomes, want) {
		t.Errorf("the outcomes are %q, want %q", outcomes, want)
	}
}
