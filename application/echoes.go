package application

import (
	"container/list"
	"context"
	"sync"
	"time"

	"chatting/domain"
)

// Echoes is the log as those append to it who get an echo. It says that an append succeeded once this node has also read
// the record and handed it to the connections of its actor. So whoever sent something knows within the append deadline
// what became of it, also where the log goes away between the append and the echo; and who was told of no error has its
// echo queued.
//
// What waits is bounded by what connections may have under way.
type Echoes struct {
	log    ConversationLog
	within time.Duration

	mu sync.Mutex
	// waiting holds the waits that have no outcome, by the id of their event: those of one id are chained.
	waiting map[domain.EventID]*echoWait
	// due holds those of them that can still become late, oldest first. All wait equally long, so it is their order.
	due  list.List
	idle bool // Run sleeps until something is due
	// stopped tells that nothing is read any more.
	stopped bool
	wake    chan struct{} // has room for one
}

// echoWait is an append that waits for its record.
type echoWait struct {
	id       domain.EventID
	since    time.Time
	done     func(error)
	next     *echoWait // of the same id
	due      *list.Element
	appended bool
}

// NewEchoes waits for what is appended to log, for at most within from the append on, if Run runs.
func NewEchoes(log ConversationLog, within time.Duration) *Echoes {
	return &Echoes{log: log, within: within, waiting: make(map[domain.EventID]*echoWait), wake: make(chan struct{}, 1)}
}

var errNotEchoed = domain.NewError(domain.CodeUnconfirmed, "The message is not back from the log yet.")

// Append implements ConversationLog. done is called with nil when this node has read the event and handed it to the
// connections of its actor; with the outcome that Read names instead; and with CodeUnconfirmed also when the log has the
// event but this node did not read it in time: then it may still be shown, once.
func (e *Echoes) Append(event domain.Event, done func(error)) {
	w := &echoWait{id: event.ID, since: time.Now(), done: done}
	e.mu.Lock()
	w.next, e.waiting[w.id] = e.waiting[w.id], w
	w.due = e.due.PushBack(w)
	if e.idle {
		e.idle = false
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
	e.mu.Unlock()
	// The record may be read before the log says that it has it.
	e.log.Append(event, func(err error) { e.appended(w, err) })
}

// appended takes what the log says. An append that fails has no echo to wait for.
func (e *Echoes) appended(w *echoWait, err error) {
	e.mu.Lock()
	w.appended = true
	late := w.due == nil || e.stopped
	if err == nil && !late {
		e.mu.Unlock()
		return
	}
	waited := e.takeLocked(w)
	e.mu.Unlock()
	if err == nil {
		err = errNotEchoed
	}
	if waited {
		w.done(err)
	}
}

// Read says that the event with that id was applied here, after its connections got what they get of it; outcome is for
// whoever waits for it: nil, or why it takes no effect. The tail calls it.
//
// All who wait for the id have their outcome: a message that was sent again is the same event, and whoever sent it first
// may have gone before its record was read.
func (e *Echoes) Read(id domain.EventID, outcome error) {
	e.mu.Lock()
	first := e.waiting[id]
	delete(e.waiting, id)
	for w := first; w != nil; w = w.next {
		e.noLongerDueLocked(w)
	}
	e.mu.Unlock()
	answerOldest(first, outcome)
}

// answerOldest tells a chain its outcome, in the order of the appends.
func answerOldest(w *echoWait, outcome error) {
	if w == nil {
		return
	}
	answerOldest(w.next, outcome)
	w.done(outcome)
}

// takeLocked takes out what waits; false when it had its outcome.
func (e *Echoes) takeLocked(w *echoWait) bool {
	e.noLongerDueLocked(w)
	first := e.waiting[w.id]
	if first == w {
		if w.next == nil {
			delete(e.waiting, w.id)
		} else {
			e.waiting[w.id] = w.next
		}
		return true
	}
	for ; first != nil; first = first.next {
		if first.next == w {
			first.next = w.next
			return true
		}
	}
	return false
}

func (e *Echoes) noLongerDueLocked(w *echoWait) {
	if w.due != nil {
		e.due.Remove(w.due)
		w.due = nil
	}
}

// Run answers what was not read in time, until ctx ends. Then nothing is read any more: what the log has and has no
// outcome yet is unconfirmed.
func (e *Echoes) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-e.wake:
		case <-ctx.Done():
			e.mu.Lock()
			e.stopped = true
			e.mu.Unlock()
			e.expire(time.Now().Add(e.within)) // everything
			return
		}
		if next, some := e.expire(time.Now()); some {
			timer.Reset(time.Until(next))
		}
	}
}

// expire answers what is late and returns when the next is; false when nothing waits, and Append wakes Run.
func (e *Echoes) expire(now time.Time) (next time.Time, some bool) {
	e.mu.Lock()
	var late []*echoWait
	for e.due.Len() > 0 {
		w, _ := e.due.Front().Value.(*echoWait)
		if next = w.since.Add(e.within); now.Before(next) {
			some = true
			break
		}
		// One that the log has no outcome of yet gets it from there, now or soon: it may know that it was never sent.
		if e.noLongerDueLocked(w); w.appended && e.takeLocked(w) {
			late = append(late, w)
		}
	}
	e.idle = !some
	e.mu.Unlock()
	for _, w := range late {
		w.done(errNotEchoed)
	}
	return next, some
}
