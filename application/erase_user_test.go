package application_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// eraser is a UserEraser beside the blocks: known users are erased, and their blocks ended as it says.
type eraser struct {
	*porttest.BlockStore
	known    map[domain.UserID]bool
	erasures []application.Erasure
	failing  error
}

func (e *eraser) EraseUser(ctx context.Context, erasure application.Erasure) (unblocked []domain.UserID, known bool, err error) {
	if e.failing != nil || !e.known[erasure.User] {
		return nil, false, e.failing
	}
	e.erasures = append(e.erasures, erasure)
	delete(e.known, erasure.User)
	entries, _ := e.Blocks(ctx, erasure.User)
	for _, entry := range entries {
		change := blocks.Change{Blocker: erasure.User, Target: entry.Target, At: erasure.At}
		if changed, _ := e.SetBlocked(ctx, change); changed {
			unblocked = append(unblocked, entry.Target)
		}
	}
	return unblocked, true, nil
}

// erasing is an EraseUser where 201 and 202 are known and 201 blocks 202.
func erasing(t *testing.T) (*application.EraseUser, *eraser, porttest.Conversations, *porttest.SessionTopic) {
	t.Helper()
	block, store, log := porttest.Blocking()
	if err := block.Add(t.Context(), 201, 202); err != nil {
		t.Fatal(err)
	}
	users := &eraser{BlockStore: store, known: map[domain.UserID]bool{201: true, 202: true}}
	sessions := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
	return &application.EraseUser{
		Eraser: users, Blocks: store, Log: log, Sessions: sessions, Ends: log, Projected: porttest.NewProjection(log), Partitions: len(log.Records),
		Now: porttest.Local, Logger: porttest.Quiet,
	}, users, log, sessions
}

func TestAnErasureReachesUpToTheEndOfTheLogAndEndsTheUsersBlocks(t *testing.T) {
	erase, users, log, _ := erasing(t)
	ends, _ := log.EndOffsets(t.Context())
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if len(users.erasures) != 1 || !slices.Equal(users.erasures[0].Ends, ends) || !users.erasures[0].At.Equal(porttest.Stamped) {
		t.Errorf("erased: %+v; the log ended at %v", users.erasures, ends)
	}
	if got := porttest.Changes(log); got != "+1 -2" || len(users.Outbox) != 0 {
		t.Errorf("the log has %s, the outbox %v", got, users.Outbox)
	}
	porttest.WantCode(t, "once more", erase.Execute(t.Context(), 201), domain.CodeUnknownUser)
}

// endsAfter is a port.LogEnds before whose answer something else happens.
type endsAfter struct {
	port.LogEnds
	do func()
}

func (e endsAfter) EndOffsets(ctx context.Context) ([]int64, error) {
	e.do()
	return e.LogEnds.EndOffsets(ctx)
}

// Else a history that passes the end meanwhile would look like that of a topic that was made anew.
func TestHowFarTheHistoryIsIsAskedBeforeTheEndOfTheLog(t *testing.T) {
	erase, users, log, _ := erasing(t)
	before, _ := erase.Projected.Projected(t.Context(), erase.Partitions)
	erase.Ends = endsAfter{log, func() {
		log.Append(domain.Event{Body: domain.ChatMessage{From: 201, To: 202}}, func(error) {})
	}}
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if got := users.erasures[0].Projected; !slices.Equal(got, before) {
		t.Errorf("the history was at %v, want %v", got, before)
	}
}

func TestTheNodesAreToldOnceTheUserIsForgotten(t *testing.T) {
	erase, users, _, sessions := erasing(t)
	told := make(map[domain.SessionKind]bool)
	sessions.Decide(func(entry porttest.SessionEntry) porttest.Fate {
		told[entry.Record.Kind] = users.known[201]
		return porttest.Confirmed
	})
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if want := map[domain.SessionKind]bool{domain.UserErased: true, domain.UserForgotten: false}; !maps.Equal(told, want) {
		t.Errorf("when the nodes were told, the user was known: %v", told)
	}
}

