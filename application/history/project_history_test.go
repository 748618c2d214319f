package history_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestAVersionOfABlockCountsWhereItIsKnownToStand(t *testing.T) {
	pair := blocks.Pair{Blocker: 2, Target: 1}
	at := func(offset int64) domain.Place {
		return domain.Place{Generation: 1, Offset: offset}
	}
	batch := history.ProjectionBatch{From: history.Projection{Next: at(0)}}
	for offset, version := range []int64{1, 3, 2, 3, 5, math.MaxInt64} {
		batch.Events = append(batch.Events, history.ProjectedEvent{Offset: int64(offset), Event: domain.Event{
			Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: version%2 == 1, Version: version},
		}})
	}
	believed, forged := batch.WithoutForged(map[blocks.Pair]blocks.GivenVersions{
		pair: {Newest: 3, Places: map[int64]domain.Place{1: at(0), 2: at(2), 3: at(3)}},
	})
	var offsets []int64
	for _, e := range believed.Events {
		offsets = append(offsets, e.Offset)
	}
	if forged != 3 || len(offsets) != 3 || offsets[1] != 2 || offsets[2] != 3 {
		t.Errorf("%d are left out, believed are those at %v", forged, offsets)
	}
}

// stretch is a batch of partition 3 from offset 100 on, of events at the offsets that follow.
func stretch(events ...domain.Event) history.ProjectionBatch {
	at := func(offset int) domain.Place {
		return domain.Place{Generation: 2, Partition: 3, Offset: int64(offset)}
	}
	batch := history.ProjectionBatch{
		From: history.Projection{Next: at(100)}, To: history.Projection{Next: at(100 + len(events))},
	}
	for i, event := range events {
		batch.Events = append(batch.Events, history.ProjectedEvent{
			Offset: int64(100 + i), Event: event, Frame: []byte{byte(i)},
		})
	}
	return batch
}

// said makes an event with an id of its own, some seconds after porttest.SomeTime.
func said(name string, second int, body domain.Body) domain.Event {
	return domain.Event{ID: domain.DerivedID("test", name), Time: porttest.SomeTime.Add(time.Duration(second) * time.Second), Body: body}
}

func blockedFrom(blocker, target domain.UserID, version int64) domain.BlockChanged {
	return domain.BlockChanged{Blocker: blocker, Target: target, Blocked: version%2 == 1, Version: version}
}

