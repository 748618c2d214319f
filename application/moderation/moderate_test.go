package moderation_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKey = []byte("the key of this test")

// acts is a moderation.Store and a moderation.Log, whose records its register reads.
type acts struct {
	register *moderation.Register
	now      func() time.Time

	mu        sync.Mutex
	added     []domain.Act
	published map[int64][]int64 // the places of acts, by version
	appended  int
	// What the calls fail with.
	failAdd, failAudit, failAppend, failPublished, failLatest, failLatestOfSort error

	audited int
	asked   [][]int64 // the places with which acts were appended
	// away has a partition, but 0, take no act.
	away bool
	// unread has acts be appended that nobody reads.
	unread  bool
	forgot  []domain.UserID
	pending error
}

const partitions = 2

func newActs() (*acts, *moderation.Moderate) {
	a := &acts{now: time.Now, published: make(map[int64][]int64)}
	a.register = moderation.NewRegister(partitions, a.now)
	if err := a.register.Load(context.Background(), a, a.now()); err != nil {
		panic(err)
	}
	return a, &moderation.Moderate{Store: a, Log: a, Register: a.register, Now: a.now}
}

func (a *acts) Key(context.Context) ([]byte, error) { return testKey, nil }

func (a *acts) Acts(context.Context, time.Time) ([]domain.PlacedAct, error) { return nil, nil }

func (a *acts) Add(_ context.Context, act domain.Act) (domain.Act, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failAdd != nil {
		return domain.Act{}, a.failAdd
	}
	act.Version = int64(len(a.added) + 1)
	act.ID = domain.ActID(testKey, act)
	a.added = append(a.added, act)
	return act, nil
}

func (a *acts) LatestOf(_ context.Context, _ domain.UserID, limit int) ([]domain.Act, error) {
	latest := slices.Clone(a.added)
	slices.Reverse(latest)
	return latest[:min(limit, len(latest))], a.failLatest
}

func (a *acts) LatestOfSort(_ context.Context, user domain.UserID, sort domain.ActKind) (domain.Act, bool, error) {
	for _, act := range slices.Backward(a.added) {
		if act.User == user && act.Kind.Sort() == sort {
			return act, true, a.failLatestOfSort
		}
	}
	return domain.Act{}, false, a.failLatestOfSort
}

func (a *acts) ForgetReasons(_ context.Context, user domain.UserID) error {
	a.forgot = append(a.forgot, user)
	return nil
}

func (a *acts) PendingOf(_ context.Context, user domain.UserID) ([]domain.Act, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pending []domain.Act
	for _, act := range a.added {
		if _, done := a.published[act.Version]; !done && act.User == user {
			pending = append(pending, act)
		}
	}
	return pending, nil
}

func (a *acts) Pending(_ context.Context, before time.Time, limit int) ([]domain.UserID, error) {
	a.mu.Lock()
	failed := a.pending
	a.mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	var users []domain.UserID
	for _, act := range a.added {
		if pending, _ := a.PendingOf(context.Background(), act.User); len(pending) > 0 && act.Time.Before(before) && !slices.Contains(users, act.User) {
			users = append(users, act.User)
		}
	}
	return users[:min(limit, len(users))], nil
}

func (a *acts) Published(_ context.Context, act domain.Act, places []int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failPublished == nil {
		a.published[act.Version] = places
	}
	return a.failPublished
}

// done returns how many acts are published.
func (a *acts) done() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.published)
}

func (a *acts) AppendToAudit(_ domain.Act, done func(error)) {
	a.mu.Lock()
	a.audited++
	failed := a.failAudit
	a.mu.Unlock()
	done(failed)
}

// AppendAct has an act stand at the offsets 10 v and 10 v + 1, where v is its version.
func (a *acts) AppendAct(act domain.Act, places []int64, done func(error)) {
	a.mu.Lock()
	a.appended++
	a.asked = append(a.asked, places)
	failed, unread, away := a.failAppend, a.unread, a.away
	a.mu.Unlock()
	if failed == nil && !unread {
		for p := range partitions {
			if away && p > 0 {
				failed = errAway
				continue
			}
			a.register.Read(act, domain.Place{Partition: p, Offset: 10*act.Version + int64(p)})
		}
	}
	done(failed)
}

var errAway = domain.NewError(domain.CodeUnavailable, "away")

func mute(user domain.UserID) moderation.Command {
	return moderation.Command{User: user, Kind: domain.ActMute, Reason: "spam", Actor: "alice"}
}

// said is a text of a user.
func said(user domain.UserID) domain.Event {
	return domain.Event{Body: domain.ChatMessage{From: user, To: 300}}
}

