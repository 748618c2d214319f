package application

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

// heldLog is a ConversationLog whose answers the test gives.
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
	if e.due.Len() != 1 || len(e.waiting) != 1 {
		t.Errorf("%d are due, %d wait, want one", e.due.Len(), len(e.waiting))
	}
	if want := []domain.Code{"", domain.CodeUnavailable}; !slices.Equal(outcomes, want) {
		t.Errorf("the outcomes are %q, want %q", outcomes, want)
	}
}

func TestAnEndIsReachedOnceEveryPartitionHasItInTheSameTopic(t *testing.T) {
	at := func(generation, offset int64) LogPosition { return LogPosition{Generation: generation, Offset: offset} }
	for what, test := range map[string]struct {
		end         int64
		before, now LogPosition
		want        bool
	}{
		"behind it":                    {9, at(1, 3), at(1, 8), false},
		"at it":                        {9, at(1, 3), at(1, 9), true},
		"past it":                      {9, at(1, 3), at(1, 10), true},
		"at it from the beginning":     {9, at(1, 9), at(1, 9), true},
		"past it, of an older topic":   {9, at(1, 20), at(1, 20), false},
		"noticed that it is another":   {9, at(1, 20), at(2, 3), false},
		"has the other one, up to it":  {9, at(1, 20), at(2, 9), true},
		"another one since, past that": {9, at(1, 20), at(2, 30), true},
	} {
		end := logEnd{offsets: []int64{0, test.end}, before: []LogPosition{at(1, 0), test.before}}
		want := []int{1}
		if test.want {
			want = nil
		}
		if got := end.missing([]LogPosition{at(1, 0), test.now}); !slices.Equal(got, want) {
			t.Errorf("%s: missing is %v", what, got)
		}
	}
	end := logEnd{offsets: []int64{5, 5}, before: []LogPosition{at(1, 0), at(1, 0)}}
	for _, c := range []struct {
		now  []LogPosition
		want []int
	}{
		{[]LogPosition{at(1, 4), at(1, 5)}, []int{0}}, {[]LogPosition{at(1, 5), at(1, 4)}, []int{1}},
		{[]LogPosition{at(1, 4), at(1, 4)}, []int{0, 1}}, {[]LogPosition{at(1, 5), at(1, 5)}, nil},
	} {
		if got := end.missing(c.now); !slices.Equal(got, c.want) {
			t.Errorf("at %v, missing is %v", c.now, got)
		}
	}
}

// gatedOffsets is a ProjectedOffsets that answers when the test says so.
type gatedOffsets struct {
	gate             chan struct{}
	asked, now, most atomic.Int32
}

func (o *gatedOffsets) Projected(_ context.Context, partitions int) ([]LogPosition, error) {
	o.asked.Add(1)
	if now := o.now.Add(1); now > o.most.Load() {
		o.most.Store(now)
	}
	<-o.gate
	o.now.Add(-1)
	return make([]LogPosition, partitions), nil
}

func TestTheDatabaseIsAskedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offsets := &gatedOffsets{gate: make(chan struct{})}
		rounds := &projectedRounds{offsets: offsets, partitions: 2}
		var answers atomic.Int32
		ask := func(n int) {
			for range n {
				go func() {
					if places, err := rounds.get(t.Context()); err != nil || len(places) != 2 {
						t.Errorf("%v, %v", places, err)
					}
					answers.Add(1)
				}()
				synctest.Wait()
			}
		}
		ask(1)
		ask(9) // they came while the first question was under way: an answer to it may be too old for them
		if offsets.asked.Load() != 1 {
			t.Errorf("%d questions at once", offsets.asked.Load())
		}
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 1 || offsets.asked.Load() != 2 {
			t.Errorf("%d answers, %d questions", answers.Load(), offsets.asked.Load())
		}
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 10 || offsets.asked.Load() != 2 || offsets.most.Load() != 1 {
			t.Errorf("%d answers, %d questions, %d at once", answers.Load(), offsets.asked.Load(), offsets.most.Load())
		}
		ask(1)
		offsets.gate <- struct{}{}
		synctest.Wait()
		if answers.Load() != 11 || offsets.asked.Load() != 3 {
			t.Errorf("%d answers, %d questions", answers.Load(), offsets.asked.Load())
		}
	})
}