func TestTheHistoryShowsWhatItsRecipientHadNotBlockedByThen(t *testing.T) {
	batch := stretch(
		said("before", 0, domain.ChatMessage{From: 1, To: 2}),
		said("block", 1, blockedFrom(2, 1, 3)),
		said("hidden", 2, domain.ChatMessage{From: 1, To: 2}),
		said("own", 3, domain.ChatMessage{From: 2, To: 1}),
		said("invite", 4, domain.GameInvite{From: 1, To: 2}),
		said("system", 5, domain.SystemMessage{To: 2}),
		said("late", 6, blockedFrom(2, 1, 2)), // of an earlier version
		said("still hidden", 7, domain.ChatMessage{From: 1, To: 2}),
		said("unblock", 8, blockedFrom(2, 1, 4)),
		said("after", 9, domain.ChatMessage{From: 1, To: 2}),
		said("to itself", 10, domain.ChatMessage{From: 1, To: 1}),
		said("of itself", 11, domain.BlockChanged{Blocker: 1, Target: 1, Blocked: true, Version: 1}),
		said("to itself again", 12, domain.ChatMessage{From: 1, To: 1}),
		said("blocked before", 13, domain.ChatMessage{From: 3, To: 2}),
		said("before", 14, domain.ChatMessage{From: 1, To: 2}), // a record that came twice
		said("before", 15, domain.ChatMessage{From: 1, To: 4}), // the id of another conversation
		said("unseen", 16, domain.GameInvite{From: 5, To: 2}),
		said("shown", 17, domain.GameInvite{From: 6, To: 2}),
		said("unblock, again", 18, blockedFrom(2, 1, 4)),
	)
	batch.Events[16].Unseen = true
	known := blocks.State{Pair: blocks.Pair{Blocker: 2, Target: 3}, Blocked: true, Version: 1}
	blocking := map[blocks.Pair]blocks.State{
		known.Pair:              known,
		{Blocker: 2, Target: 1}: {Pair: blocks.Pair{Blocker: 2, Target: 1}, Version: 2},
	}
	entries, changes := batch.Judge(blocking, nil)
	if len(blocking) != 2 || blocking[blocks.Pair{Blocker: 2, Target: 1}].Version != 2 {
		t.Errorf("the argument was changed: %v", blocking)
	}
	const nobody, chat, invite, system = domain.System, history.EntryChat, history.EntryInvite, history.EntrySystem
	for i, want := range []struct {
		offset    int64
		sender    domain.UserID
		recipient domain.UserID
		kind      history.EntryKind
		hidden    bool
		addressee domain.UserID
	}{
		{100, 1, 2, chat, false, 2},
		{102, 1, 2, chat, true, nobody},
		{103, 2, 1, chat, false, 1},
		{104, 1, 2, invite, true, nobody},
		{105, nobody, 2, system, false, 2},
		{107, 1, 2, chat, true, nobody},
		{109, 1, 2, chat, false, 2},
		{110, 1, 1, chat, false, nobody},
		{112, 1, 1, chat, false, nobody},
		{113, 3, 2, chat, true, nobody},
		{115, 1, 4, chat, false, 4},
		{116, 5, 2, invite, true, nobody},
		{117, 6, 2, invite, false, nobody},
	} {
		if i >= len(entries) {
			t.Fatalf("%d entries", len(entries))
		}
		got, event := entries[i], batch.Events[want.offset-100]
		place := domain.Place{Generation: 2, Partition: 3, Offset: want.offset}
		if got.Place != place || got.ID != event.Event.ID || !got.At.Equal(event.Event.Time) || string(got.Frame) != string(event.Frame) {
			t.Fatalf("entry %d is %+v, want the event at %d", i, got, want.offset)
		}
		if got.Sender != want.sender || got.Recipient != want.recipient || got.Kind != want.kind || got.Hidden != want.hidden ||
			got.Addressee() != want.addressee || got.Conversation != domain.Between(want.sender, want.recipient) {
			t.Errorf("the entry at %d is %+v to %d, want %+v", want.offset, got, got.Addressee(), want)
		}
		if !got.SeenBy(want.sender) && want.sender != want.recipient || got.SeenBy(want.recipient) == want.hidden {
			t.Errorf("the entry at %d: seen by its sender %v, by its recipient %v", want.offset, got.SeenBy(want.sender), got.SeenBy(want.recipient))
		}
	}
	if len(entries) != 13 {
		t.Errorf("%d entries, want 13", len(entries))
	}
	at := func(offset int64) domain.Place {
		return domain.Place{Generation: 2, Partition: 3, Offset: offset}
	}
	state := func(version int64) blocks.State {
		return blocks.State{Pair: blocks.Pair{Blocker: 2, Target: 1}, Blocked: version%2 == 1, Version: version}
	}
	if want := []history.JudgedChange{{State: state(3), At: at(101)}, {State: state(4), At: at(108)}}; !slices.Equal(changes, want) {
		t.Errorf("the changes are %+v, want %+v", changes, want)
	}
}