func TestAnActCountsOnceItIsAnswered(t *testing.T) {
	a, use := newActs()
	act, err := use.Execute(t.Context(), mute(201))
	if err != nil {
		t.Fatal(err)
	}
	if act.User != 201 || act.Reason != "spam" || act.Version != 1 || !slices.Equal(a.published[1], []int64{10, 11}) {
		t.Errorf("the act is %+v, and stands at %v", act, a.published)
	}
	for offset, want := range map[int64]domain.Code{9: "", 11: domain.CodeMuted} {
		porttest.WantCode(t, "a text", a.register.Judge(said(201), domain.Place{Offset: offset}, time.Now()), want)
	}
	porttest.WantCode(t, "the next text", a.register.MaySend(201, 0), domain.CodeMuted)
	for _, body := range []domain.Body{domain.GameInvite{From: 201, To: 300}, domain.ReadMark{Reader: 201, Partner: 300}, domain.SystemMessage{To: 201}} {
		porttest.WantCode(t, "what is no text", a.register.Judge(domain.Event{Body: body}, domain.Place{Offset: 11}, time.Now()), "")
	}
	porttest.WantCode(t, "a login", a.register.MayCome(201, time.Time{}), "")
}

func TestWhatFailsIsToldAndTheActIsLeftToTheRelay(t *testing.T) {
	away := domain.NewError(domain.CodeUnavailable, "away")
	for name, test := range map[string]struct {
		fail  func(*acts)
		want  domain.Code
		added int
	}{
		"the request":      {func(*acts) {}, domain.CodeBadAct, 0},
		"the database":     {func(a *acts) { a.failAdd = away }, domain.CodeUnavailable, 0},
		"the log":          {func(a *acts) { a.failAppend = away }, domain.CodeUnconfirmed, 1},
		"noting it":        {func(a *acts) { a.failPublished = errors.New("away") }, domain.CodeUnconfirmed, 1},
		"reading it again": {func(a *acts) { a.unread = true }, domain.CodeUnconfirmed, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, use := newActs()
			test.fail(a)
			command := mute(201)
			if name == "the request" {
				command.Actor = ""
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := use.Execute(ctx, command)
			porttest.WantCode(t, name, err, test.want)
			if len(a.added) != test.added || len(a.published) != 0 {
				t.Errorf("%s: %d acts are added, and %v published", name, len(a.added), a.published)
			}
		})
	}
}

func TestWhatWasLeftIsPublishedBeforeALaterAct(t *testing.T) {
	a, use := newActs()
	a.failAppend = domain.NewError(domain.CodeUnavailable, "away")
	_, err := use.Execute(t.Context(), mute(201))
	porttest.WantCode(t, "the first act", err, domain.CodeUnconfirmed)
	a.failAppend = nil
	_, err = use.Execute(t.Context(), moderation.Command{User: 201, Kind: domain.ActUnmute, Actor: "alice"})
	porttest.WantCode(t, "the second act", err, "")
	if a.appended != 3 || len(a.published) != 2 {
		t.Errorf("%d appends, and %v is published", a.appended, a.published)
	}
	porttest.WantCode(t, "the next text", a.register.MaySend(201, 0), "")
}

func TestNothingIsInForceWithoutItsRecordInTheAudit(t *testing.T) {
	a, use := newActs()
	a.failAudit = errAway
	_, err := use.Execute(t.Context(), mute(201))
	porttest.WantCode(t, "without the audit", err, domain.CodeUnconfirmed)
	if a.appended != 0 {
		t.Error("the act stands in the conversations")
	}
	porttest.WantCode(t, "the next text", a.register.MaySend(201, 0), "")
	a.failAudit = nil
	if err := moderation.Publish(t.Context(), a, a, a.register, 201); err != nil {
		t.Fatal(err)
	}
	porttest.WantCode(t, "once it is published", a.register.MaySend(201, 0), domain.CodeMuted)
}

func TestAnActIsWrittenAgainOnlyWhereItLacks(t *testing.T) {
	a, use := newActs()
	a.away = true
	_, err := use.Execute(t.Context(), mute(201))
	porttest.WantCode(t, "without a partition", err, domain.CodeUnconfirmed)
	a.away = false
	if err := moderation.Publish(t.Context(), a, a, a.register, 201); err != nil {
		t.Fatal(err)
	}
	if a.audited != 1 {
		t.Errorf("the audit has it %d times", a.audited)
	}
	if len(a.asked) != 2 || a.asked[0] != nil || !slices.Equal(a.asked[1], []int64{10, domain.ActNowhere}) {
		t.Errorf("it is appended beside the places %v", a.asked)
	}
}

func TestARelayThatFailsTriesLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, use := newActs()
		a.failAudit = errAway
		_, err := use.Execute(t.Context(), mute(201))
		porttest.WantCode(t, "the act", err, domain.CodeUnconfirmed)
		relay := &moderation.RelayActs{
			Outbox: a, Log: a, Register: a.register, Now: a.now, Every: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan struct{})
		go func() { defer close(done); relay.Run(ctx) }()
		time.Sleep(time.Hour)
		a.mu.Lock()
		if a.audited > 70 {
			t.Errorf("in an hour it tried %d times", a.audited)
		}
		a.failAudit = nil
		a.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if a.done() != 1 {
			t.Error("a minute after the audit is back, the act is not published")
		}
		stop()
		<-done
	})
}

func TestTheRelayPublishesWhatIsOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, use := newActs()
		a.failAppend = domain.NewError(domain.CodeUnavailable, "away")
		_, err := use.Execute(t.Context(), mute(201))
		porttest.WantCode(t, "the act", err, domain.CodeUnconfirmed)
		a.failAppend = nil
		var log strings.Builder
		relay := &moderation.RelayActs{
			Outbox: a, Log: a, Register: a.register, Now: a.now, Every: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan struct{})
		go func() { defer close(done); relay.Run(ctx) }()
		synctest.Wait()
		if a.done() != 0 {
			t.Error("an act is published that its own request may publish")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if a.done() != 1 {
			t.Error("the act is not published")
		}
		a.mu.Lock()
		a.pending = errors.New("the database is away")
		a.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		stop()
		<-done
		if !strings.Contains(log.String(), "acts are not published yet: will try again") {
			t.Errorf("the log says %q", log.String())
		}
	})
}

