package domain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

// noon is when the acts of these tests are asked for.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestAnActIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	later := noon.Add(time.Hour)
	for name, test := range map[string]struct {
		user          domain.UserID
		kind          domain.ActKind
		until         time.Time
		reason, actor string
		want          error
	}{
		"a mute":                     {201, domain.ActMute, later, "spam", "alice", nil},
		"a mute without an end":      {201, domain.ActMute, time.Time{}, "", "alice", nil},
		"a ban for ten years":        {201, domain.ActBan, noon.Add(domain.MaxActLength), "", "alice", nil},
		"the longest texts":          {201, domain.ActBan, later, strings.Repeat("r", 400), strings.Repeat("a", 64), nil},
		"nobody":                     {0, domain.ActMute, later, "", "alice", domain.ErrActUser},
		"an unknown kind":            {201, "kick", time.Time{}, "", "alice", domain.ErrActKind},
		"no kind":                    {201, "", time.Time{}, "", "alice", domain.ErrActKind},
		"an end that is past":        {201, domain.ActMute, noon, "", "alice", domain.ErrActUntil},
		"an end that is far ahead":   {201, domain.ActMute, noon.Add(domain.MaxActLength + time.Second), "", "alice", domain.ErrActUntil},
		"an unmute that ends":        {201, domain.ActUnmute, later, "", "alice", domain.ErrActUntil},
		"a long reason":              {201, domain.ActMute, later, strings.Repeat("r", 401), "alice", domain.ErrActReason},
		"a reason of two lines":      {201, domain.ActMute, later, "one\ntwo", "alice", domain.ErrActReason},
		"a reason that is no UTF-8":  {201, domain.ActMute, later, "\xff", "alice", domain.ErrActReason},
		"without an actor":           {201, domain.ActMute, later, "", " ", domain.ErrActActor},
		"a long actor":               {201, domain.ActMute, later, "", strings.Repeat("a", 65), domain.ErrActActor},
		"an actor with a zero in it": {201, domain.ActMute, later, "", "a\x00b", domain.ErrActActor},
	} {
		if _, err := domain.NewAct(test.user, test.kind, test.until, test.reason, test.actor, noon); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestTheIDOfAnActIsAboutAllThatItSays(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	act := domain.Act{User: 201, Kind: domain.ActMute, Until: noon.Add(time.Hour), Reason: "spam", Actor: "alice", Version: 3, Time: noon}
	id := domain.ActID(key, act)
	for name, change := range map[string]func(*domain.Act){
		"user":    func(a *domain.Act) { a.User++ },
		"kind":    func(a *domain.Act) { a.Kind = domain.ActBan },
		"until":   func(a *domain.Act) { a.Until = time.Time{} },
		"reason":  func(a *domain.Act) { a.Reason, a.Actor = "spa", "malice" },
		"actor":   func(a *domain.Act) { a.Actor = "bob" },
		"version": func(a *domain.Act) { a.Version++ },
		"time":    func(a *domain.Act) { a.Time = a.Time.Add(time.Millisecond) },
	} {
		other := act
		change(&other)
		if domain.ActID(key, other) == id {
			t.Errorf("an act with another %s has the same id", name)
		}
	}
	if domain.ActID([]byte("another key"), act) == id {
		t.Error("another key makes the same id")
	}
	// Pinned: the acts of the log's last days are known by their ids after an upgrade, too.
	if want := "5f5dd0a9-dda0-89c7-b2fa-b0f4dd5d1d98"; id.String() != want {
		t.Errorf("the id is %s, want %s", id, want)
	}
}

// acts is a log with two partitions.
type acts struct {
	domain.Acts

	version int64
}

func newActs() *acts { return &acts{Acts: domain.NewActs(2)} }

// stands has an act on user 201 stand at an offset of each partition; -1 for a partition where it does not stand.
func (a *acts) stands(kind domain.ActKind, until time.Time, offsets ...int64) domain.Act {
	a.version++
	act := domain.Act{User: 201, Kind: kind, Until: until, Version: a.version, Time: noon.Add(time.Duration(a.version) * time.Second)}
	for p, offset := range offsets {
		if offset >= 0 {
			a.Stands(act, domain.Place{Partition: p, Offset: offset})
		}
	}
	return act
}

// says returns what becomes of a text of user 201: "" or the code of its refusal.
func (a *acts) says(partition int, offset int64, at time.Time, login int64) domain.Code {
	if err := a.Judge(201, domain.Place{Partition: partition, Offset: offset}, at, login); err != nil {
		return err.Code
	}
	return ""
}

func (a *acts) want(t *testing.T, partition int, offset int64, at time.Time, login int64, want domain.Code) {
	t.Helper()
	if got := a.says(partition, offset, at, login); got != want {
		t.Errorf("at %d of partition %d, at %v, by login %d: %q, want %q", offset, partition, at, login, got, want)
	}
}

func TestAnActCountsBehindItsPlaceInEachPartition(t *testing.T) {
	a := newActs()
	a.stands(domain.ActMute, time.Time{}, 10, 20)
	a.stands(domain.ActUnmute, time.Time{}, 15, -1)
	a.want(t, 0, 9, noon, 0, "")
	a.want(t, 0, 11, noon, 0, domain.CodeMuted)
	a.want(t, 0, 14, noon, 0, domain.CodeMuted)
	a.want(t, 0, 16, noon, 0, "")
	a.want(t, 1, 19, noon, 0, "")
	a.want(t, 1, 21, noon, 0, domain.CodeMuted)
	if a.Judge(202, domain.Place{Offset: 11}, noon, 0) != nil {
		t.Error("another user is muted")
	}
}

func TestAMuteEndsByTheTimeOfTheRecord(t *testing.T) {
	a := newActs()
	until := noon.Add(time.Hour)
	a.stands(domain.ActMute, until, 10, 10)
	a.want(t, 0, 11, until.Add(-time.Millisecond), 0, domain.CodeMuted)
	a.want(t, 0, 12, until, 0, "")
	a.want(t, 0, 13, until.Add(-time.Millisecond), 0, domain.CodeMuted) // the clock of another node
}

func TestTheVersionDecidesNotTheOrderInTheLog(t *testing.T) {
	a := newActs()
	mute := a.stands(domain.ActMute, time.Time{}, 10, 10)
	a.stands(domain.ActUnmute, time.Time{}, 20, 20)
	a.Stands(mute, domain.Place{Offset: 30}) // the relay published it again
	a.want(t, 0, 15, noon, 0, domain.CodeMuted)
	a.want(t, 0, 31, noon, 0, "")
	// One who reads only the repetition says the same of what stands behind the later act.
	late := newActs()
	late.Stands(mute, domain.Place{Offset: 30})
	late.version = 1
	late.stands(domain.ActUnmute, time.Time{}, 20, 20)
	late.want(t, 0, 31, noon, 0, "")
}

func TestABanOutlastsAMuteAndAnUnmute(t *testing.T) {
	a := newActs()
	a.stands(domain.ActBan, time.Time{}, 10, 10)
	a.stands(domain.ActMute, time.Time{}, 11, 11)
	a.want(t, 0, 12, noon, 9, domain.CodeBanned)
	a.stands(domain.ActUnmute, time.Time{}, 13, 13)
	a.want(t, 0, 14, noon, 9, domain.CodeBanned)
	a.stands(domain.ActUnban, time.Time{}, 15, 15)
	a.want(t, 0, 16, noon, 9, "")
}

func TestWhatAnEndedConnectionSaysCountsNoMoreForAnHour(t *testing.T) {
	for _, kind := range []domain.ActKind{domain.ActEnd, domain.ActRevoke, domain.ActBan} {
		a := newActs()
		act := a.stands(kind, time.Time{}, 10, 10)
		if kind == domain.ActBan {
			a.stands(domain.ActUnban, time.Time{}, 11, 11)
		}
		a.want(t, 0, 9, noon, 0, "")
		a.want(t, 0, 12, noon, 0, domain.CodeUnavailable)
		a.want(t, 0, 12, noon, act.Version, "")
		a.want(t, 0, 12, act.Time.Add(time.Hour), 0, "")
	}
}

func TestWhatIsKnownOfAnActMovesToItsFirstPlace(t *testing.T) {
	a := newActs()
	act := a.stands(domain.ActMute, time.Time{}, 20, -1)
	if a.Add(domain.PlacedAct{Act: act, Places: []int64{10, domain.ActNowhere, 5}}) {
		t.Error("an act that was known is new")
	}
	if got := a.PlacesOf(201, 1); !slices.Equal(got, []int64{10, domain.ActNowhere}) {
		t.Errorf("it stands at %v", got)
	}
	a.want(t, 0, 15, noon, 0, domain.CodeMuted)
	if a.PlacesOf(201, 2) != nil || a.PlacesOf(202, 1) != nil {
		t.Error("an act that is not known stands somewhere")
	}
}

func TestInAPartitionThatBeginsAnewActsCountFromItsBeginning(t *testing.T) {
	a := newActs()
	a.stands(domain.ActMute, time.Time{}, 20, 20)
	a.Restart(0)
	a.want(t, 0, 0, noon, 0, domain.CodeMuted)
	a.want(t, 1, 0, noon, 0, "")
	a.Begins(1, noon) // the act is from the same time: it stands there
	a.want(t, 1, 0, noon, 0, "")
	a.Begins(1, noon.Add(time.Hour))
	a.want(t, 1, 0, noon, 0, domain.CodeMuted)
	// What stands nowhere yet is still to come.
	b := newActs()
	b.Add(domain.PlacedAct{Act: domain.Act{User: 201, Kind: domain.ActMute, Version: 1, Time: noon}})
	b.Restart(0)
	b.Begins(0, noon.Add(time.Hour))
	b.want(t, 0, 0, noon, 0, "")
}

func TestOnlyWhatWasReadCountsForWhatIsSaidNow(t *testing.T) {
	a := newActs()
	a.Add(domain.PlacedAct{Act: domain.Act{User: 201, Kind: domain.ActBan, Until: noon.Add(time.Hour), Version: 1, Time: noon}})
	if a.Now(201, noon, 0) != nil || a.BanOf(201, noon) != nil || a.VersionOf(201) != 0 {
		t.Error("a ban that stands nowhere counts")
	}
	act := a.stands(domain.ActBan, noon.Add(time.Hour), -1, 3)
	if err := a.Now(201, noon, 9); err == nil || err.Code != domain.CodeBanned || !err.Until.Equal(act.Until) {
		t.Errorf("a ban that stands in one partition: %v", err)
	}
	if a.BanOf(201, noon) == nil || a.BanOf(201, act.Until) != nil || a.VersionOf(201) != 1 {
		t.Error("the ban does not count for logins until its end")
	}
	if a.Now(202, noon, 0) != nil || a.BanOf(202, noon) != nil {
		t.Error("another user is banned")
	}
	a.stands(domain.ActRevoke, time.Time{}, 4, -1)
	if got := a.RevokedBefore(201); !got.Equal(noon.Add(2 * time.Second)) {
		t.Errorf("tokens are revoked before %v", got)
	}
	if !a.RevokedBefore(202).IsZero() {
		t.Error("tokens of another user are revoked")
	}
}

func TestActsThatEndedLongAgoAreForgottenTogether(t *testing.T) {
	a := newActs()
	a.stands(domain.ActMute, time.Time{}, 1, 1)           // replaced after 2 s
	a.stands(domain.ActUnmute, time.Time{}, 2, 2)         // by this one
	a.stands(domain.ActBan, noon.Add(time.Minute), 3, 3)  // ends by itself
	a.stands(domain.ActMute, noon.Add(2*time.Hour), 4, 4) // in force
	a.stands(domain.ActRevoke, time.Time{}, 5, 5)         // for a year
	a.stands(domain.ActEnd, time.Time{}, 6, 6)            // at once
	versions := func() (versions []int64) {
		for _, act := range a.Of(201) {
			versions = append(versions, act.Version)
		}
		return versions
	}
	a.Forget(noon.Add(2 * time.Second))
	if got := versions(); !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%v are left", got)
	}
	a.Forget(noon.Add(2*time.Second + 1))
	if got := versions(); !slices.Equal(got, []int64{3, 4, 5, 6}) {
		t.Errorf("%v are left", got)
	}
	a.Forget(noon.Add(time.Hour))
	if got := versions(); !slices.Equal(got, []int64{4, 5}) {
		t.Errorf("%v are left", got)
	}
	a.Forget(noon.Add(2 * domain.RevocationLength))
	if a.Len() != 0 {
		t.Errorf("%v are left", versions())
	}
}
