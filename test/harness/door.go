package harness

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// Door is an address that forwards connections to the nodes behind it, as a balancer does. Nodes come and go behind it, and it
// can lose packets.
type Door struct {
	// Addr is its host:port.
	Addr string

	listener net.Listener
	joined   sync.WaitGroup

	mu     sync.Mutex
	nodes  []string // guarded by mu, as are those below
	next   int
	links  []*link
	closed bool
}

// link is a connection of a client and the one to its node.
type link struct {
	client, node net.Conn

	mu   sync.Mutex
	lost bool // guarded by mu: what comes is thrown away, and nobody is told that the other side has closed
}

// OpenDoor opens a door to no node. It is closed with the test.
func OpenDoor(t *testing.T) *Door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &Door{Addr: listener.Addr().String(), listener: listener}
	d.joined.Go(d.accept)
	t.Cleanup(d.close)
	return d
}

// Lead sends new connections to these nodes in turn; to none, it closes them.
func (d *Door) Lead(nodes ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes = slices.Clone(nodes)
}

// Lose loses all packets of the connections that there are, in both directions. The sockets of the clients stay open.
func (d *Door) Lose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		l.lose()
	}
}

// Cut closes the connections that there are, on both sides.
func (d *Door) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		_, _ = l.client.Close(), l.node.Close()
	}
	d.links = nil
}

func (d *Door) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		d.joined.Go(func() { d.serve(client) })
	}
}

// serve connects a client to the next node that can be reached.
func (d *Door) serve(client net.Conn) {
	for _, addr := range d.turn() {
		node, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		l := &link{client: client, node: node}
		if !d.add(l) {
			break
		}
		d.joined.Go(func() { l.pass(client, node) })
		l.pass(node, client)
		return
	}
	_ = client.Close()
}

// turn returns the nodes, from the one whose turn it is.
func (d *Door) turn() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.nodes) == 0 {
		return nil
	}
	d.next = (d.next + 1) % len(d.nodes)
	return append(slices.Clone(d.nodes[d.next:]), d.nodes[:d.next]...)
}

func (d *Door) add(l *link) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = l.node.Close()
		return false
	}
	d.links = append(d.links, l)
	return true
}

func (d *Door) close() {
	_ = d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for _, l := range d.links {
		_, _ = l.client.Close(), l.node.Close()
	}
	d.mu.Unlock()
	d.joined.Wait()
}

func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}

func (l *link) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// pass forwards what from sends until it has closed. Then it closes to, unless packets are lost.
func (l *link) pass(from, to net.Conn) {
	_, _ = io.Copy(lossy{l, to}, from)
	if !l.isLost() {
		_ = to.Close()
	}
}

// lossy writes to a connection of a link, or loses what is written.
type lossy struct {
	link *link
	to   net.Conn
}

func (w lossy) Write(content []byte) (int, error) {
	if w.link.isLost() {
		return len(content), nil
	}
	return w.to.Write(content)
}