func TestAnErasureOfWhoseEndTheNodesAreNotToldIsDoneAllTheSame(t *testing.T) {
	erase, users, _, sessions := erasing(t)
	sessions.Decide(func(entry porttest.SessionEntry) porttest.Fate {
		if entry.Record.Kind == domain.UserForgotten {
			return porttest.Refused
		}
		return porttest.Confirmed
	})
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if users.known[201] {
		t.Error("the user is known")
	}
}

func TestANumberThatNoUserCanHaveIsNothingToTellTheNodesOf(t *testing.T) {
	erase, _, _, sessions := erasing(t)
	porttest.WantCode(t, "the erasure", erase.Execute(t.Context(), domain.System), domain.CodeUnknownUser)
	for partition := range porttest.SessionPartitions {
		if told := sessions.All(partition); len(told) != 0 {
			t.Errorf("the nodes were told %v", told)
		}
	}
}

func TestNothingIsErasedBeforeTheNodesAreToldToEndTheUsersConnections(t *testing.T) {
	for what, test := range map[string]struct {
		fate porttest.Fate
		want domain.Code
	}{"refused": {porttest.Refused, domain.CodeUnavailable}, "lost": {porttest.Lost, domain.CodeUnconfirmed}} {
		t.Run(what, func(t *testing.T) {
			erase, users, _, sessions := erasing(t)
			sessions.Decide(func(porttest.SessionEntry) porttest.Fate { return test.fate })
			porttest.WantCode(t, "the erasure", erase.Execute(t.Context(), 201), test.want)
			if len(users.erasures) != 0 {
				t.Errorf("erased: %+v", users.erasures)
			}
			sessions.Decide(nil)
			if err := erase.Execute(t.Context(), 201); err != nil {
				t.Fatal(err)
			}
			told := sessions.All(sessions.PartitionOf(201))
			if want := (domain.SessionRecord{Kind: domain.UserErased, User: 201}); len(told) != 2 || told[0].Record != want {
				t.Errorf("the nodes were told %v", told)
			}
		})
	}
}

// Were it refused, the platform would repeat it and hear of an unknown user.
func TestAnErasureWhoseUnblockingIsNotPublishedSucceedsAndIsLeftToTheRelay(t *testing.T) {
	erase, users, log, _ := erasing(t)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if len(users.Outbox) != 1 {
		t.Errorf("the outbox has %v", users.Outbox)
	}
}

func TestAnErasureThatFailedIsRepeated(t *testing.T) {
	erase, users, _, _ := erasing(t)
	users.failing = porttest.ErrRefused
	porttest.WantCode(t, "the erasure", erase.Execute(t.Context(), 201), domain.CodeUnavailable)
	users.failing = nil
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
}

// forgetting are ErasedActs, and the users who are asked about.
type forgetting struct {
	port.KnownUsers

	of     *eraser
	forgot []domain.UserID
}

func (f *forgetting) Known(_ context.Context, user domain.UserID) (bool, error) {
	return f.of.known[user], f.of.failing
}

func (f *forgetting) Forgets(_ context.Context, user domain.UserID) error {
	f.forgot = append(f.forgot, user)
	return f.of.failing
}

func TestOnlyWhoWasSeenHasActsForgotten(t *testing.T) {
	erase, users, _, _ := erasing(t)
	acts := &forgetting{of: users}
	erase.Acts, erase.Users = acts, acts
	porttest.WantCode(t, "a user who was never seen", erase.Execute(t.Context(), 203), domain.CodeUnknownUser)
	users.failing = porttest.ErrRefused
	porttest.WantCode(t, "without an answer", erase.Execute(t.Context(), 201), domain.CodeUnavailable)
	if len(acts.forgot) != 0 {
		t.Errorf("the acts on %v are forgotten", acts.forgot)
	}
	users.failing = nil
	if err := erase.Execute(t.Context(), 201); err != nil || !slices.Equal(acts.forgot, []domain.UserID{201}) {
		t.Errorf("the acts on %v are forgotten, %v", acts.forgot, err)
	}
}

