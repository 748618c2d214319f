package delivery

import (
	"encoding/binary"
	"testing"
	"time"

	"chatting/domain"
)

func TestOnlyTheLatestAnnouncementsAreKnownAgain(t *testing.T) {
	numbered := func(n uint32) (id domain.EventID) {
		binary.BigEndian.PutUint32(id[:], n)
		return id
	}
	var a announcements
	now := time.Unix(1_700_000_000, 0)
	for n := range uint32(maxAnnounced + 1) {
		if !a.begin(numbered(n), now) {
			t.Fatalf("announcement %d was shown before", n)
		}
	}
	if a.begin(numbered(1), now) || a.begin(numbered(maxAnnounced), now) {
		t.Error("an announcement of late is not known again")
	}
	if !a.begin(numbered(0), now) || len(a.ids) != maxAnnounced || len(a.read) != maxAnnounced {
		t.Errorf("%d and %d announcements are kept", len(a.ids), len(a.read))
	}
}

// What counts is the latest record: a request that is made again and again is the same one as long as it is under way.
func TestAnAnnouncementIsAnotherOneADayAfterItsLatestRecord(t *testing.T) {
	var a announcements
	began := time.Unix(1_700_000_000, 0)
	for _, row := range []struct {
		after time.Duration
		is    bool
	}{{0, true}, {20 * time.Hour, false}, {40 * time.Hour, false}, {65 * time.Hour, true}, {66 * time.Hour, false}, {90 * time.Hour, true}} {
		if got := a.begin(domain.EventID{1}, began.Add(row.after)); got != row.is {
			t.Errorf("after %s: another announcement %t", row.after, got)
		}
	}
	if len(a.ids) != 1 || len(a.read) != 1 {
		t.Errorf("%d and %d announcements are kept", len(a.ids), len(a.read))
	}
}
