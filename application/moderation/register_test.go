package moderation_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/moderation"
	"chatting/domain"
)

// onClock is a register whose clock the test sets.
type onClock struct {
	*moderation.Register

	at   time.Time
	told []domain.ActKind // the acts that ended connections
}

func newOnClock(t *testing.T) *onClock {
	t.Helper()
	r := &onClock{at: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}
	r.Register = moderation.NewRegister(1, func() time.Time { return r.at })
	if err := r.Load(t.Context(), loaded{}, r.at); err != nil {
		t.Fatal(err)
	}
	r.OnEnd(func(act domain.Act) { r.told = append(r.told, act.Kind) })
	return r
}

// asks returns an act on user 201 that is asked for now.
func (r *onClock) asks(kind domain.ActKind, until time.Time) domain.Act {
	act := domain.Act{User: 201, Kind: kind, Until: until, Actor: "alice", Version: r.at.UnixMilli(), Time: r.at}
	act.ID = domain.ActID(testKey, act)
	return act
}

// reads has an act on user 201 be asked for and read now.
func (r *onClock) reads(t *testing.T, kind domain.ActKind, until time.Time) domain.Act {
	t.Helper()
	r.at = r.at.Add(time.Millisecond) // for a version of its own
	act := r.asks(kind, until)
	if !r.Read(act, domain.Place{Offset: r.at.UnixMilli()}) {
		t.Fatalf("%s is not read", kind)
	}
	return act
}

// lives lets days go by.
func (r *onClock) lives(days int) {
	for range 2 * days {
		r.at = r.at.Add(12 * time.Hour)
		r.Forget()
	}
}

func (r *onClock) wantBanned(t *testing.T, banned bool) {
	t.Helper()
	if err := r.BanOf(201); (err != nil) != banned {
		t.Errorf("the ban is %v", err)
	}
}

func TestAClockThatLeapsForgetsNoBan(t *testing.T) {
	r := newOnClock(t)
	r.reads(t, domain.ActBan, r.at.Add(7*24*time.Hour))
	r.at = r.at.Add(2 * domain.RevocationLength)
	r.Forget()
	other := r.asks(domain.ActEnd, time.Time{})
	other.User = 202
	other.ID = domain.ActID(testKey, other)
	if !r.Read(other, domain.Place{}) {
		t.Error("an act of now is not read")
	}
	r.at = r.at.Add(time.Minute - 2*domain.RevocationLength)
	r.Forget()
	r.wantBanned(t, true)
	// Acts of the right clocks are read while this one is ahead.
	right := r.at
	r.at = r.at.Add(2 * domain.RevocationLength)
	r.Forget()
	ahead := r.at
	r.at = right
	unban := r.asks(domain.ActUnban, time.Time{})
	r.at = ahead
	if !r.Read(unban, domain.Place{Offset: right.UnixMilli()}) {
		t.Error("an act is not read by a node whose clock is ahead")
	}
}

func TestAnActThatWasForgottenDoesNotComeBack(t *testing.T) {
	r := newOnClock(t)
	ban := r.reads(t, domain.ActBan, time.Time{})
	r.lives(1)
	end := r.reads(t, domain.ActEnd, time.Time{})
	unban := r.reads(t, domain.ActUnban, time.Time{})
	r.lives(29)
	for _, act := range []domain.Act{ban, end, unban} { // the relay may publish them again
		if !r.Read(act, domain.Place{Offset: r.at.UnixMilli()}) {
			t.Errorf("%s is not known any more", act.Kind)
		}
	}
	r.lives(11)
	if r.VersionOf(201) != 0 {
		t.Fatal("nothing is forgotten")
	}
	for _, act := range []domain.Act{ban, end, unban} {
		if r.Read(act, domain.Place{Offset: r.at.UnixMilli()}) {
			t.Errorf("%s is read", act.Kind)
		}
	}
	r.wantBanned(t, false)
	if want := []domain.ActKind{domain.ActBan, domain.ActEnd}; !slices.Equal(r.told, want) {
		t.Errorf("told of %v, want %v", r.told, want)
	}
}

func TestTheRelayHasOldActsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, use := newActs()
		if _, err := use.Execute(t.Context(), moderation.Command{User: 201, Kind: domain.ActEnd, Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
		relay := &moderation.RelayActs{
			Outbox: a, Log: a, Register: a.register, Now: a.now, Every: time.Hour, Logger: slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); relay.Run(ctx) }()
		for _, look := range []struct {
			after time.Duration
			known bool
		}{{moderation.Lately - time.Hour, true}, {3 * time.Hour, false}} {
			time.Sleep(look.after)
			synctest.Wait()
			if (a.register.VersionOf(201) > 0) != look.known {
				t.Errorf("%s later the act is known: %t", look.after, !look.known)
			}
		}
		stop()
		<-done
	})
}

func TestABanThatIsInForceIsKnownHoweverOldItIs(t *testing.T) {
	r := newOnClock(t)
	ban := r.reads(t, domain.ActBan, time.Time{})
	r.lives(400)
	if !r.Read(ban, domain.Place{Offset: r.at.UnixMilli()}) {
		t.Error("it is not read")
	}
	r.wantBanned(t, true)
}

func TestAReaderThatIsFarBehindReadsTheActsOfThen(t *testing.T) {
	r := newOnClock(t)
	then, ban := r.at, r.asks(domain.ActBan, time.Time{})
	r.lives(90)
	if r.ReadAsOf(ban, domain.Place{}, r.at) {
		t.Error("an old act is read that stands where the log has come to now")
	}
	if !r.ReadAsOf(ban, domain.Place{}, then.Add(time.Minute)) {
		t.Error("an act is not read where the log has come to the time of it")
	}
	// The clock of another node was ahead when it wrote to the log.
	if last := r.asks(domain.ActUnban, time.Time{}); !r.ReadAsOf(last, domain.Place{Offset: 1}, r.at.Add(domain.RevocationLength)) {
		t.Error("an act of now is not read")
	}
}