func TestWhoIsHereOnceItIsForgottenIsRememberedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		a, b := porttest.NewNode(log, 1), porttest.NewNode(log, 2).Start(t)
		var looked []domain.UserID
		a.Presence.Forgotten = func(user domain.UserID) { looked = append(looked, user) }
		a.Start(t)
		store := &porttest.FriendStore{}
		here, elsewhere := porttest.Refreshing(t, a, store, 0), porttest.Refreshing(t, b, store, 0)
		c, _ := a.Login(t, 7)
		a.Login(t, 8)
		here.Fail(porttest.ErrRefused) // the database is away
		log.Append(domain.SessionRecord{Kind: domain.UserForgotten, User: 7}, func(error) {})
		synctest.Wait()
		here.Fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !maps.Equal(here.Seen, map[domain.UserID]bool{7: true}) || len(elsewhere.Seen) != 0 {
			t.Errorf("remembered: %v, and where it is not served %v", here.Seen, elsewhere.Seen)
		}
		if !slices.Equal(looked, []domain.UserID{7}) {
			t.Errorf("looked up again: %v", looked)
		}
		if got := porttest.Of[porttest.Closed](c); len(got) != 0 {
			t.Errorf("its connection is closed: %v", got)
		}
	})
}

// A closing connection stays for as long as its client takes to answer.
func TestWhoIsStillLeavingWhenItIsForgottenIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := porttest.OneNode(t)
		remembered := porttest.Refreshing(t, n, &porttest.FriendStore{}, 0)
		tell := func(kind domain.SessionKind) {
			log.Append(domain.SessionRecord{Kind: kind, User: 7}, func(error) {})
			synctest.Wait()
		}
		_, leaving := n.Login(t, 7)
		tell(domain.UserErased)
		tell(domain.UserForgotten)
		if len(remembered.Seen) != 0 {
			t.Fatalf("remembered: %v", remembered.Seen)
		}
		tell(domain.UserErased)
		_, again := n.Login(t, 7)
		tell(domain.UserForgotten)
		if !remembered.Seen[7] {
			t.Error("who came meanwhile is not remembered")
		}
		leaving.Leave()
		again.Leave()
	})
}

func TestEveryNodeEndsTheConnectionsOfAnErasedUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		one, two := porttest.NewNode(log, 1).Start(t), porttest.NewNode(log, 2).Start(t)
		phone, _ := one.Login(t, 7)
		pad, _ := one.Login(t, 7)
		desk, _ := two.Login(t, 7)
		other, _ := two.Login(t, 8)
		log.Append(domain.SessionRecord{Kind: domain.UserErased, User: 7}, func(error) {})
		synctest.Wait()
		for name, c := range map[string]*porttest.Conn{"phone": phone, "pad": pad, "desk": desk} {
			if got := porttest.Of[porttest.Closed](c); !slices.Equal(got, []porttest.Closed{{Reason: port.CloseErased}}) {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := porttest.Of[porttest.Closed](other); len(got) != 0 {
			t.Errorf("another user: %v", got)
		}
	})
}

func TestAnErasureLogsWhatOthersHaveToFindOutByThemselves(t *testing.T) {
	erase, _, _, _ := erasing(t) //nolint:dogsled // all goes well
	out := &porttest.Output{}
	erase.Logger = slog.New(slog.NewTextHandler(out, nil))
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if got := out.Take(); got != "" {
		t.Errorf("all went well, and the log says: %s", got)
	}
	erase, _, log, sessions := erasing(t)
	erase.Logger = slog.New(slog.NewTextHandler(out, nil))
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
	sessions.Decide(func(entry porttest.SessionEntry) porttest.Fate {
		if entry.Record.Kind == domain.UserForgotten {
			return porttest.Refused
		}
		return porttest.Confirmed
	})
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if got := out.Take(); strings.Count(got, "level=WARN") != 2 || !strings.Contains(got, "user=201") {
		t.Errorf("the log says: %s", got)
	}
}
