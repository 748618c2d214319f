package application_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// blocking is a Block beside its store and log, where 201 and 202 are known.
func blocking() (*application.Block, *blockStore, conversations) {
	store, log := newBlockStore(), newConversations(2)
	known := &users{known: map[domain.UserID]bool{201: true, 202: true, 203: true}}
	return &application.Block{Store: store, Users: known, Log: log, Now: local}, store, log
}

// changes returns the block changes in the log, in short: "+1" for a block of version 1, "-2" for an unblock of version 2.
func changes(log conversations) string {
	var text []string
	for partition := range log.partitions {
		for _, event := range log.all(partition) {
			change := event.Body.(domain.BlockChanged)
			sign := "-"
			if change.Blocked {
				sign = "+"
			}
			text = append(text, fmt.Sprint(sign, change.Version))
		}
	}
	return strings.Join(text, " ")
}

func TestABlockIsAnsweredOnceTheLogHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block, store, log := blocking()
		log.decide(func(domain.Event) fate { return delayed })
		outcome := make(chan error, 1)
		go func() { outcome <- block.Block(t.Context(), 202, 201) }()
		synctest.Wait()
		select {
		case err := <-outcome:
			t.Fatalf("answered with %v before the log had it", err)
		default:
		}
		log.release()
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		event := only(t, log)
		want := domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 1}
		if event.Body != want || !event.Time.Equal(stamped) || len(store.outbox) != 0 {
			t.Fatalf("the log has %v, the outbox %v", event, store.outbox)
		}
	})
}