func TestTheHistoryKeepsNothingThatIsTooOldOrErased(t *testing.T) {
	batch := stretch(
		said("too old", -1, domain.ChatMessage{From: 1, To: 2}),
		said("just in time", 0, domain.ChatMessage{From: 1, To: 2}),
		said("of the erased", 1, domain.ChatMessage{From: 7, To: 2}),
		said("to the erased", 2, domain.ChatMessage{From: 2, To: 7}),
		said("to a higher one", 3, domain.ChatMessage{From: 7, To: 9}),
		said("from the end on", 4, domain.ChatMessage{From: 7, To: 2}),
	)
	batch.Oldest = porttest.SomeTime
	entries, _ := batch.Judge(nil, map[domain.UserID]domain.Place{7: {Generation: 2, Partition: 3, Offset: 105}})
	var offsets []int64
	for _, entry := range entries {
		offsets = append(offsets, entry.Place.Offset)
	}
	if !slices.Equal(offsets, []int64{101, 105}) {
		t.Errorf("the history has those at %v", offsets)
	}
}

func TestABatchNamesThePairsThatItNeedsOnce(t *testing.T) {
	batch := stretch(
		said("a", 0, domain.ChatMessage{From: 1, To: 2}),
		said("b", 0, domain.ChatMessage{From: 1, To: 2}),
		said("c", 0, blockedFrom(2, 1, 1)),
		said("d", 0, blockedFrom(3, 4, 1)),
		said("e", 0, domain.ChatMessage{From: 2, To: 1}),
		said("f", 0, domain.ChatMessage{From: 1, To: 1}),
		said("g", 0, domain.SystemMessage{To: 1}),
		said("h", 0, blockedFrom(3, 4, 2)),
		said("i", 0, domain.GameInvite{From: 5, To: 6}),
	)
	pair := func(blocker, target domain.UserID) blocks.Pair {
		return blocks.Pair{Blocker: blocker, Target: target}
	}
	if got, want := batch.Pairs(), []blocks.Pair{pair(2, 1), pair(3, 4), pair(1, 2), pair(6, 5)}; !slices.Equal(got, want) {
		t.Errorf("the pairs are %v, want %v", got, want)
	}
	if got, want := batch.Changes(), []blocks.Pair{pair(2, 1), pair(3, 4)}; !slices.Equal(got, want) {
		t.Errorf("the pairs that change are %v, want %v", got, want)
	}
}

func TestOnlyTheEventThatTheDatabaseMadeForAVersionIsBelieved(t *testing.T) {
	own := func(version int64) domain.EventID { return domain.BlockEventID([]byte("key"), 2, 1, version) }
	other := domain.DerivedID("test", "other")
	event := func(id domain.EventID, version int64) domain.Event {
		return domain.Event{ID: id, Body: blockedFrom(2, 1, version)}
	}
	for what, test := range map[string]struct {
		given blocks.GivenVersions
		event domain.Event
		want  bool
	}{
		"its own event":                     {blocks.GivenVersions{Newest: 3, EventOf: own}, event(own(3), 3), true},
		"that of another version":           {blocks.GivenVersions{Newest: 3, EventOf: own}, event(own(2), 3), false},
		"one that was not given out":        {blocks.GivenVersions{Newest: 2, EventOf: own}, event(own(3), 3), false},
		"after the last random one":         {blocks.GivenVersions{Newest: 4, Random: 3, EventOf: own}, event(own(4), 4), true},
		"the last random one":               {blocks.GivenVersions{Newest: 4, Random: 3, EventOf: own}, event(other, 3), true},
		"another after the last random one": {blocks.GivenVersions{Newest: 4, Random: 3, EventOf: own}, event(other, 4), false},
		"random ones only":                  {blocks.GivenVersions{Newest: 3}, event(other, 3), true},
		"a random one, not given out":       {blocks.GivenVersions{Newest: 3}, event(other, 4), false},
		"the one in the outbox":             {blocks.GivenVersions{Newest: 3, Events: map[int64]domain.EventID{3: other}}, event(other, 3), true},
		"not the one in the outbox":         {blocks.GivenVersions{Newest: 3, Events: map[int64]domain.EventID{3: other}}, event(own(3), 3), false},
		"at the place where it stands":      {blocks.GivenVersions{Newest: 3, Places: map[int64]domain.Place{3: {Generation: 2, Partition: 3, Offset: 100}}}, event(other, 3), true},
		"elsewhere":                         {blocks.GivenVersions{Newest: 3, Places: map[int64]domain.Place{3: {Generation: 2, Partition: 3, Offset: 99}}}, event(other, 3), false},
		"at this place of an earlier topic": {blocks.GivenVersions{Newest: 3, Places: map[int64]domain.Place{3: {Generation: 1, Partition: 3, Offset: 100}}}, event(other, 3), false},
		"none was given out":                {blocks.GivenVersions{}, event(other, 1), false},
	} {
		batch := stretch(test.event, said("chat", 0, domain.ChatMessage{From: 1, To: 2}))
		believed, forged := batch.WithoutForged(map[blocks.Pair]blocks.GivenVersions{{Blocker: 2, Target: 1}: test.given})
		want := 1
		if test.want {
			want = 0
		}
		if forged != want || len(believed.Events) != 2-want || len(batch.Events) != 2 || believed.From != batch.From || believed.To != batch.To {
			t.Errorf("%s: %d are forged, %+v are left", what, forged, believed.Events)
		}
	}
}

