package messaging_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/porttest"
)

// outcomes remembers what a done was called with.
type outcomes struct {
	mu  sync.Mutex
	got []error
}

func (o *outcomes) done(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, err)
}

// want expects done to have been called with exactly these codes.
func (o *outcomes) want(t *testing.T, what string, want ...domain.Code) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	codes := make([]domain.Code, 0, len(o.got))
	for _, err := range o.got {
		codes = append(codes, domain.CodeOf(err))
	}
	if fmt.Sprint(codes) != fmt.Sprint(want) {
		t.Fatalf("%s: done was called with %q, want %q", what, codes, want)
	}
}

const echoed domain.Code = ""

// echoDeadline is on the clock of the tests' bubbles.
const echoDeadline = 5 * time.Second

// startEchoes runs Echoes over a log of one partition until the returned function is called, or the test ends.
func startEchoes(t *testing.T) (*messaging.Echoes, porttest.Conversations, context.CancelFunc) {
	log := porttest.NewConversations(1)
	echoes := messaging.NewEchoes(log, echoDeadline)
	ctx, cancel := context.WithCancel(t.Context())
	go echoes.Run(ctx)
	return echoes, log, cancel
}

// event returns one with an id of that number.
func event(n byte) domain.Event {
	return domain.Event{ID: domain.EventID{n}, Body: domain.ChatMessage{From: 201, To: 202}}
}

func TestAnAppendSucceedsOnceItsRecordWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, _, _ := startEchoes(t)
		var first, second outcomes
		echoes.Append(event(1), first.done)
		echoes.Append(event(2), second.done)
		first.want(t, "appended and not read")
		echoes.Read(domain.EventID{2}, nil)
		first.want(t, "another was read")
		second.want(t, "read", echoed)
		echoes.Read(domain.EventID{1}, nil)
		echoes.Read(domain.EventID{1}, nil)
		first.want(t, "read twice", echoed)
		time.Sleep(2 * echoDeadline)
		synctest.Wait()
		first.want(t, "long after", echoed)
	})
}

func TestARecordMayBeReadBeforeTheLogSaysThatItHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, log, _ := startEchoes(t)
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		var out outcomes
		echoes.Append(event(1), out.done)
		echoes.Read(domain.EventID{1}, nil)
		out.want(t, "read", echoed)
		log.Release()
		out.want(t, "read, then appended", echoed)
	})
}

func TestWhatTheReaderSaysIsTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, _, _ := startEchoes(t)
		var out outcomes
		echoes.Append(event(1), out.done)
		echoes.Read(domain.EventID{1}, domain.NewError(domain.CodeNotBlocked, "void"))
		out.want(t, "a void record", domain.CodeNotBlocked)
	})
}

func TestAFailedAppendHasNoEchoToWaitFor(t *testing.T) {
	for what, want := range map[porttest.Fate]domain.Code{porttest.Refused: domain.CodeUnavailable, porttest.Lost: domain.CodeUnconfirmed} {
		synctest.Test(t, func(t *testing.T) {
			echoes, log, _ := startEchoes(t)
			log.Decide(func(domain.Event) porttest.Fate { return what })
			var out outcomes
			echoes.Append(event(1), out.done)
			out.want(t, "failed", want)
			echoes.Read(domain.EventID{1}, nil)
			time.Sleep(2 * echoDeadline)
			synctest.Wait()
			out.want(t, "long after", want)
		})
	}
}

// The log goes away in the instant after it acknowledged.
func TestAnAppendWhoseRecordIsNotReadIsUnconfirmedAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, _, _ := startEchoes(t)
		synctest.Wait() // nothing is due
		var first, second, third outcomes
		echoes.Append(event(1), first.done)
		time.Sleep(time.Second)
		echoes.Append(event(2), second.done)
		echoes.Append(event(3), third.done)
		echoes.Read(domain.EventID{2}, nil)
		time.Sleep(echoDeadline - time.Second - 1)
		synctest.Wait()
		first.want(t, "before the deadline")
		time.Sleep(1)
		synctest.Wait()
		first.want(t, "at the deadline", domain.CodeUnconfirmed)
		third.want(t, "before its own deadline")
		time.Sleep(time.Second)
		synctest.Wait()
		third.want(t, "at its own deadline", domain.CodeUnconfirmed)
		echoes.Read(domain.EventID{1}, nil) // the echo follows
		first.want(t, "read in the end", domain.CodeUnconfirmed)
		second.want(t, "the one that was read", echoed)
		// It goes on after a time without anything due.
		var later outcomes
		echoes.Append(event(4), later.done)
		time.Sleep(echoDeadline)
		synctest.Wait()
		later.want(t, "a later one", domain.CodeUnconfirmed)
	})
}