func TestBlockingTwiceIsNoErrorAndNoSecondChange(t *testing.T) {
	block, _, log := blocking()
	for range 2 {
		if err := block.Block(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
	}
	if got := changes(log); got != "+1" {
		t.Errorf("the log has %s", got)
	}
}

func TestUnblockingEndsABlockOnce(t *testing.T) {
	block, _, log := blocking()
	wantCode(t, "unblocking whom one never blocked", block.Unblock(t.Context(), 202, 201), domain.CodeNotBlocked)
	if err := errors.Join(block.Block(t.Context(), 202, 201), block.Unblock(t.Context(), 202, 201)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "unblocking twice", block.Unblock(t.Context(), 202, 201), domain.CodeNotBlocked)
	if got := changes(log); got != "+1 -2" {
		t.Errorf("the log has %s", got)
	}
}

func TestWhomNobodyCanBlock(t *testing.T) {
	block, store, log := blocking()
	ctx := t.Context()
	wantCode(t, "oneself", block.Block(ctx, 201, 201), domain.CodeSelf)
	wantCode(t, "unblocking oneself", block.Unblock(ctx, 201, 201), domain.CodeNotBlocked)
	wantCode(t, "a user never seen", block.Block(ctx, 201, 999), domain.CodeUnknownUser)
	wantCode(t, "unblocking one", block.Unblock(ctx, 201, 999), domain.CodeUnknownUser)
	_, err := block.IsBlocked(ctx, 201, 999)
	wantCode(t, "asking for one", err, domain.CodeUnknownUser)
	if len(store.entries) != 0 || changes(log) != "" {
		t.Errorf("the store has %v, the log %s", store.entries, changes(log))
	}
}

func TestTheListOfTheBlockedIsAscendingAndWithoutTheUnblocked(t *testing.T) {
	block, _, _ := blocking()
	ctx := t.Context()
	if err := errors.Join(block.Block(ctx, 201, 203), block.Block(ctx, 201, 202), block.Block(ctx, 202, 201)); err != nil {
		t.Fatal(err)
	}
	if got, err := block.Blocked(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{202, 203}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := block.Unblock(ctx, 201, 202); err != nil {
		t.Fatal(err)
	}
	if got, err := block.Blocked(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{203}) {
		t.Errorf("got %v, %v", got, err)
	}
	for target, want := range map[domain.UserID]bool{202: false, 203: true} {
		if got, err := block.IsBlocked(ctx, 201, target); err != nil || got != want {
			t.Errorf("IsBlocked(%d) = %v, %v", target, got, err)
		}
	}
	if got, err := block.Blocked(ctx, 203); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v; want an empty list", got, err)
	}
}

func TestAnAppendThatFailedIsMadeUpForByTheNextRequest(t *testing.T) {
	for what, test := range map[string]struct {
		fate  fate
		first domain.Code
		log   string
	}{
		"refused": {refused, domain.CodeUnavailable, "+1 -2"},
		"lost":    {lost, domain.CodeUnconfirmed, "+1 -2"},
		"late":    {late, domain.CodeUnconfirmed, "+1 -2 -2"},
	} {
		t.Run(what, func(t *testing.T) {
			block, store, log := blocking()
			if err := block.Block(t.Context(), 202, 201); err != nil {
				t.Fatal(err)
			}
			log.decide(func(domain.Event) fate { return test.fate })
			wantCode(t, "the unblock", block.Unblock(t.Context(), 202, 201), test.first)
			log.decide(nil)
			log.release()
			// The table has it already: the retry completes it, and only then is there nothing to unblock.
			wantCode(t, "the retry", block.Unblock(t.Context(), 202, 201), "")
			wantCode(t, "another", block.Unblock(t.Context(), 202, 201), domain.CodeNotBlocked)
			if got := changes(log); got != test.log || len(store.outbox) != 0 {
				t.Errorf("the log has %s, want %s; outbox %v", got, test.log, store.outbox)
			}
		})
	}
}

func TestChangesOfAPairAreNeverPublishedOutOfOrder(t *testing.T) {
	block, store, log := blocking()
	log.decide(func(domain.Event) fate { return refused })
	wantCode(t, "a block", block.Block(t.Context(), 202, 201), domain.CodeUnavailable)
	wantCode(t, "its unblock", block.Unblock(t.Context(), 202, 201), domain.CodeUnavailable)
	log.decide(func(event domain.Event) fate {
		if event.Body.(domain.BlockChanged).Version == 1 {
			return refused
		}
		return confirmed
	})
	wantCode(t, "another block", block.Block(t.Context(), 202, 201), domain.CodeUnavailable)
	if got := changes(log); got != "" {
		t.Fatalf("%s overtook +1", got)
	}
	log.decide(nil)
	if err := block.Block(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	if got := changes(log); got != "+1 -2 +3" || len(store.outbox) != 0 {
		t.Errorf("the log has %s; outbox %v", got, store.outbox)
	}
}

func TestAFailureToClearTheOutboxIsReportedAndHarmless(t *testing.T) {
	block, store, log := blocking()
	store.marking = errRefused
	wantCode(t, "the block", block.Block(t.Context(), 202, 201), domain.CodeUnavailable)
	store.marking = nil
	if err := block.Block(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	events := log.all(log.partitionOf(domain.Between(201, 202)))
	if len(events) != 2 || events[0] != events[1] {
		t.Errorf("the log has %v, want the same event twice", events)
	}
}

func TestADatabaseThatIsAwayFailsEveryRequest(t *testing.T) {
	block, store, log := blocking()
	store.err = errRefused
	ctx := t.Context()
	_, listErr := block.Blocked(ctx, 202)
	_, isErr := block.IsBlocked(ctx, 202, 201)
	for what, err := range map[string]error{
		"block": block.Block(ctx, 202, 201), "unblock": block.Unblock(ctx, 202, 201), "list": listErr, "one": isErr,
	} {
		wantCode(t, what, err, domain.CodeUnavailable)
	}
	block.Users = &users{err: errRefused}
	wantCode(t, "without the users", block.Block(ctx, 202, 201), domain.CodeUnavailable)
	if changes(log) != "" {
		t.Errorf("the log has %s", changes(log))
	}
}

func TestManyRequestsForOnePairEndWithTheTablesState(t *testing.T) {
	block, store, log := blocking()
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			if i%2 == 0 {
				_ = block.Block(context.Background(), 202, 201)
			} else {
				_ = block.Unblock(context.Background(), 202, 201)
			}
		})
	}
	group.Wait()
	var list domain.BlockList
	for _, event := range log.all(log.partitionOf(domain.Between(201, 202))) {
		change := event.Body.(domain.BlockChanged)
		if change.Version > list.Version(change.Target)+1 {
			t.Fatalf("version %d stands before version %d", change.Version, list.Version(change.Target)+1)
		}
		list.Apply(change.Target, change.Blocked, change.Version)
	}
	want := store.entries[pair{202, 201}]
	if list.Version(201) != want.Version || list.Hides(201) != want.Blocked || len(store.outbox) != 0 {
		t.Errorf("the log ends with version %d, the table has %v; outbox %v", list.Version(201), want, store.outbox)
	}
}

