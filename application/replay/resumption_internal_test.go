package replay

import (
	"fmt"
	"slices"
	"testing"

	"chatting/application/past"
	"chatting/domain"
)

// Only what may stand in the log once more is remembered of a resume.
func TestOfAResumeIsRememberedWhatMayComeAgain(t *testing.T) {
	entry := func(n int, name domain.ClientMessageID, body domain.Body) past.Entry {
		return past.Entry{Event: domain.Event{ID: domain.DerivedID("test", fmt.Sprint(n)), ClientMessageID: name, Body: body}}
	}
	entries := []past.Entry{
		entry(0, "", domain.ChatMessage{From: 2, To: 1}),
		entry(1, "m", domain.ChatMessage{From: 2, To: 1}),
		entry(2, "", domain.ChatMessage{From: 1, To: 2}),
		entry(3, "", domain.SystemMessage{To: 1}),
		entry(4, "", domain.ReadMark{Reader: 1, Partner: 2}),
	}
	for history, want := range map[bool][]int{false: {1, 3, 4}, true: {0, 1, 3, 4}} {
		var m missed
		m.note(1, entries, history)
		var ids []domain.EventID
		for _, n := range want {
			ids = append(ids, entries[n].Event.ID)
		}
		if !slices.Equal(m.again, ids) {
			t.Errorf("from the history %v: %v, want %v", history, m.again, ids)
		}
	}
}
