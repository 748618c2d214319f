package projector

import (
	"context"
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/logtest"
)

// keyOfActs is a moderation.Loaded that has a key and no acts.
type keyOfActs []byte

func (k keyOfActs) Key(context.Context) ([]byte, error) { return k, nil }

func (k keyOfActs) Acts(context.Context, time.Time) ([]domain.PlacedAct, error) { return nil, nil }

// An act is good for ever by its id. So one that somebody writes again, long after it was forgotten, must be known by its age.
func TestAnOldActThatIsWrittenAgainKeepsNothingBack(t *testing.T) {
	h, store := projecting(t)
	key := keyOfActs("the key of this test")
	h.partition.projector.options.Acts = key
	if err := h.reader.loadActs(t.Context()); err != nil {
		t.Fatal(err)
	}
	const day = 24 * 60 * 60 // the record at an offset is from so many seconds after 1970
	banned := func(offset, written int64, user domain.UserID) {
		act := domain.Act{User: user, Kind: domain.ActBan, Actor: "alice", Version: 1, Time: time.Unix(100*day, 0)}
		act.ID = domain.ActID(key, act)
		h.record(&recordbatch.StoredRecord{
			Offset: offset, Time: time.Unix(written, 0), Key: []byte(user.String()), Value: kafka.EncodeAct(act),
		})
	}
	says := func(offset int64, user domain.UserID) {
		text := domain.ChatMessage{From: user, To: user + 1, Text: logtest.Text(t, "hello")}
		h.logged(t, offset, domain.Between(user, user+1).Key(), text)
	}
	banned(100*day, 100*day, 1)
	says(110*day, 1)
	says(140*day, 3)
	banned(141*day-1, 141*day-1, 3)
	banned(141*day, 100*day, 5) // the record says that it is as old
	says(142*day, 1)
	says(142*day+1, 3)
	says(142*day+2, 5)
	h.end(143 * day)
	if got := offsets(store.took[0]); !slices.Equal(got, []int64{140 * day, 142*day + 1, 142*day + 2}) {
		t.Errorf("it projects %v", got)
	}
	if len(store.took[0].Acts) != 1 {
		t.Errorf("it takes over %+v", store.took[0].Acts)
	}
}

// A node may project for months. What an act no longer says anything about is dropped, but not while a partition is read in which
// it still does.
func TestActsAreForgottenByThePartitionThatIsFarthestBehind(t *testing.T) {
	h, _ := projecting(t)
	behind, _ := projecting(t)
	key := keyOfActs("the key of this test")
	h.partition.projector.options.Acts = key
	if err := h.reader.loadActs(t.Context()); err != nil {
		t.Fatal(err)
	}
	const day = 24 * 60 * 60
	act := domain.Act{
		User: 1, Kind: domain.ActMute, Actor: "alice", Version: 1, Time: time.Unix(100*day, 0), Until: time.Unix(101*day, 0),
	}
	act.ID = domain.ActID(key, act)
	read := func(h *projection, offset int64, value []byte) {
		h.record(&recordbatch.StoredRecord{Offset: offset, Time: time.Unix(offset, 0), Key: []byte("1"), Value: value})
		h.reader.write()
	}
	wantKnown := func(known bool, when string) {
		t.Helper()
		if got := h.reader.acts.PlacesOf(act) != nil; got != known {
			t.Errorf("%s the act is known: %t", when, got)
		}
	}
	h.reader.of[0] = h
	read(h, 100*day, kafka.EncodeAct(act))
	read(h, 130*day, nil)
	wantKnown(true, "29 days after it ended")
	behind.reader, h.reader.of[1] = h.reader, behind
	read(h, 140*day, nil)
	wantKnown(true, "before the other partition is read")
	read(behind, 120*day, nil)
	wantKnown(true, "while the other partition is 19 days after its end")
	read(behind, 140*day, nil)
	wantKnown(false, "once it has no meaning in any partition")
}
