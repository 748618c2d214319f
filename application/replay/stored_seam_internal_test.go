package replay

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
)

// place is a place in partition 0.
func place(generation, offset int64) domain.Place {
	return domain.Place{Generation: generation, Offset: offset}
}

func TestTheSeamIsWhereTheHistoryWas(t *testing.T) {
	for what, test := range map[string]struct {
		before, cursor    domain.Place
		unknown           bool // how far the history is
		end               int64
		from, at, to      domain.Place
		log               [2]int64 // what is read
		anew              bool
		confirms, limited domain.Place // of the end, and of a place behind it if the log is read from 8 on only
	}{
		"a cursor in the history": {
			before: place(1, 5), cursor: place(1, 2), end: 9,
			from: place(1, 2), at: place(1, 5), to: place(1, 9), log: [2]int64{5, 9}, confirms: place(1, 9), limited: place(1, 5),
		},
		"a cursor in the log": {
			before: place(1, 5), cursor: place(1, 7), end: 9,
			from: place(1, 7), at: place(1, 5), to: place(1, 9), log: [2]int64{5, 9}, confirms: place(1, 9), limited: place(1, 7),
		},
		"a cursor at the end": {
			before: place(1, 5), cursor: place(1, 20), end: 9,
			from: place(1, 9), at: place(1, 5), to: place(1, 9), log: [2]int64{5, 9}, confirms: place(1, 9), limited: place(1, 12),
		},
		"a history at the end": {
			before: place(1, 9), cursor: place(1, 2), end: 9,
			from: place(1, 2), at: place(1, 9), to: place(1, 9), log: [2]int64{9, 9}, confirms: place(1, 9), limited: place(1, 12),
		},
		"a cursor in an earlier topic": {
			before: place(2, 5), cursor: place(1, 200), end: 9,
			from: place(1, 200), at: place(2, 5), to: place(2, 9), log: [2]int64{5, 9}, confirms: place(2, 9), limited: place(2, 5),
		},
		"a topic that the history does not know": {
			before: place(1, 50), cursor: place(1, 20), end: 9, anew: true,
			from: place(1, 20), at: place(1, 50), to: place(1, 50), log: [2]int64{0, 0}, confirms: place(1, 50), limited: place(1, 12),
		},
		"no history": {
			unknown: true, cursor: place(1, 2), end: 9,
			from: place(1, 2), at: place(1, 2), to: place(1, 9), log: [2]int64{2, 9}, confirms: place(1, 9), limited: place(1, 2),
		},
		"no history, and a topic that nobody knows": {
			unknown: true, cursor: place(1, 20), end: 9, anew: true,
			from: place(1, 20), at: place(1, 20), to: place(1, 20), log: [2]int64{0, 0}, confirms: place(1, 20), limited: place(1, 12),
		},
	} {
		end := history.LogEnd{Offsets: []int64{test.end}, Before: []domain.Place{test.before}}
		if test.unknown {
			end.Before, end.Unknown = nil, errors.New("away")
		}
		s := newSeam(end)
		s.begin([]domain.Place{test.cursor})
		if s.from[0] != test.from || s.at[0] != test.at || s.to[0] != test.to || s.isAnew(0) != test.anew || s.noHistory != test.unknown {
			t.Errorf("%s: from %v, at %v, to %v, anew %t", what, s.from, s.at, s.to, s.anew)
		}
		all := func(past.Stretch) bool { return true }
		asked := s.stretch(7, all)
		if !reflect.DeepEqual(asked, past.Stretch{User: 7, From: test.log[:1], To: test.log[1:], BeginningFirst: true}) {
			t.Errorf("%s: of the log is read %v", what, asked)
		}
		if s.shorten(asked, []int64{test.log[0]}) || s.confirms(test.confirms) != test.confirms {
			t.Errorf("%s: it is limited, though nothing is left out", what)
		}
		s.shorten(asked, []int64{8})
		if got := s.confirms(place(test.to.Generation, 12)); got != test.limited {
			t.Errorf("%s: if the log is read from 8 on, 12 confirms %v, want %v", what, got, test.limited)
		}
	}
}

func TestOnlyWhatIsNeededIsReadOfALongLog(t *testing.T) {
	s := newSeam(history.LogEnd{Offsets: []int64{9}, Before: []domain.Place{place(1, 2)}})
	s.begin([]domain.Place{place(1, 7)})
	if got := s.stretch(7, func(p past.Stretch) bool { return p.To[0]-p.From[0] < 5 }); got.From[0] != 7 || got.To[0] != 9 {
		t.Errorf("of the log is read %v", got)
	}
}

