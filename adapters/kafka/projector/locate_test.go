package projector

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestAProjectionGoesOnWhereItStoppedUnlessTheLogIsAnotherOne(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t)
	sixth := loggedRecord{offset: 6, at: brokertest.HoursApart.Add(6 * time.Hour), key: []byte("1:2"), value: []byte("6")}.fingerprint()
	at := func(generation, offset, last int64, fingerprint history.RecordFingerprint) history.Projection {
		return history.Projection{
			Next: domain.Place{Generation: generation, Offset: offset}, Last: last, Fingerprint: fingerprint,
		}
	}
	none := history.RecordFingerprint{}
	atStart := loggedRecord{offset: 5, at: brokertest.HoursApart.Add(5 * time.Hour), key: []byte("1:2"), value: []byte("5")}.fingerprint()
	for what, c := range map[string]struct {
		stored    history.Projection
		lostUntil int64
		want      history.Projection
	}{
		"never projected":                  {at(0, 0, -1, none), 0, at(1, 5, -1, none)},
		"in the middle":                    {at(3, 7, 6, sixth), 0, at(3, 7, 6, sixth)},
		"nothing was read yet":             {at(3, 7, -1, none), 0, at(3, 7, -1, none)},
		"at the start":                     {at(3, 5, 4, none), 0, at(3, 5, 4, none)},
		"at the end":                       {at(3, 10, 6, sixth), 0, at(3, 10, 6, sixth)},
		"past the end":                     {at(3, 11, 6, sixth), 0, at(4, 5, -1, none)},
		"another record there":             {at(3, 7, 6, none), 0, at(4, 5, -1, none)},
		"its last record is the first":     {at(3, 6, 5, atStart), 0, at(3, 6, 5, atStart)},
		"another record is the first":      {at(3, 6, 5, none), 0, at(4, 5, -1, none)},
		"its last record is where it ends": {at(3, 11, 10, none), 0, at(4, 5, -1, none)},
		"the last record is lost":          {at(3, 5, 3, none), 0, at(3, 5, 3, none)},
		"the next ones are lost":           {at(3, 4, 3, none), 0, at(3, 5, -1, none)},
		"some cannot be read":              {at(3, 7, 6, sixth), 9, at(3, 9, -1, none)},
		"some before cannot be read":       {at(3, 7, 6, sixth), 7, at(3, 7, 6, sixth)},
		"anew, and some cannot be read":    {at(3, 7, 6, none), 9, at(4, 5, -1, none)},
		"never, and some cannot be read":   {at(0, 0, -1, none), 9, at(1, 9, -1, none)},
	} {
		store := newMemoryHistory()
		store.projections[0] = c.stored
		store.projections[1] = history.Projection{Next: domain.Place{Generation: 9, Partition: 1, Offset: 9}}
		var log bytes.Buffer
		projector := testProjector(t, cluster, topic, store)
		projector.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		p := projector.partition(0)
		p.lostUntil = c.lostUntil
		got, err := p.locate(brokertest.Context(t))
		if err != nil || got != c.want {
			t.Errorf("%s: it goes on at %+v, %v; want %+v", what, got.Next, err, c.want.Next)
		}
		if store.projections[0] != c.want || p.lostUntil != 0 {
			t.Errorf("%s: the database says %+v", what, store.projections[0])
		}
		before, after := c.stored.Next, c.want.Next
		anew, lost := before.Generation > 0 && after.Generation > before.Generation, after.Generation == before.Generation && after != before
		if strings.Contains(log.String(), "made anew") != anew || strings.Contains(log.String(), "lost records") != lost {
			t.Errorf("%s: it says %q", what, log.String())
		}
	}
}

// Of several brokers, one that was deposed may say that the log ends earlier than it does.
func TestALogThatIsBackInFullIsNotTakenToBeAnotherOne(t *testing.T) {
	cluster, topic, claims := logtest.ClaimedLog(t)
	store := newMemoryHistory()
	store.projections[0] = history.Projection{Next: domain.Place{Generation: 3, Offset: 10}, Last: -1}
	projector := testProjector(t, cluster, topic, store)
	projector.options.Embedded = false
	p := projector.partition(0)
	locate := func(end int64, want error) {
		t.Helper()
		claims.EndAt(end)
		if _, err := p.locate(brokertest.Context(t)); !errors.Is(err, want) {
			t.Errorf("with its end at %d: %v", end, err)
		}
	}
	locate(9, errPastEnd)
	since := p.pastEnd
	if since.IsZero() {
		t.Error("nothing is noted of it")
	}
	locate(9, errPastEnd)
	if p.pastEnd != since {
		t.Error("it begins to wait anew")
	}
	locate(10, nil)
	if !p.pastEnd.IsZero() {
		t.Error("the time before still counts")
	}
}

