package ws

import (
	"container/list"
	"errors"
	"net/netip"
	"sync"
)

// roster is the sockets that there are, from their admission on. It decides who is let in and who makes room.
type roster struct {
	max, maxPerAddress int // 0 for no cap

	mu         sync.Mutex
	draining   bool // nobody is let in, and connections that begin now are closed at once
	admitted   int
	perAddress map[netip.Addr]int
	// connections has a place in one of the lists for each that is not logged in, nil for others.
	connections map[*connection]*list.Element
	// strangers are the connections that have not sent a token, and checking those whose token is being checked, oldest
	// first. They make room for others, strangers before the rest.
	strangers, checking *list.List
	ended               chan struct{} // closed when it drains and nobody is admitted any more
	// full and fullAddress count how often max and maxPerAddress kept a socket out, or cut another one for it.
	full, fullAddress uint64
}

func newRoster(maxConnections, maxPerAddress int) *roster {
	return &roster{
		max: maxConnections, maxPerAddress: maxPerAddress,
		perAddress:  make(map[netip.Addr]int),
		connections: make(map[*connection]*list.Element),
		strangers:   list.New(),
		checking:    list.New(),
		ended:       make(chan struct{}),
	}
}

// fullError says that there is no place for a socket. It has the places that are taken.
type fullError struct{ ofAddress, connections int }

// Error implements error.
func (fullError) Error() string { return "too many connections" }

var errDraining = errors.New("the server is going away")

// admit counts a socket that is about to be upgraded. The returned function takes it out again. If all places are taken, admit
// cuts the connection that has waited longest without a token, or else the one whose token has been checked longest. So sockets
// that say nothing keep nobody out. The error is a fullError or errDraining.
func (r *roster) admit(address netip.Addr) (release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := fullError{r.perAddress[address], r.admitted}
	switch {
	case r.draining:
		return nil, errDraining
	case r.maxPerAddress > 0 && full.ofAddress >= r.maxPerAddress:
		r.fullAddress++
		return nil, full
	case r.max > 0 && r.admitted >= r.max:
		r.full++
		if !r.evictLocked() {
			return nil, full
		}
	}
	r.admitted++
	r.perAddress[address]++
	return sync.OnceFunc(func() { r.exit(address) }), nil
}

// evictLocked cuts the oldest connection that is not logged in; false if all are. The connection ends on its own goroutine: for a
// moment there is one more than the cap.
func (r *roster) evictLocked() bool {
	oldest := r.strangers.Front()
	if oldest == nil {
		oldest = r.checking.Front()
	}
	if oldest == nil {
		return false
	}
	c, _ := oldest.Value.(*connection)
	r.forgetLocked(c)
	c.evicted.Store(true)
	c.abort()
	return true
}

func (r *roster) exit(address netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted--
	if r.perAddress[address]--; r.perAddress[address] == 0 {
		delete(r.perAddress, address)
	}
	if r.draining && r.admitted == 0 {
		close(r.ended)
	}
}

// register adds a connection, as one that has not sent a token; true if it has to leave at once.
func (r *roster) register(c *connection) (draining bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections[c] = r.strangers.PushBack(c)
	return r.draining
}

// named notes that the connection's token is being checked.
func (r *roster) named(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forgetLocked(c) {
		r.connections[c] = r.checking.PushBack(c)
	}
}

// known notes that the connection is logged in.
func (r *roster) known(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(c)
}

func (r *roster) unregister(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(c)
	delete(r.connections, c)
}

// forgetLocked takes the connection out of the lists; false if it is in none.
func (r *roster) forgetLocked(c *connection) bool {
	place := r.connections[c]
	if place == nil {
		return false
	}
	r.strangers.Remove(place) // does nothing if it is in the other list
	r.checking.Remove(place)
	r.connections[c] = nil
	return true
}

// all appends the connections to some.
func (r *roster) all(some []*connection) []*connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.connections {
		some = append(some, c)
	}
	return some
}

// size returns how many sockets are admitted.
func (r *roster) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitted
}

// sizes returns how many connections have not logged in, those that are about to begin included, and how many have.
func (r *roster) sizes() (login, open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open = len(r.connections) - r.strangers.Len() - r.checking.Len()
	return max(0, r.admitted-open), open
}

// refusals returns how often the caps kept a socket out, or cut another one for it.
func (r *roster) refusals() Refusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Refusals{Connections: r.full, OfAddress: r.fullAddress}
}

// drain lets nobody in any more. The channel is closed once nobody is admitted.
func (r *roster) drain() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.draining && r.admitted == 0 {
		close(r.ended)
	}
	r.draining = true
	return r.ended
}

func (r *roster) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}