// keptCursors is a DeliveryCursors whose answers are given by user.
type keptCursors struct {
	cursors map[domain.UserID][]LogPosition
	errs    map[domain.UserID]error
	asked   map[domain.UserID]int
	saved   int
}

func (c *keptCursors) Cursor(_ context.Context, user domain.UserID) ([]LogPosition, error) {
	c.asked[user]++
	return c.cursors[user], c.errs[user]
}

func (c *keptCursors) SaveCursors(context.Context, map[domain.UserID][]LogPosition) error {
	c.saved++
	return nil
}

func (c *keptCursors) ForgetCursors(context.Context) error { return nil }

// fixedPlaces are ProjectedOffsets and LogEnds that stay.
type fixedPlaces []LogPosition

func (p fixedPlaces) Projected(context.Context, int) ([]LogPosition, error) { return p, nil }

func (p fixedPlaces) EndOffsets(context.Context) ([]int64, error) {
	var ends []int64
	for _, place := range p {
		ends = append(ends, place.Offset)
	}
	return ends, nil
}

func TestWhereStoringBeganIsAskedForUntilItIsKnown(t *testing.T) {
	cursors := &keptCursors{
		cursors: map[domain.UserID][]LogPosition{}, errs: map[domain.UserID]error{}, asked: map[domain.UserID]int{},
	}
	places := fixedPlaces{inPartition(0, 7), inPartition(1, 9)}
	s := NewStoredMessages(cursors, nil, FollowedLog{Projected: places, Ends: places, Partitions: 2}, slog.New(slog.DiscardHandler))
	cursors.errs[domain.System] = errors.New("away")
	if err := s.Begin(t.Context()); err == nil || cursors.saved != 0 {
		t.Errorf("while the database is away: %v, saved %d times", err, cursors.saved)
	}
	cursors.errs[domain.System] = nil
	if err := s.Begin(t.Context()); err != nil || cursors.saved != 1 {
		t.Errorf("the first time: %v, saved %d times", err, cursors.saved)
	}
	cursors.cursors[domain.System] = []LogPosition{inPartition(0, 3), inPartition(1, 4)}
	cursors.asked[domain.System] = 0
	for range 3 {
		if err := s.Begin(t.Context()); err != nil || cursors.saved != 1 {
			t.Errorf("again: %v, saved %d times", err, cursors.saved)
		}
		from, err := s.cursor(t.Context(), 5, places) // a user without a cursor
		if err != nil || !slices.Equal(from, cursors.cursors[domain.System]) {
			t.Errorf("it begins at %v, %v", from, err)
		}
	}
	if got := cursors.asked[domain.System]; got != 1 {
		t.Errorf("the database was asked %d times where storing began", got)
	}
	// Where a user's cursor cannot be told, nobody may think that it has none.
	cursors.errs[6] = errors.New("away")
	if from, err := s.cursor(t.Context(), 6, places); err == nil {
		t.Errorf("it begins at %v", from)
	}
	cursors.cursors[7] = []LogPosition{inPartition(0, 5)}
	s.saving.add(7, []LogPosition{inPartition(0, 6)})
	if from, err := s.cursor(t.Context(), 7, places); err != nil || !slices.Equal(from, []LogPosition{inPartition(0, 6), inPartition(1, 9)}) {
		t.Errorf("it begins at %v, %v", from, err)
	}
}

// recheckedTokens is a TokenRechecks that is away for some tokens, and refuses others.
type recheckedTokens struct {
	away  map[string]bool
	order []string
}

func (r *recheckedTokens) Recheck(_ context.Context, token string) (Identity, error) {
	r.order = append(r.order, token)
	if r.away[token] {
		return Identity{}, domain.NewError(domain.CodeUnavailable, "away: "+token)
	}
	return Identity{User: 1}, nil
}

func TestTheTokensThatHaveWaitedLongestAreCheckedFirst(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tokens := &recheckedTokens{}
	r := &RecheckTokens{
		Tokens: tokens, Every: time.Hour, AtATime: 1, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		tokens: make(map[string]*openToken),
	}
	var want []string
	for n := range 50 {
		token := fmt.Sprint("token", n)
		r.tokens[token] = &openToken{due: now.Add(time.Duration(n-49) * time.Second), holders: []*heldToken{{user: 1}}}
		want = append(want, token)
	}
	r.tokens["later"] = &openToken{due: now.Add(1), holders: []*heldToken{{user: 1}}}
	if r.round(t.Context()); !slices.Equal(tokens.order, want) {
		t.Errorf("they were checked in the order %v", tokens.order)
	}
}