func TestWhatIsPendingIsRecalledAlsoWhereAClockWasAhead(t *testing.T) {
	now := brokertest.HoursApart
	for late, want := range map[time.Duration]time.Duration{
		-time.Hour: -time.Hour, -1: -1, 0: 0, 1: 0, time.Hour: 0, 365 * 24 * time.Hour: 0,
	} {
		if since := recallSince(now.Add(late), now); !since.Equal(now.Add(want - domain.InviteLookback)) {
			t.Errorf("at a record of %s it is recalled since %s", late, since.Sub(now))
		}
	}
}

func TestARebuildBeginsWhereAllInvitesFromBeforeTheLogHaveEnded(t *testing.T) {
	cluster, topic, claims := logtest.ClaimedLog(t)
	p := testProjector(t, cluster, topic, newMemoryHistory()).partition(0)
	for _, c := range []struct{ start, since, want int64 }{{5, 7, 7}, {5, 5, 5}, {5, 4, 5}} {
		claims.Start, claims.Since = c.start, c.since
		from, err := p.rebuildFrom(brokertest.Context(t))
		if err != nil || from != c.want {
			t.Errorf("a log from %d on: rebuilt from %d, %v; want %d", c.start, from, err, c.want)
		}
		if at, want := claims.Asked(t), brokertest.HoursApart.Add(5*time.Hour+domain.InviteLookback); !at.Equal(want) {
			t.Errorf("it asks for %s, not %s", at, want)
		}
	}
	// What was not projected yet will be, as ever.
	for _, c := range []struct{ since, next, want int64 }{{7, 9, 7}, {9, 7, 7}} {
		claims.Start, claims.Since = 5, c.since
		store := newMemoryHistory()
		at := domain.Place{Generation: 3, Offset: c.next}
		store.projections[0] = history.Projection{Next: at, Last: -1}
		rebuilt, err := testProjector(t, cluster, topic, store).Rebuild(brokertest.Context(t), 0)
		claims.Asked(t)
		from := at
		from.Offset = c.want
		if err != nil || rebuilt != (Rebuilt{from, at}) || store.projections[0].Next != from {
			t.Errorf("projected up to %d: rebuilt %+v, %v", c.next, rebuilt, err)
		}
	}
	claims.Start = 0 // nothing is missing
	if from, err := p.rebuildFrom(brokertest.Context(t)); err != nil || from != 0 || claims.WasAsked() {
		t.Errorf("a whole log is rebuilt from %d, %v", from, err)
	}
}

// As a restore does it, whose history is another log's.
func TestAProjectionThatIsBegunAnewKeepsTheBlocks(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t)
	store := newMemoryHistory()
	store.projections[0] = history.Projection{Next: domain.Place{Generation: 3, Offset: 900}, Last: 899}
	block := blocks.State{Pair: blocks.Pair{Blocker: 1, Target: 2}, Blocked: true, Version: 7}
	store.stored = []blocks.Stored{{State: block}}
	end, err := testProjector(t, cluster, topic, store).BeginAnew(brokertest.Context(t), 0, 7)
	want := history.Projection{Next: domain.Place{Generation: 7, Offset: 5}, Last: -1}
	if err != nil || end != 8 || store.projections[0] != want {
		t.Errorf("it begins at %+v, up to %d, %v", store.projections[0], end, err)
	}
	at := want.Next
	at.Offset--
	if len(store.changes) != 1 || store.changes[0] != (history.JudgedChange{State: block, At: at}) {
		t.Errorf("the blocks at its start are %+v", store.changes)
	}
}

// The blocks of other partitions are theirs.
func TestABeginningKnowsTheBlocksOfItsOwnPartition(t *testing.T) {
	const partitions = 8
	home := logclient.PartitionOf([]byte("1:2"), logclient.PartitionNumbers(partitions))
	broker, cluster, _ := logtest.Controlled(t, 7)
	brokertest.Listed(broker, func(_ *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		response.Topics[0].Partitions[0].Offset = 0 // nothing is logged
	})
	store := newMemoryHistory()
	var ours blocks.State
	for user := domain.UserID(2); user < 40; user++ {
		block := blocks.State{Pair: blocks.Pair{Blocker: user, Target: 1}, Blocked: true, Version: 1}
		store.stored = append(store.stored, blocks.Stored{State: block})
		if user == 2 {
			ours = block
		}
	}
	projector := testProjector(t, cluster, "log", store)
	projector.options.Partitions = partitions
	p := projector.partition(home)
	to := history.Projection{Next: domain.Place{Generation: 1, Partition: home}, Last: -1}
	if err := p.begin(brokertest.Context(t), history.Projection{}, to); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, change := range store.changes {
		found = found || change.State == ours
		if key := domain.Between(change.Blocker, change.Target).Key(); projector.partitionOf([]byte(key)) != home {
			t.Errorf("it takes the block of %s", key)
		}
	}
	if !found || len(store.changes) == len(store.stored) {
		t.Errorf("it takes %d of %d blocks", len(store.changes), len(store.stored))
	}
}

// Such a reading would wait for ever, for a right that it does not have.
