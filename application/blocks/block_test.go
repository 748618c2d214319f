package blocks_test

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

	"chatting/application/blocks"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestABlockIsAnsweredOnceTheLogHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block, store, log := porttest.Blocking()
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		outcome := make(chan error, 1)
		go func() { outcome <- block.Add(t.Context(), 202, 201) }()
		synctest.Wait()
		select {
		case err := <-outcome:
			t.Fatalf("answered with %v before the log had it", err)
		default:
		}
		log.Release()
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		event := porttest.Only(t, log)
		want := domain.BlockChanged{Blocker: 202, Target: 201, Blocked: true, Version: 1}
		if event.Body != want || !event.Time.Equal(porttest.Stamped) || len(store.Outbox) != 0 {
			t.Fatalf("the log has %v, the outbox %v", event, store.Outbox)
		}
	})
}

func TestBlockingTwiceIsNoErrorAndNoSecondChange(t *testing.T) {
	block, _, log := porttest.Blocking()
	for range 2 {
		if err := block.Add(t.Context(), 202, 201); err != nil {
			t.Fatal(err)
		}
	}
	if got := porttest.Changes(log); got != "+1" {
		t.Errorf("the log has %s", got)
	}
}

func TestUnblockingEndsABlockOnce(t *testing.T) {
	block, _, log := porttest.Blocking()
	porttest.WantCode(t, "unblocking whom one never blocked", block.Remove(t.Context(), 202, 201), domain.CodeNotBlocked)
	if err := errors.Join(block.Add(t.Context(), 202, 201), block.Remove(t.Context(), 202, 201)); err != nil {
		t.Fatal(err)
	}
	porttest.WantCode(t, "unblocking twice", block.Remove(t.Context(), 202, 201), domain.CodeNotBlocked)
	if got := porttest.Changes(log); got != "+1 -2" {
		t.Errorf("the log has %s", got)
	}
}

func TestWhomNobodyCanBlock(t *testing.T) {
	block, store, log := porttest.Blocking()
	ctx := t.Context()
	porttest.WantCode(t, "oneself", block.Add(ctx, 201, 201), domain.CodeSelf)
	porttest.WantCode(t, "unblocking oneself", block.Remove(ctx, 201, 201), domain.CodeNotBlocked)
	porttest.WantCode(t, "a user never seen", block.Add(ctx, 201, 999), domain.CodeUnknownUser)
	porttest.WantCode(t, "unblocking one", block.Remove(ctx, 201, 999), domain.CodeUnknownUser)
	_, err := block.IsBlocked(ctx, 201, 999)
	porttest.WantCode(t, "asking for one", err, domain.CodeUnknownUser)
	if len(store.Entries) != 0 || porttest.Changes(log) != "" {
		t.Errorf("the store has %v, the log %s", store.Entries, porttest.Changes(log))
	}
}

func TestTheListOfTheBlockedIsAscendingAndWithoutTheUnblocked(t *testing.T) {
	block, _, _ := porttest.Blocking()
	ctx := t.Context()
	if err := errors.Join(block.Add(ctx, 201, 203), block.Add(ctx, 201, 202), block.Add(ctx, 202, 201)); err != nil {
		t.Fatal(err)
	}
	if got, err := block.List(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{202, 203}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := block.Remove(ctx, 201, 202); err != nil {
		t.Fatal(err)
	}
	if got, err := block.List(ctx, 201); err != nil || !slices.Equal(got, []domain.UserID{203}) {
		t.Errorf("got %v, %v", got, err)
	}
	for target, want := range map[domain.UserID]bool{202: false, 203: true} {
		if got, err := block.IsBlocked(ctx, 201, target); err != nil || got != want {
			t.Errorf("IsBlocked(%d) = %v, %v", target, got, err)
		}
	}
	if got, err := block.List(ctx, 203); err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v; want an empty list", got, err)
	}
}