// relaying runs a relay until the test ends.
func relaying(t *testing.T, store *blockStore, log conversations) {
	relay := &application.RelayBlocks{Outbox: store, Log: log, Now: time.Now, Every: time.Second, Logger: quiet}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestTheRelayPublishesWhatACrashLeftUnderTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block, store, log := blocking()
		block.Now = time.Now
		relaying(t, store, log)
		// The process died between commit and append.
		id := domain.BlockEventID(nil, 202, 201, 1)
		for _, blocked := range []bool{true, false, true} {
			change := application.BlockChange{Blocker: 202, Target: 201, Blocked: blocked, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(9 * time.Second)
		if got := changes(log); got != "" {
			t.Fatalf("%s was taken from the request that may be publishing it", got)
		}
		time.Sleep(3 * time.Second)
		if got := changes(log); got != "+1 -2 +3" {
			t.Fatalf("the log has %q", got)
		}
		if got := log.all(log.partitionOf(domain.Between(201, 202)))[0].ID; got != id {
			t.Errorf("the id is %s, want %s", got, id)
		}
		store.mu.Lock()
		defer store.mu.Unlock()
		if len(store.outbox) != 0 {
			t.Errorf("outbox %v", store.outbox)
		}
	})
}

func TestTheRelayGoesOnAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block, store, log := blocking()
		block.Now = time.Now
		log.decide(func(domain.Event) fate { return refused })
		wantCode(t, "the block", block.Block(t.Context(), 202, 201), domain.CodeUnavailable)
		relaying(t, store, log)
		time.Sleep(time.Minute)
		log.decide(nil)
		time.Sleep(2 * time.Second)
		if got := changes(log); got != "+1" {
			t.Fatalf("the log has %q", got)
		}
	})
}

func TestTheRelayTakesMoreThanOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := blocking()
		for i := range 250 {
			change := application.BlockChange{Blocker: 1, Target: domain.UserID(2 + i), Blocked: true, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		if got := len(log.all(0)) + len(log.all(1)); got != 250 {
			t.Fatalf("%d changes were published, want 250", got)
		}
	})
}

// relayedFirst is a store whose relay publishes each change before the request that made it looks for it.
type relayedFirst struct{ *blockStore }

func (relayedFirst) PendingOf(context.Context, domain.UserID, domain.UserID) ([]domain.Event, error) {
	return nil, nil
}