// Only the log knows whether it will ever have what it does not have at the deadline.
func TestAtTheDeadlineTheLogAnswersForWhatItHasNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, log, _ := startEchoes(t)
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		var out, read outcomes
		echoes.Append(event(1), out.done)
		echoes.Append(event(2), read.done)
		time.Sleep(2 * echoDeadline)
		synctest.Wait()
		out.want(t, "without a word of the log")
		echoes.Read(domain.EventID{2}, nil)
		read.want(t, "read though late", echoed)
		log.Release()
		out.want(t, "acknowledged too late to be waited for", domain.CodeUnconfirmed)
	})
}

// A client that lost its connection sends again what was not answered. The record of the first may have been read while
// nobody was there to see it.
func TestAllWhoSentTheSameMessageHaveItsEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, log, _ := startEchoes(t)
		var order []string
		var first, refusal, second, third outcomes
		echoes.Append(event(1), func(err error) { order = append(order, "first"); first.done(err) })
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Refused })
		echoes.Append(event(1), refusal.done)
		refusal.want(t, "a copy that the log refused", domain.CodeUnavailable)
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Confirmed })
		echoes.Append(event(1), func(err error) { order = append(order, "second"); second.done(err) })
		echoes.Read(domain.EventID{1}, nil)
		first.want(t, "the first", echoed)
		second.want(t, "the second", echoed)
		if fmt.Sprint(order) != "[first second]" {
			t.Errorf("answered in the order %v", order)
		}
		refusal.want(t, "the refused copy", domain.CodeUnavailable)
		echoes.Append(event(1), third.done)
		echoes.Read(domain.EventID{1}, nil) // that of the second
		third.want(t, "a third", echoed)
	})
}

func TestOfSeveralCopiesEachHasItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, _, _ := startEchoes(t)
		var all [3]outcomes
		for i := range all {
			echoes.Append(event(1), all[i].done)
			time.Sleep(time.Second)
		}
		time.Sleep(echoDeadline - 2*time.Second)
		synctest.Wait()
		all[0].want(t, "the first", domain.CodeUnconfirmed)
		all[1].want(t, "the second", domain.CodeUnconfirmed)
		all[2].want(t, "the third")
		echoes.Read(domain.EventID{1}, nil)
		all[0].want(t, "the first", domain.CodeUnconfirmed)
		all[2].want(t, "the third, read in time", echoed)
	})
}

func TestOnceNothingIsReadWhatTheLogHasIsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoes, log, stop := startEchoes(t)
		var has, pending, later outcomes
		echoes.Append(event(1), has.done)
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
		echoes.Append(event(2), pending.done)
		stop()
		synctest.Wait()
		has.want(t, "in the log", domain.CodeUnconfirmed)
		pending.want(t, "on its way")
		log.Release()
		pending.want(t, "in the log afterwards", domain.CodeUnconfirmed)
		log.Decide(func(domain.Event) porttest.Fate { return porttest.Confirmed })
		echoes.Append(event(3), later.done)
		later.want(t, "appended afterwards", domain.CodeUnconfirmed)
	})
}

// Many append, records are read by one goroutine, some never, some appends fail: everybody has one outcome.
func TestEveryAppendHasOneOutcomeUnderLoad(t *testing.T) {
	const senders, messages = 20, 500
	log := porttest.NewConversations(4)
	log.Decide(func(e domain.Event) porttest.Fate {
		switch e.ID[15] % 16 {
		case 0:
			return porttest.Refused
		case 1:
			return porttest.Late // never released: not in the log
		default:
			return porttest.Confirmed
		}
	})
	echoes := messaging.NewEchoes(log, 20*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		echoes.Run(ctx)
	}()
	stop := log.Follow(func(_, _ int, e domain.Event) {
		if e.ID[15]%16 != 2 { // a hole
			echoes.Read(e.ID, nil)
		}
	})
	newID := porttest.Counter()
	var all [senders][messages]outcomes
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for m := range messages {
				e := domain.Event{ID: newID(), Body: domain.ChatMessage{From: domain.UserID(s + 1), To: domain.UserID(s + 2)}}
				echoes.Append(e, all[s][m].done)
			}
		})
	}
	sending.Wait()
	porttest.Eventually(t, func() bool {
		for s := range all {
			for m := range all[s] {
				o := &all[s][m]
				o.mu.Lock()
				got := len(o.got)
				o.mu.Unlock()
				if got != 1 {
					return false
				}
			}
		}
		return true
	})
	stop()
	cancel()
	<-ran
	counts := make(map[domain.Code]int)
	for s := range all {
		for m := range all[s] {
			if len(all[s][m].got) != 1 {
				t.Fatalf("done was called %d times", len(all[s][m].got))
			}
			counts[domain.CodeOf(all[s][m].got[0])]++
		}
	}
	if counts[echoed] == 0 || counts[domain.CodeUnavailable] == 0 || counts[domain.CodeUnconfirmed] < senders*messages/16 {
		t.Errorf("outcomes: %v", counts)
	}
}
