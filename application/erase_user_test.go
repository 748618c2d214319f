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
	"chatting/domain"
)

// eraser is a UserEraser beside the blocks: known users are erased, and their blocks ended as it says.
type eraser struct {
	*blockStore
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
		change := application.BlockChange{Blocker: erasure.User, Target: entry.Target, At: erasure.At}
		if changed, _ := e.SetBlocked(ctx, change); changed {
			unblocked = append(unblocked, entry.Target)
		}
	}
	return unblocked, true, nil
}

// erasing is an EraseUser where 201 and 202 are known and 201 blocks 202.
func erasing(t *testing.T) (*application.EraseUser, *eraser, conversations, *sessionTopic) {
	t.Helper()
	block, store, log := blocking()
	if err := block.Block(t.Context(), 201, 202); err != nil {
		t.Fatal(err)
	}
	users := &eraser{blockStore: store, known: map[domain.UserID]bool{201: true, 202: true}}
	sessions := newSessionTopic(sessionPartitions, time.Now)
	return &application.EraseUser{
		Eraser: users, Blocks: store, Log: log, Sessions: sessions, Ends: log, Projected: newProjection(log), Partitions: len(log.partitions),
		Now: local, Logger: quiet,
	}, users, log, sessions
}

func TestAnErasureReachesUpToTheEndOfTheLogAndEndsTheUsersBlocks(t *testing.T) {
	erase, users, log, _ := erasing(t)
	ends, _ := log.EndOffsets(t.Context())
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if len(users.erasures) != 1 || !slices.Equal(users.erasures[0].Ends, ends) || !users.erasures[0].At.Equal(stamped) {
		t.Errorf("erased: %+v; the log ended at %v", users.erasures, ends)
	}
	if got := changes(log); got != "+1 -2" || len(users.outbox) != 0 {
		t.Errorf("the log has %s, the outbox %v", got, users.outbox)
	}
	wantCode(t, "once more", erase.Execute(t.Context(), 201), domain.CodeUnknownUser)
}

