package messaging

import (
	"context"
	"sync"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Echoes is the log for senders who get an echo. An append succeeds once this node has read the record back and handed it to
// the sender's connections. So every sender learns the outcome within the append deadline, even if the log goes away between
// the append and the echo.
//
// The number of waits is bounded by what connections may have under way.
type Echoes struct {
	log    port.ConversationLog
	within time.Duration

	mu sync.Mutex
	// waiting holds the waits that have no outcome, by the id of their event: those of one id are chained.
	waiting map[domain.EventID]*echoWait
	// due are the first and the last wait that can still become late. All wait equally long, so their order is that of Append.
	due  struct{ first, last *echoWait }
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
	appended bool
	// isDue tells that it stands among those that are due, between before and after.
	isDue         bool
	before, after *echoWait
}

// NewEchoes returns Echoes that append to log and wait at most within for each record. Run has to run.
func NewEchoes(log port.ConversationLog, within time.Duration) *Echoes {
	return &Echoes{log: log, within: within, waiting: make(map[domain.EventID]*echoWait), wake: make(chan struct{}, 1)}
}

var errNotEchoed = domain.NewError(domain.CodeUnconfirmed, "The message is not back from the log yet.")

// Append implements port.ConversationLog. done gets the outcome that Read names: nil once the event was handed to the connections
// of its actor. It gets CodeUnconfirmed also if the log has the event but this node did not read it in time: the event may
// still be shown, once.
func (e *Echoes) Append(event domain.Event, done func(error)) {
	w := &echoWait{id: event.ID, since: time.Now(), done: done}
	e.mu.Lock()
	w.next, e.waiting[w.id] = e.waiting[w.id], w
	e.dueLocked(w)
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

// appended takes the log's outcome. A failed append has no echo to wait for.
func (e *Echoes) appended(w *echoWait, err error) {
	e.mu.Lock()
	w.appended = true
	late := !w.isDue || e.stopped
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

// Read says that this node has applied the event: its connections got what they get of it. outcome is nil, or why the event
// takes no effect. The tail calls it.
//
// Every wait for the id ends. A message that was sent again is the same event, and its first sender may have gone before the
// record was read.
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

// dueLocked puts a wait behind those that are due.
func (e *Echoes) dueLocked(w *echoWait) {
	w.isDue, w.before = true, e.due.last
	if w.before == nil {
		e.due.first = w
	} else {
		w.before.after = w
	}
	e.due.last = w
}

func (e *Echoes) noLongerDueLocked(w *echoWait) {
	if !w.isDue {
		return
	}
	if w.before == nil {
		e.due.first = w.after
	} else {
		w.before.after = w.after
	}
	if w.after == nil {
		e.due.last = w.before
	} else {
		w.after.before = w.before
	}
	w.isDue, w.before, w.after = false, nil, nil
}

// Run answers what was not read in time. When ctx ends, nothing is read any more: it answers all that is left as unconfirmed.
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
	for e.due.first != nil {
		w := e.due.first
		if next = w.since.Add(e.within); now.Before(next) {
			some = true
			break
		}
		// A wait without the log's outcome gets it from there, now or soon: the log may know that it never sent the record.
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