func TestWithoutTheHistoryAnEarlierTopicIsLeftForLater(t *testing.T) {
	s := newSeam(history.LogEnd{Offsets: []int64{9}, Before: []domain.Place{place(2, 5)}})
	s.begin([]domain.Place{place(1, 200)})
	s.shorten(past.Stretch{From: []int64{5}}, []int64{8})
	s.withoutHistory()
	if s.from[0] != place(2, 0) || s.at[0] != place(2, 0) || !s.noHistory {
		t.Errorf("from %v, at %v", s.from, s.at)
	}
	if got := s.confirms(place(2, 9)); got != place(1, 200) {
		t.Errorf("the end confirms %v, though the rest of the earlier topic is not delivered", got)
	}
}

func TestANilSeamLimitsNothing(t *testing.T) {
	var s *seam
	if s.confirms(place(1, 5)) != place(1, 5) || s.isAnew(0) {
		t.Error("it limits something")
	}
}

// A conversation that goes over the seam is one conversation, whose turns are merged with others'.
func TestConversationsGoOverTheSeam(t *testing.T) {
	var log []history.Entry
	inHistory := &waitingMessages{}
	for n := range 12 {
		inHistory.add(domain.UserID(10+n%2), 0, int64(n), 1+n)
		if n >= 5 {
			log = append(log, inHistory.entries[n])
		}
	}
	inHistory.entries = inHistory.entries[:5]
	for window := range 4 {
		inHistory.window = window
		b := &backlog{
			undelivered: &seamedBacklogs{Backlogs: inHistory, at: []domain.Place{inPartition(0, 5)}, log: storedLog{
				upTo: []domain.Place{inPartition(0, 12)}, entries: [][]history.Entry{log},
			}},
			user: 2, from: []domain.Place{inPartition(0, 0)}, to: []domain.Place{inPartition(0, 12)}, passed: []domain.Place{inPartition(0, 0)},
		}
		if err := b.nextWindow(t.Context(), nobody); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for _, given := range replayed(t, b, nobody).given {
			for _, frame := range strings.Fields(given)[1:] {
				size, _, _ := strings.Cut(frame, "@")
				n, _ := strconv.Atoi(size)
				sizes = append(sizes, n)
			}
		}
		if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}; !slices.Equal(sizes, want) {
			t.Errorf("with windows of %d: %v", window, sizes)
		}
	}
}

// The history may have gone on since the seam was noted.
func TestNothingIsTakenFromTheHistoryBehindTheSeam(t *testing.T) {
	inHistory := &waitingMessages{}
	for n := range 12 {
		inHistory.add(10, 0, int64(n), 1)
	}
	log := slices.Clone(inHistory.entries[5:])
	inHistory.entries = inHistory.entries[:8]
	s := &seamedBacklogs{Backlogs: inHistory, at: []domain.Place{inPartition(0, 5)}, log: storedLog{
		upTo: []domain.Place{inPartition(0, 12)}, entries: [][]history.Entry{log},
	}}
	lists, err := s.Stretches(t.Context(), 2, []ConversationStretch{{Sender: 10, From: inPartition(0, 2), To: inPartition(0, 11)}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for _, entry := range lists[0] {
		offsets = append(offsets, entry.Place.Offset)
	}
	if want := []int64{2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(offsets, want) {
		t.Errorf("got %v, want %v", offsets, want)
	}
}

func TestTheHistoryIsAskedForALimitedTime(t *testing.T) {
	slow := &slowMessages{}
	s := &seamedBacklogs{Backlogs: slow, at: []domain.Place{inPartition(0, 5)}, patience: time.Minute, log: storedLog{
		upTo: []domain.Place{inPartition(0, 9)}, entries: make([][]history.Entry, 1),
	}}
	from, to := []domain.Place{inPartition(0, 0)}, []domain.Place{inPartition(0, 9)}
	for _, want := range []bool{true, false} {
		if _, _, err := s.Waiting(t.Context(), 2, from, to, 1); err != nil || slow.limited != want {
			t.Errorf("limited: %t, want %t (%v)", slow.limited, want, err)
		}
		s.patience = 0
	}
}

// slowMessages notes whether a question has a deadline.
type slowMessages struct {
	waitingMessages

	limited bool
}

func (s *slowMessages) Waiting(
	ctx context.Context, user domain.UserID, from, to []domain.Place, limit int,
) ([]WaitingSender, []domain.Place, error) {
	_, s.limited = ctx.Deadline()
	return s.waitingMessages.Waiting(ctx, user, from, to, limit)
}