func TestAnAppendThatFailedIsMadeUpForByTheNextRequest(t *testing.T) {
	for what, test := range map[string]struct {
		fate  porttest.Fate
		first domain.Code
		log   string
	}{
		"refused": {porttest.Refused, domain.CodeUnavailable, "+1 -2"},
		"lost":    {porttest.Lost, domain.CodeUnconfirmed, "+1 -2"},
		"late":    {porttest.Late, domain.CodeUnconfirmed, "+1 -2 -2"},
	} {
		t.Run(what, func(t *testing.T) {
			block, store, log := porttest.Blocking()
			if err := block.Add(t.Context(), 202, 201); err != nil {
				t.Fatal(err)
			}
			log.Decide(func(domain.Event) porttest.Fate { return test.fate })
			porttest.WantCode(t, "the unblock", block.Remove(t.Context(), 202, 201), test.first)
			log.Decide(nil)
			log.Release()
			// The table has it already: the retry completes it, and only then is there nothing to unblock.
			porttest.WantCode(t, "the retry", block.Remove(t.Context(), 202, 201), "")
			porttest.WantCode(t, "another", block.Remove(t.Context(), 202, 201), domain.CodeNotBlocked)
			if got := porttest.Changes(log); got != test.log || len(store.Outbox) != 0 {
				t.Errorf("the log has %s, want %s; outbox %v", got, test.log, store.Outbox)
			}
		})
	}
}

func TestChangesOfAPairAreNeverPublishedOutOfOrder(t *testing.T) {
	block, store, log := porttest.Blocking()
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
	porttest.WantCode(t, "a block", block.Add(t.Context(), 202, 201), domain.CodeUnavailable)
	porttest.WantCode(t, "its unblock", block.Remove(t.Context(), 202, 201), domain.CodeUnavailable)
	log.Decide(func(event domain.Event) porttest.Fate {
		if event.Body.(domain.BlockChanged).Version == 1 {
			return porttest.Refused
		}
		return porttest.Confirmed
	})
	porttest.WantCode(t, "another block", block.Add(t.Context(), 202, 201), domain.CodeUnavailable)
	if got := porttest.Changes(log); got != "" {
		t.Fatalf("%s overtook +1", got)
	}
	log.Decide(nil)
	if err := block.Add(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	if got := porttest.Changes(log); got != "+1 -2 +3" || len(store.Outbox) != 0 {
		t.Errorf("the log has %s; outbox %v", got, store.Outbox)
	}
}

func TestAFailureToClearTheOutboxIsReportedAndHarmless(t *testing.T) {
	block, store, log := porttest.Blocking()
	store.Marking = porttest.ErrRefused
	porttest.WantCode(t, "the block", block.Add(t.Context(), 202, 201), domain.CodeUnavailable)
	store.Marking = nil
	if err := block.Add(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	events := log.All(log.PartitionOf(domain.Between(201, 202)))
	if len(events) != 2 || events[0] != events[1] {
		t.Errorf("the log has %v, want the same event twice", events)
	}
}

func TestADatabaseThatIsAwayFailsEveryRequest(t *testing.T) {
	block, store, log := porttest.Blocking()
	store.Err = porttest.ErrRefused
	ctx := t.Context()
	_, listErr := block.List(ctx, 202)
	_, isErr := block.IsBlocked(ctx, 202, 201)
	for what, err := range map[string]error{
		"block": block.Add(ctx, 202, 201), "unblock": block.Remove(ctx, 202, 201), "list": listErr, "one": isErr,
	} {
		porttest.WantCode(t, what, err, domain.CodeUnavailable)
	}
	block.Users = &porttest.Users{Err: porttest.ErrRefused}
	porttest.WantCode(t, "without the users", block.Add(ctx, 202, 201), domain.CodeUnavailable)
	if porttest.Changes(log) != "" {
		t.Errorf("the log has %s", porttest.Changes(log))
	}
}

func TestManyRequestsForOnePairEndWithTheTablesState(t *testing.T) {
	block, store, log := porttest.Blocking()
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			if i%2 == 0 {
				_ = block.Add(context.Background(), 202, 201)
			} else {
				_ = block.Remove(context.Background(), 202, 201)
			}
		})
	}
	group.Wait()
	var list domain.BlockList
	for _, event := range log.All(log.PartitionOf(domain.Between(201, 202))) {
		change := event.Body.(domain.BlockChanged)
		if change.Version > list.Version(change.Target)+1 {
			t.Fatalf("version %d stands before version %d", change.Version, list.Version(change.Target)+1)
		}
		list.Apply(change.Target, change.Blocked, change.Version)
	}
	want := store.Entries[porttest.Pair{Blocker: 202, Target: 201}]
	if list.Version(201) != want.Version || list.Hides(201) != want.Blocked || len(store.Outbox) != 0 {
		t.Errorf("the log ends with version %d, the table has %v; outbox %v", list.Version(201), want, store.Outbox)
	}
}