func TestAnUnblockThatTheRelayPublishedFirstIsNoError(t *testing.T) {
	block, store, _ := blocking()
	block.Store = relayedFirst{store}
	if err := block.Block(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	if err := block.Unblock(t.Context(), 202, 201); err != nil {
		t.Errorf("it was blocked until then: %v", err)
	}
}

// The caller has to know that the change may come yet.
func TestAFailureOfTheLogCountsBeforeOneOfTheOutbox(t *testing.T) {
	block, store, log := blocking()
	log.decide(func(domain.Event) fate { return refused })
	wantCode(t, "a block", block.Block(t.Context(), 202, 201), domain.CodeUnavailable)
	log.decide(func(event domain.Event) fate {
		if event.Body.(domain.BlockChanged).Version == 2 {
			return lost
		}
		return confirmed
	})
	store.marking = errRefused
	wantCode(t, "its unblock", block.Unblock(t.Context(), 202, 201), domain.CodeUnconfirmed)
}

func TestAPairWhoseLogIsStuckHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := blocking()
		for version := range 2 {
			for target := domain.UserID(2); target < 5; target++ {
				for blocker := domain.UserID(1); blocker < 3; blocker++ {
					change := application.BlockChange{Blocker: blocker, Target: 10 * target, Blocked: version == 0, At: time.Now().UTC()}
					if _, err := store.SetBlocked(t.Context(), change); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		tried := make(map[domain.BlockChanged]int)
		log.decide(func(event domain.Event) fate {
			change := event.Body.(domain.BlockChanged)
			tried[change]++
			if change.Blocker == 1 && change.Target == 20 {
				return lost
			}
			return confirmed
		})
		relaying(t, store, log)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for change, n := range tried {
			stuck := change.Blocker == 1 && change.Target == 20
			if stuck && change.Version == 2 || !stuck && n != 1 {
				t.Errorf("%+v was appended %d times", change, n)
			}
		}
		if len(tried) != 11 || len(store.outbox) != 2 {
			t.Errorf("%d changes were appended, %d are left", len(tried), len(store.outbox))
		}
	})
}

func TestARelayLogsThatItFailedAndNotThatItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := blocking()
		out := &output{}
		relay := &application.RelayBlocks{
			Outbox: store, Log: log, Now: time.Now, Every: time.Second, Logger: slog.New(slog.NewTextHandler(out, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			relay.Run(ctx)
		}()
		time.Sleep(1500 * time.Millisecond)
		if got := out.take(); got != "" {
			t.Errorf("with nothing to do: %s", got)
		}
		store.mu.Lock()
		store.err = errRefused
		store.outbox = []domain.Event{{Body: domain.BlockChanged{Blocker: 1, Target: 2, Blocked: true, Version: 1}}}
		store.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := changes(log); got != "" {
			t.Errorf("the log has %s of a database that does not answer", got)
		}
		if got := out.take(); !strings.Contains(got, "level=WARN") {
			t.Errorf("while the database is away: %q", got)
		}
		store.mu.Lock()
		store.err = nil
		store.mu.Unlock()
		log.decide(func(domain.Event) fate { return delayed })
		time.Sleep(time.Second)
		synctest.Wait() // it waits for the log now
		cancel()
		<-done
		if got := out.take(); got != "" {
			t.Errorf("at the end: %s", got)
		}
		log.release()
	})
}

// One pair whose log refuses its change, and one whose log does not answer, hold up no other.
func TestPairsThatAreRefusedOrUnansweredHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := blocking()
		const pairs, refusals, silent = 100, 10, 2
		log.decide(func(event domain.Event) fate {
			switch target := event.Body.(domain.BlockChanged).Target; {
			case target%(pairs/refusals) == 0:
				return refused
			case target <= 1000+silent:
				return delayed
			default:
				return confirmed
			}
		})
		for i := range pairs {
			change := application.BlockChange{Blocker: 1, Target: domain.UserID(1000 + i + 1), Blocked: true, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		if got := len(log.all(0)) + len(log.all(1)); got != pairs-refusals-silent {
			t.Errorf("%d changes were published, want %d", got, pairs-refusals-silent)
		}
		log.decide(nil)
		log.release()
		time.Sleep(2 * time.Second)
		if got := len(log.all(0)) + len(log.all(1)); got != pairs {
			t.Errorf("afterwards, %d changes are published, want %d", got, pairs)
		}
	})
}

// What follows a change of the same pair waits until the log has that.
func TestTheRelayPublishesTheChangesOfAPairOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := blocking()
		log.decide(func(domain.Event) fate { return delayed })
		for _, blocked := range []bool{true, false, true} {
			change := application.BlockChange{Blocker: 202, Target: 201, Blocked: blocked, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		for _, want := range []string{"+1", "+1 -2", "+1 -2 +3"} {
			log.release()
			if synctest.Wait(); changes(log) != want {
				t.Errorf("the log has %q, want %q", changes(log), want)
			}
		}
	})
}
