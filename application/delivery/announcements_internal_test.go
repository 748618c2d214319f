package delivery

import (
	"encoding/binary"
	"testing"

	"chatting/domain"
)

func TestOnlyTheLatestAnnouncementsAreKnownAgain(t *testing.T) {
	numbered := func(n uint32) (id domain.EventID) {
		binary.BigEndian.PutUint32(id[:], n)
		return id
	}
	var a announcements
	for n := range uint32(maxAnnounced + 1) {
		if !a.begin(numbered(n)) {
			t.Fatalf("announcement %d was shown before", n)
		}
	}
	if a.begin(numbered(1)) || a.begin(numbered(maxAnnounced)) {
		t.Error("an announcement of late is not known again")
	}
	if !a.begin(numbered(0)) || len(a.ids) != maxAnnounced || len(a.shown) != maxAnnounced {
		t.Errorf("%d and %d announcements are kept", len(a.ids), len(a.shown))
	}
}