func TestATokenThatNobodyCouldVerifyIsTriedAgainSoon(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for every, within := range map[time.Duration]time.Duration{time.Hour: time.Minute, 10 * time.Second: 10 * time.Second} {
		r := &RecheckTokens{
			Tokens: &recheckedTokens{away: map[string]bool{"t": true}}, Every: every, Now: func() time.Time { return now },
			Logger: slog.New(slog.DiscardHandler),
		}
		h := r.hold("t", 1, nil)
		for range 20 { // the times are by chance
			r.tokens["t"].due = now
			r.round(t.Context())
			if left := r.tokens["t"].due.Sub(now); left <= 0 || left > within {
				t.Errorf("checked every %v, it is tried again after %v", every, left)
			}
		}
		h.release()
		if r.postpone("t"); len(r.tokens) != 0 {
			t.Error("a token of nobody is tried again")
		}
	}
}

func TestTheNextCheckIsInTheSecondHalfOfTheTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &RecheckTokens{Every: time.Minute, Now: func() time.Time { return now }}
	if scan := r.scan(); scan != time.Second {
		t.Errorf("tokens are looked for every %v, want each second", scan)
	}
	if scan := (&RecheckTokens{Every: 10 * time.Second}).scan(); scan != 500*time.Millisecond {
		t.Errorf("tokens are looked for every %v, want twice a second", scan)
	}
	earliest, latest := time.Hour, time.Duration(0)
	for range 2000 {
		left := r.next(time.Minute).Sub(now)
		earliest, latest = min(earliest, left), max(latest, left)
	}
	if earliest < 29*time.Second || latest > 59*time.Second || latest-earliest < 20*time.Second {
		t.Errorf("the next check is after %v to %v, want the second half of the minute less a scan", earliest, latest)
	}
}

func TestAnOutageOfWhoeverVerifiesIsLoggedOnceWithItsCauseAndItsEnd(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var log bytes.Buffer
	tokens := &recheckedTokens{away: map[string]bool{}}
	r := &RecheckTokens{
		Tokens: tokens, Every: time.Minute, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	for _, token := range []string{"a", "b", "c"} {
		r.hold(token, 1, nil)
	}
	round := func(what string, warnings, infos int) {
		t.Helper()
		for _, open := range r.tokens {
			open.due = now
		}
		r.round(t.Context())
		if w, i := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); w != warnings || i != infos {
			t.Errorf("%s: %d warnings and %d times its end, want %d and %d: %s", what, w, i, warnings, infos, &log)
		}
	}
	round("all is well", 0, 0)
	tokens.away["b"], tokens.away["c"] = true, true
	round("an outage", 1, 0)
	if !strings.Contains(log.String(), "tokens=2") || !strings.Contains(log.String(), "away: ") {
		t.Errorf("the log says %s", &log)
	}
	round("it goes on", 1, 0)
	clear(tokens.away)
	round("its end", 1, 1)
	round("all is well again", 1, 1)
}

func TestARefusalIsLoggedWithWhatIsKnownOfIt(t *testing.T) {
	for what, test := range map[string]struct {
		ctx  context.Context
		user domain.UserID
		want string
	}{
		"nothing":          {t.Context(), 0, "count=1"},
		"no address":       {WithClientAddress(t.Context(), ""), 7, "user=7 count=1"},
		"user and address": {WithClientAddress(t.Context(), "192.0.2.1"), 7, "user=7 address=192.0.2.1 count=1"},
	} {
		var log bytes.Buffer
		notices := NewNotices(slog.New(slog.NewTextHandler(&log, nil)), time.Now)
		noteRefusal(test.ctx, notices, RefuseToken("no", RefusedExpired, test.user))
		if got := log.String(); !strings.Contains(got, "\"token refused: expired\" "+test.want) {
			t.Errorf("%s: %s", what, got)
		}
		log.Reset()
		if noteRefusal(test.ctx, notices, errors.New("another error")); log.Len() != 0 {
			t.Errorf("%s: %s", what, &log)
		}
	}
}
