package socket

import "sync"

// MaxUnderWay bounds the requests without outcome of one connection. At the bound it is not read from until one has its outcome.
const MaxUnderWay = 256

// Reading says whether a connection may read on, and lets its reading goroutine wait until it may. What the client sends
// meanwhile waits in its socket, in order. Only the reading goroutine calls the methods that wait, Claim and AwaitEnd, and Pause
// and Resume. Outbound.Init makes it ready.
type Reading struct {
	sock *Conn

	mu       sync.Mutex
	paused   bool          // the reading goroutine waits for something of the server's
	leaving  bool          // takes no further messages, and closes once it has no request under way
	closing  bool          // nothing begins any more
	underWay int           // requests without outcome
	changed  chan struct{} // tells the reading goroutine that waits; nil until it has to
	cancel   func()        // ends what it does while it is paused; nil for nothing
}

// Claim counts one more request, once there is room for it; false if the connection closes.
func (r *Reading) Claim() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitLocked(func() bool { return r.underWay < MaxUnderWay })
	if r.closing {
		return false
	}
	r.underWay++
	return true
}

// Settle counts a request that has its outcome, on any goroutine; true if the connection has to close now, because it leaves.
func (r *Reading) Settle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay--
	return r.leftLocked()
}

// Leave lets no further message in; true if the connection has to close now, because it has no request under way.
func (r *Reading) Leave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = true
	return r.leftLocked()
}

func (r *Reading) leftLocked() bool {
	if r.leaving && r.underWay == 0 {
		r.closing = true
	}
	r.signalLocked()
	return r.closing
}

// IsLeaving tells whether no further message is let in.
func (r *Reading) IsLeaving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaving
}

// AwaitEnd waits until the connection closes.
func (r *Reading) AwaitEnd() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitLocked(func() bool { return false })
}

// Pause begins a wait of the reading goroutine that cancel ends if the connection closes.
func (r *Reading) Pause(cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		cancel()
	}
	r.paused, r.cancel = true, cancel
}

// Resume ends what Pause began.
func (r *Reading) Resume() {
	r.sock.noteHeard() // the silence so far was not the client's
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused, r.cancel = false, nil
}

// end ends every wait, because the connection closes.
func (r *Reading) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	if r.cancel != nil {
		r.cancel()
	}
	r.signalLocked()
}

// IsPaused tells whether the silence of the client is the server's doing.
func (r *Reading) IsPaused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paused
}

// awaitLocked waits until ready, or until the connection closes.
func (r *Reading) awaitLocked(ready func() bool) {
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

func (r *Reading) signalLocked() {
	if r.changed != nil {
		select {
		case r.changed <- struct{}{}:
		default: // it is told already
		}
	}
}