// endsAfter is a LogEnds before whose answer something else happens.
type endsAfter struct {
	application.LogEnds
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
	sessions.decide(func(entry sessionEntry) fate {
		told[entry.record.Kind] = users.known[201]
		return confirmed
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
	sessions.decide(func(entry sessionEntry) fate {
		if entry.record.Kind == domain.UserForgotten {
			return refused
		}
		return confirmed
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
	wantCode(t, "the erasure", erase.Execute(t.Context(), domain.System), domain.CodeUnknownUser)
	for partition := range sessionPartitions {
		if told := sessions.all(partition); len(told) != 0 {
			t.Errorf("the nodes were told %v", told)
		}
	}
}

func TestNothingIsErasedBeforeTheNodesAreToldToEndTheUsersConnections(t *testing.T) {
	for what, test := range map[string]struct {
		fate fate
		want domain.Code
	}{"refused": {refused, domain.CodeUnavailable}, "lost": {lost, domain.CodeUnconfirmed}} {
		t.Run(what, func(t *testing.T) {
			erase, users, _, sessions := erasing(t)
			sessions.decide(func(sessionEntry) fate { return test.fate })
			wantCode(t, "the erasure", erase.Execute(t.Context(), 201), test.want)
			if len(users.erasures) != 0 {
				t.Errorf("erased: %+v", users.erasures)
			}
			sessions.decide(nil)
			if err := erase.Execute(t.Context(), 201); err != nil {
				t.Fatal(err)
			}
			told := sessions.all(sessions.PartitionOf(201))
			if want := (domain.SessionRecord{Kind: domain.UserErased, User: 201}); len(told) != 2 || told[0].record != want {
				t.Errorf("the nodes were told %v", told)
			}
		})
	}
}

// Were it refused, the platform would repeat it and hear of an unknown user.
func TestAnErasureWhoseUnblockingIsNotPublishedSucceedsAndIsLeftToTheRelay(t *testing.T) {
	erase, users, log, _ := erasing(t)
	log.decide(func(domain.Event) fate { return refused })
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if len(users.outbox) != 1 {
		t.Errorf("the outbox has %v", users.outbox)
	}
}

func TestAnErasureThatFailedIsRepeated(t *testing.T) {
	erase, users, _, _ := erasing(t)
	users.failing = errRefused
	wantCode(t, "the erasure", erase.Execute(t.Context(), 201), domain.CodeUnavailable)
	users.failing = nil
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
}

func TestWhoIsHereOnceItIsForgottenIsRememberedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		a, b := newNode(log, 1), newNode(log, 2).start(t)
		var looked []domain.UserID
		a.presence.Forgotten = func(user domain.UserID) { looked = append(looked, user) }
		a.start(t)
		store := &friendStore{}
		here, elsewhere := refreshing(t, a, store, 0), refreshing(t, b, store, 0)
		c, _ := a.login(t, 7)
		a.login(t, 8)
		here.fail(errRefused) // the database is away
		log.Append(domain.SessionRecord{Kind: domain.UserForgotten, User: 7}, func(error) {})
		synctest.Wait()
		here.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !maps.Equal(here.known, map[domain.UserID]bool{7: true}) || len(elsewhere.known) != 0 {
			t.Errorf("remembered: %v, and where it is not served %v", here.known, elsewhere.known)
		}
		if !slices.Equal(looked, []domain.UserID{7}) {
			t.Errorf("looked up again: %v", looked)
		}
		if got := of[closed](c); len(got) != 0 {
			t.Errorf("its connection is closed: %v", got)
		}
	})
}

// A closing connection stays for as long as its client takes to answer.
func TestWhoIsStillLeavingWhenItIsForgottenIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, log := oneNode(t)
		remembered := refreshing(t, n, &friendStore{}, 0)
		tell := func(kind domain.SessionKind) {
			log.Append(domain.SessionRecord{Kind: kind, User: 7}, func(error) {})
			synctest.Wait()
		}
		_, leaving := n.login(t, 7)
		tell(domain.UserErased)
		tell(domain.UserForgotten)
		if len(remembered.known) != 0 {
			t.Fatalf("remembered: %v", remembered.known)
		}
		tell(domain.UserErased)
		_, again := n.login(t, 7)
		tell(domain.UserForgotten)
		if !remembered.known[7] {
			t.Error("who came meanwhile is not remembered")
		}
		leaving.Leave()
		again.Leave()
	})
}

func TestEveryNodeEndsTheConnectionsOfAnErasedUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		one, two := newNode(log, 1).start(t), newNode(log, 2).start(t)
		phone, _ := one.login(t, 7)
		pad, _ := one.login(t, 7)
		desk, _ := two.login(t, 7)
		other, _ := two.login(t, 8)
		log.Append(domain.SessionRecord{Kind: domain.UserErased, User: 7}, func(error) {})
		synctest.Wait()
		for name, c := range map[string]*conn{"phone": phone, "pad": pad, "desk": desk} {
			if got := of[closed](c); !slices.Equal(got, []closed{{application.CloseErased}}) {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := of[closed](other); len(got) != 0 {
			t.Errorf("another user: %v", got)
		}
	})
}

func TestAnErasureLogsWhatOthersHaveToFindOutByThemselves(t *testing.T) {
	erase, _, _, _ := erasing(t) //nolint:dogsled // all goes well
	out := &output{}
	erase.Logger = slog.New(slog.NewTextHandler(out, nil))
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if got := out.take(); got != "" {
		t.Errorf("all went well, and the log says: %s", got)
	}
	erase, _, log, sessions := erasing(t)
	erase.Logger = slog.New(slog.NewTextHandler(out, nil))
	log.decide(func(domain.Event) fate { return refused })
	sessions.decide(func(entry sessionEntry) fate {
		if entry.record.Kind == domain.UserForgotten {
			return refused
		}
		return confirmed
	})
	if err := erase.Execute(t.Context(), 201); err != nil {
		t.Fatal(err)
	}
	if got := out.take(); strings.Count(got, "level=WARN") != 2 || !strings.Contains(got, "user=201") {
		t.Errorf("the log says: %s", got)
	}
}
