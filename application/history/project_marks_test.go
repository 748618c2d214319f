package history_test

import (
	"slices"
	"testing"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// readUpTo is a mark of reader at the message that said calls so.
func readUpTo(reader, partner domain.UserID, message string, unread int, receipt bool) domain.ReadMark {
	return domain.ReadMark{
		Reader: reader, Partner: partner, Message: domain.DerivedID("test", message), Unread: unread, Receipt: receipt,
	}
}

func TestTheLatestMarkOfEachReaderIsKeptForWhoMayLearnOfIt(t *testing.T) {
	batch := stretch(
		said("a", 0, domain.ChatMessage{From: 2, To: 1}),
		said("mark a", 1, readUpTo(1, 2, "a", 4, true)),
		said("b", 2, domain.ChatMessage{From: 2, To: 1}),
		said("mark b", 3, readUpTo(1, 2, "b", 3, true)),
		said("of the other", 4, readUpTo(2, 1, "a", 0, true)),
		said("block", 5, blockedFrom(3, 1, 1)),
		said("of one who is blocked", 6, readUpTo(1, 3, "x", 1, true)),
		said("without a receipt", 7, readUpTo(1, 4, "x", 2, false)),
		said("of the platform's", 8, readUpTo(1, domain.System, "x", 5, false)),
		said("mark b", 9, readUpTo(1, 2, "b", 3, true)), // a record that came twice
	)
	judged, _ := batch.Judge(nil, nil)
	entries, marks := history.Marks(judged)
	var places []int64
	for _, entry := range entries {
		places = append(places, entry.Place.Offset)
	}
	if !slices.Equal(places, []int64{100, 102}) {
		t.Errorf("the entries are those at %v", places)
	}
	slices.SortFunc(marks, func(a, b history.JudgedEntry) int { return int(a.Place.Offset - b.Place.Offset) })
	type kept struct {
		offset          int64
		reader, partner domain.UserID
		unread          int
		hidden          bool
	}
	var got []kept
	for _, mark := range marks {
		if mark.Addressee() != domain.System {
			t.Errorf("the mark at %d is unread by %d", mark.Place.Offset, mark.Addressee())
		}
		got = append(got, kept{mark.Place.Offset, mark.Sender, mark.Recipient, mark.Unread, mark.Hidden})
	}
	if want := []kept{{103, 1, 2, 3, false}, {104, 2, 1, 0, false}, {106, 1, 3, 1, true}, {107, 1, 4, 2, true}, {108, 1, 0, 5, true}}; !slices.Equal(got, want) {
		t.Errorf("the marks are %+v, want %+v", got, want)
	}
	if want := []blocks.Pair{
		{Blocker: 1, Target: 2}, {Blocker: 2, Target: 1}, {Blocker: 3, Target: 1}, {Blocker: 4, Target: 1},
	}; !slices.Equal(batch.Pairs(), want) {
		t.Errorf("the pairs are %v, want %v", batch.Pairs(), want)
	}
}