func TestAChangeThatIsReplacedIsFoundByTheOneThatReplacesIt(t *testing.T) {
	batch := stretch()
	batch.Supersedes = map[int64]int64{107: 93}
	change := history.JudgedChange{At: domain.Place{Generation: 2, Partition: 3, Offset: 107}}
	if at, ok := batch.Replaced(change); !ok || at != (domain.Place{Generation: 2, Partition: 3, Offset: 93}) {
		t.Errorf("it replaces %+v, %v", at, ok)
	}
	change.At.Offset = 93
	if at, ok := batch.Replaced(change); ok {
		t.Errorf("it replaces %+v", at)
	}
}

func TestTheBlocksWhereAStretchBeginsAreThoseOfTheNewestVersionBeforeIt(t *testing.T) {
	pair := blocks.Pair{Blocker: 2, Target: 1}
	for what, test := range map[string]struct {
		stored  int64
		pending int64
		logged  []int64
		want    int64 // 0: no state
	}{
		"nothing since":                    {3, 0, nil, 3},
		"one stands in the stretch":        {3, 0, []int64{3}, 2},
		"two do":                           {4, 0, []int64{3, 4}, 2},
		"all do":                           {2, 0, []int64{1, 2}, 0},
		"one waits in the outbox":          {3, 3, nil, 2},
		"two wait":                         {4, 3, nil, 2},
		"three wait":                       {5, 3, nil, 2},
		"the first one waits":              {1, 1, nil, 0},
		"one waits, one stands there":      {5, 5, []int64{4}, 3},
		"an earlier one stands there late": {5, 0, []int64{3}, 5},
		"one that waits stands there, too": {5, 5, []int64{5}, 4},
	} {
		state := blocks.State{Pair: pair, Blocked: test.stored%2 == 1, Version: test.stored}
		logged := map[blocks.Pair]map[int64]struct{}{pair: {}, {Blocker: 1, Target: 2}: {test.stored: {}}}
		for _, version := range test.logged {
			logged[pair][version] = struct{}{}
		}
		got := blocks.StatesAt([]blocks.Stored{{State: state, Pending: test.pending}}, logged)
		var want []blocks.State
		if test.want > 0 {
			want = []blocks.State{{Pair: pair, Blocked: test.want%2 == 1, Version: test.want}}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
}

func TestPlacesOfAPartitionAreInTheOrderOfGenerationsThenOffsets(t *testing.T) {
	places := []domain.Place{{Generation: 1, Offset: 3}, {Generation: 1, Offset: 9}, {Generation: 2, Offset: 0}, {Generation: 2, Offset: 5}}
	for i, a := range places {
		for j, b := range places {
			if a.Before(b) != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, a.Before(b))
			}
		}
	}
}
