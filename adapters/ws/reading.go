package ws

import "sync"

// maxUnderWay bounds the appends without outcome of one connection. At the bound it is not read from until one has its outcome.
const maxUnderWay = 256

// reading says whether a connection may read on, and lets its reading goroutine wait until it may. What the client sends
// meanwhile waits in its socket, in order. Only the reading goroutine calls the methods that wait: claim, left and pause.
type reading struct {
	sock *socket

	mu       sync.Mutex
	paused   bool          // the reading goroutine waits for something of the server's
	leaving  bool          // takes no further messages, and closes once it has no append under way
	closing  bool          // nothing begins any more
	underWay int           // appends without outcome
	changed  chan struct{} // tells the reading goroutine that waits; nil until it has to
	cancel   func()        // ends what it does while it is paused; nil for nothing
}

// claim counts one more append, once there is room for it; false if the connection closes.
func (r *reading) claim() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitLocked(func() bool { return r.underWay < maxUnderWay })
	if r.closing {
		return false
	}
	r.underWay++
	return true
}

// settle counts an append that has its outcome, on any goroutine; true if the connection has to close now, because it leaves.
func (r *reading) settle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay--
	return r.leftLocked()
}

// leave lets no further message in; true if the connection has to close now, because it has no append under way.
func (r *reading) leave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = true
	return r.leftLocked()
}

func (r *reading) leftLocked() bool {
	if r.leaving && r.underWay == 0 {
		r.closing = true
	}
	r.signalLocked()
	return r.closing
}

// left tells whether the connection leaves, and if so waits until it closes.
func (r *reading) left() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving {
		r.awaitLocked(func() bool { return false })
	}
	return r.leaving
}

// pause begins a wait of the reading goroutine that cancel ends if the connection closes.
func (r *reading) pause(cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		cancel()
	}
	r.paused, r.cancel = true, cancel
}

// resume ends what pause began.
func (r *reading) resume() {
	r.sock.noteHeard() // the silence so far was not the client's
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused, r.cancel = false, nil
}

// end ends every wait, because the connection closes.
func (r *reading) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	if r.cancel != nil {
		r.cancel()
	}
	r.signalLocked()
}

// isPaused tells whether the silence of the client is the server's doing.
func (r *reading) isPaused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paused
}

// awaitLocked waits until ready, or until the connection closes.
func (r *reading) awaitLocked(ready func() bool) {
	if ready() || r.closing {
		return
	}
	if r.changed == nil {
		r.changed = make(chan struct{}, 1)
	}
	r.paused = true
	for !ready() && !r.closing {
		r.mu.Unlock()
		<-r.changed
		r.mu.Lock()
	}
	r.sock.noteHeard()
	r.paused = false
}

func (r *reading) signalLocked() {
	if r.changed != nil {
		select {
		case r.changed <- struct{}{}:
		default: // it is told already
		}
	}
}