// relaying runs a relay until the test ends.
func relaying(t *testing.T, store *porttest.BlockStore, log porttest.Conversations) {
	relay := &blocks.RelayBlocks{Outbox: store, Log: log, Now: time.Now, Every: time.Second, Logger: porttest.Quiet}
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
		block, store, log := porttest.Blocking()
		block.Now = time.Now
		relaying(t, store, log)
		// The process died between commit and append.
		id := domain.BlockEventID(nil, 202, 201, 1)
		for _, blocked := range []bool{true, false, true} {
			change := blocks.Change{Blocker: 202, Target: 201, Blocked: blocked, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(9 * time.Second)
		if got := porttest.Changes(log); got != "" {
			t.Fatalf("%s was taken from the request that may be publishing it", got)
		}
		time.Sleep(3 * time.Second)
		if got := porttest.Changes(log); got != "+1 -2 +3" {
			t.Fatalf("the log has %q", got)
		}
		if got := log.All(log.PartitionOf(domain.Between(201, 202)))[0].ID; got != id {
			t.Errorf("the id is %s, want %s", got, id)
		}
		store.Mu.Lock()
		defer store.Mu.Unlock()
		if len(store.Outbox) != 0 {
			t.Errorf("outbox %v", store.Outbox)
		}
	})
}

func TestTheRelayGoesOnAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block, store, log := porttest.Blocking()
		block.Now = time.Now
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
		porttest.WantCode(t, "the block", block.Add(t.Context(), 202, 201), domain.CodeUnavailable)
		relaying(t, store, log)
		time.Sleep(time.Minute)
		log.Decide(nil)
		time.Sleep(2 * time.Second)
		if got := porttest.Changes(log); got != "+1" {
			t.Fatalf("the log has %q", got)
		}
	})
}

func TestTheRelayTakesMoreThanOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := porttest.Blocking()
		for i := range 250 {
			change := blocks.Change{Blocker: 1, Target: domain.UserID(2 + i), Blocked: true, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		if got := len(log.All(0)) + len(log.All(1)); got != 250 {
			t.Fatalf("%d changes were published, want 250", got)
		}
	})
}

// relayedFirst is a store whose relay publishes each change before the request that made it looks for it.
type relayedFirst struct{ *porttest.BlockStore }

func (relayedFirst) PendingOf(context.Context, domain.UserID, domain.UserID) ([]domain.Event, error) {
	return nil, nil
}

func TestAnUnblockThatTheRelayPublishedFirstIsNoError(t *testing.T) {
	block, store, _ := porttest.Blocking()
	block.Store = relayedFirst{store}
	if err := block.Add(t.Context(), 202, 201); err != nil {
		t.Fatal(err)
	}
	if err := block.Remove(t.Context(), 202, 201); err != nil {
		t.Errorf("it was blocked until then: %v", err)
	}
}

// The caller has to know that the change may come yet.
func TestAFailureOfTheLogCountsBeforeOneOfTheOutbox(t *testing.T) {
	block, store, log := porttest.Blocking()
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
	porttest.WantCode(t, "a block", block.Add(t.Context(), 202, 201), domain.CodeUnavailable)
	log.Decide(func(event domain.Event) porttest.Fate {
		if event.Body.(domain.BlockChanged).Version == 2 {
			return porttest.Lost
		}
		return porttest.Confirmed
	})
	store.Marking = porttest.ErrRefused
	porttest.WantCode(t, "its unblock", block.Remove(t.Context(), 202, 201), domain.CodeUnconfirmed)
}

func TestAPairWhoseLogIsStuckHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := porttest.Blocking()
		for version := range 2 {
			for target := domain.UserID(2); target < 5; target++ {
				for blocker := domain.UserID(1); blocker < 3; blocker++ {
					change := blocks.Change{Blocker: blocker, Target: 10 * target, Blocked: version == 0, At: time.Now().UTC()}
					if _, err := store.SetBlocked(t.Context(), change); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		tried := make(map[domain.BlockChanged]int)
		log.Decide(func(event domain.Event) porttest.Fate {
			change := event.Body.(domain.BlockChanged)
			tried[change]++
			if change.Blocker == 1 && change.Target == 20 {
				return porttest.Lost
			}
			return porttest.Confirmed
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
		if len(tried) != 11 || len(store.Outbox) != 2 {
			t.Errorf("%d changes were appended, %d are left", len(tried), len(store.Outbox))
		}
	})
}

func TestARelayLogsThatItFailedAndNotThatItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := porttest.Blocking()
		out := &porttest.Output{}
		relay := &blocks.RelayBlocks{
			Outbox: store, Log: log, Now: time.Now, Every: time.Second, Logger: slog.New(slog.NewTextHandler(out, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			relay.Run(ctx)
		}()
		time.Sleep(1500 * time.Millisecond)
		if got := out.Take(); got != "" {
			t.Errorf("with nothing to do: %s", got)
		}
		store.Mu.Lock()
		store.Err = porttest.ErrRefused
		store.Outbox = []domain.Event{{Body: domain.BlockChanged{Blocker: 1, Target: 2, Blocked: true, Version: 1}}}
		store.Mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := porttest.Changes(log); got != "" {
			t.Errorf("the log has %s of a database that does not answer", got)
		}
		if got := out.Take(); !strings.Contains(got, "level=WARN") {
			t.Errorf("while the database is away: %q", got)
		}
		store.Mu.Lock()
		store.Err = nil
		store.Mu.Unlock()
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		time.Sleep(time.Second)
		synctest.Wait() // it waits for the log now
		cancel()
		<-done
		if got := out.Take(); got != "" {
			t.Errorf("at the end: %s", got)
		}
		log.Release()
	})
}

// One pair whose log refuses its change, and one whose log does not answer, hold up no other.
func TestPairsThatAreRefusedOrUnansweredHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := porttest.Blocking()
		const pairs, refusals, silent = 100, 10, 2
		log.Decide(func(event domain.Event) porttest.Fate {
			switch target := event.Body.(domain.BlockChanged).Target; {
			case target%(pairs/refusals) == 0:
				return porttest.Refused
			case target <= 1000+silent:
				return porttest.Delayed
			default:
				return porttest.Confirmed
			}
		})
		for i := range pairs {
			change := blocks.Change{Blocker: 1, Target: domain.UserID(1000 + i + 1), Blocked: true, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		if got := len(log.All(0)) + len(log.All(1)); got != pairs-refusals-silent {
			t.Errorf("%d changes were published, want %d", got, pairs-refusals-silent)
		}
		log.Decide(nil)
		log.Release()
		time.Sleep(2 * time.Second)
		if got := len(log.All(0)) + len(log.All(1)); got != pairs {
			t.Errorf("afterwards, %d changes are published, want %d", got, pairs)
		}
	})
}

// What follows a change of the same pair waits until the log has that.
func TestTheRelayPublishesTheChangesOfAPairOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store, log := porttest.Blocking()
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		for _, blocked := range []bool{true, false, true} {
			change := blocks.Change{Blocker: 202, Target: 201, Blocked: blocked, At: time.Now().UTC()}
			if _, err := store.SetBlocked(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		relaying(t, store, log)
		time.Sleep(12 * time.Second)
		for _, want := range []string{"+1", "+1 -2", "+1 -2 +3"} {
			log.Release()
			if synctest.Wait(); porttest.Changes(log) != want {
				t.Errorf("the log has %q, want %q", porttest.Changes(log), want)
			}
		}
	})
}