func TestAnErasureEndsAMuteAndForgetsReasons(t *testing.T) {
	a, use := newActs()
	if err := use.Forgets(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if len(a.added) != 1 || a.added[0].Kind != domain.ActUnmute || a.added[0].Actor != "erasure" || !slices.Equal(a.forgot, []domain.UserID{201}) {
		t.Errorf("added %+v, forgot %v", a.added, a.forgot)
	}
	a.failAdd = domain.NewError(domain.CodeNotInForce, "no mute")
	if err := use.Forgets(t.Context(), 202); err != nil || len(a.forgot) != 2 {
		t.Errorf("without a mute: %v, forgot %v", err, a.forgot)
	}
	a.failAdd = domain.NewError(domain.CodeUnavailable, "away")
	porttest.WantCode(t, "the erasure", use.Forgets(t.Context(), 203), domain.CodeUnavailable)
	if len(a.forgot) != 2 {
		t.Error("it forgot reasons of acts that it could not end")
	}
}

func TestWhatIsInForceIsToldHoweverManyActsCameLater(t *testing.T) {
	a, use := newActs()
	carry := func(kind domain.ActKind, until time.Time) {
		t.Helper()
		if _, err := use.Execute(t.Context(), moderation.Command{User: 201, Kind: kind, Until: until, Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(muted, banned bool, acts int) {
		t.Helper()
		s, err := use.StandingOf(t.Context(), 201)
		if err != nil || s.Muted != muted || s.Banned != banned || len(s.Acts) != acts {
			t.Errorf("muted %t, banned %t, %d acts, %v; want %t, %t, %d", s.Muted, s.Banned, len(s.Acts), err, muted, banned, acts)
		}
	}
	want(false, false, 0)
	carry(domain.ActBan, time.Time{})
	carry(domain.ActMute, time.Now().Add(time.Hour))
	want(true, true, 2)
	for range 60 {
		carry(domain.ActEnd, time.Time{})
	}
	want(true, true, 50)
	carry(domain.ActUnban, time.Time{})
	want(true, false, 50)
	use.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	want(false, false, 50)

	away := domain.NewError(domain.CodeUnavailable, "away")
	for _, fails := range []*error{&a.failLatest, &a.failLatestOfSort} {
		*fails = away
		_, err := use.StandingOf(t.Context(), 201)
		porttest.WantCode(t, "the question", err, domain.CodeUnavailable)
		*fails = nil
	}
}

func TestAnErasureForgetsTheReasonOfAnActThatWasLeft(t *testing.T) {
	a, use := newActs()
	a.failAudit = errAway
	_, err := use.Execute(t.Context(), moderation.Command{User: 201, Kind: domain.ActBan, Reason: "fraud", Actor: "alice"})
	porttest.WantCode(t, "the ban", err, domain.CodeUnconfirmed)
	porttest.WantCode(t, "an erasure meanwhile", use.Forgets(t.Context(), 201), domain.CodeUnavailable)
	if len(a.forgot) != 0 {
		t.Error("reasons are forgotten beside one that is kept")
	}
	a.failAudit, a.failAdd = nil, domain.NewError(domain.CodeNotInForce, "no mute")
	if err := use.Forgets(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if a.done() != 1 || !slices.Equal(a.forgot, []domain.UserID{201}) {
		t.Errorf("%d acts are published, and the reasons of %v forgotten", a.done(), a.forgot)
	}
}

func TestAForgedActIsNotRead(t *testing.T) {
	a, use := newActs()
	act, err := use.Execute(t.Context(), mute(201))
	if err != nil {
		t.Fatal(err)
	}
	act.User = 202
	if a.register.Read(act, domain.Place{}) {
		t.Error("an act is read that says something else than what was given out")
	}
	porttest.WantCode(t, "the next text", a.register.MaySend(202, 0), "")
	if moderation.NewRegister(partitions, time.Now).Read(a.added[0], domain.Place{}) {
		t.Error("an act is read before the key is known")
	}
}

func TestActsThatEndConnectionsAreToldOnce(t *testing.T) {
	a, use := newActs()
	var told []domain.ActKind
	a.register.OnEnd(func(act domain.Act) {
		if a.register.VersionOf(act.User) != act.Version {
			t.Error("an act is told before it counts")
		}
		told = append(told, act.Kind)
	})
	for _, kind := range []domain.ActKind{domain.ActMute, domain.ActEnd, domain.ActBan, domain.ActUnban, domain.ActRevoke} {
		if _, err := use.Execute(t.Context(), moderation.Command{User: 201, Kind: kind, Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(told, []domain.ActKind{domain.ActEnd, domain.ActBan, domain.ActRevoke}) {
		t.Errorf("told of %v", told)
	}
	a.register.Read(a.added[1], domain.Place{Offset: 99}) // again
	if len(told) != 3 {
		t.Error("an act is told that came again")
	}
}

func TestWhoIsBannedOrHasARevokedTokenStaysOut(t *testing.T) {
	a, use := newActs()
	for user, kind := range map[domain.UserID]domain.ActKind{201: domain.ActBan, 202: domain.ActRevoke} {
		if _, err := use.Execute(t.Context(), moderation.Command{User: user, Kind: kind, Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(time.Minute)
	porttest.WantCode(t, "a banned user", a.register.MayCome(201, later), domain.CodeBanned)
	porttest.WantCode(t, "the ban", a.register.BanOf(201), domain.CodeBanned)
	porttest.WantCode(t, "no ban", a.register.BanOf(202), "")
	porttest.WantCode(t, "an old token", a.register.MayCome(202, time.Now().Add(-time.Minute)), domain.CodeUnauthenticated)
	porttest.WantCode(t, "a token of an unknown age", a.register.MayCome(202, time.Time{}), domain.CodeUnauthenticated)
	porttest.WantCode(t, "a new token", a.register.MayCome(202, later), "")
}

func TestAnActThatOnlyTheStoreHasStandsNowhere(t *testing.T) {
	register := moderation.NewRegister(partitions, time.Now)
	act := domain.Act{User: 201, Kind: domain.ActMute, Version: 3, Time: time.Now()}
	kept := domain.PlacedAct{Act: act, Places: []int64{domain.ActNowhere, domain.ActNowhere}}
	if err := register.Load(t.Context(), loaded{acts: []domain.PlacedAct{kept}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if places := register.PlacesOf(act); places != nil {
		t.Errorf("it stands at %v", places)
	}
}

// loaded is what a store has.
type loaded struct {
	acts []domain.PlacedAct
	err  error
}

func (l loaded) Key(context.Context) ([]byte, error) { return testKey, l.err }

func (l loaded) Acts(_ context.Context, since time.Time) ([]domain.PlacedAct, error) {
	return l.acts, nil
}

func TestARegisterBeginsWithWhatTheStoreHas(t *testing.T) {
	register := moderation.NewRegister(partitions, time.Now)
	away := errors.New("away")
	if err := register.Load(t.Context(), loaded{err: away}, time.Now()); !errors.Is(err, away) {
		t.Errorf("loading fails with %v", err)
	}
	act := domain.Act{User: 201, Kind: domain.ActMute, Version: 3, Time: time.Now().Add(-time.Hour)}
	if err := register.Load(t.Context(), loaded{acts: []domain.PlacedAct{{Act: act, Places: []int64{5, domain.ActNowhere}}}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	judged := func(partition int, offset int64) domain.Code {
		return domain.CodeOf(register.Judge(said(201), domain.Place{Partition: partition, Offset: offset}, time.Now()))
	}
	if judged(0, 4) != "" || judged(0, 6) != domain.CodeMuted || judged(1, 6) != "" {
		t.Error("the places are not those of the store")
	}
	register.Restart(1)
	if judged(1, 0) != domain.CodeMuted {
		t.Error("in a partition that was made anew the act does not count")
	}
	register.Begins(0, time.Now())
	if judged(0, 0) != domain.CodeMuted {
		t.Error("an act from before the log does not count from its beginning")
	}
}
