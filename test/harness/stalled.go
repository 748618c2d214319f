package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Path is a network path to a server, whose packets may stop while its sockets stay open.
type Path struct {
	// Addr is where clients connect.
	Addr string

	mu      sync.Mutex
	stalled bool
	resumed *sync.Cond
}

// StartPath starts a path to a host:port. It ends with the test.
func StartPath(t *testing.T, to string) *Path {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Path{Addr: listener.Addr().String()}
	p.resumed = sync.NewCond(&p.mu)
	var all sync.WaitGroup
	var sockets []net.Conn
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			sockets = append(sockets, client, server)
			p.mu.Unlock()
			all.Go(func() { p.carry(server, client) })
			all.Go(func() { p.carry(client, server) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.set(false)
		p.mu.Lock()
		for _, socket := range sockets {
			_ = socket.Close()
		}
		p.mu.Unlock()
		all.Wait()
	})
	return p
}

// Stall stops the packets of both directions. What is sent from then on gets as far as the sockets' buffers.
func (p *Path) Stall() { p.set(true) }

func (p *Path) set(stalled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = stalled
	p.resumed.Broadcast()
}

// carry copies what one side sends to the other one.
func (p *Path) carry(to, from net.Conn) {
	buffer := make([]byte, 4<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.stalled {
			p.resumed.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				err = failed
			}
		}
		if err != nil {
			if err != io.EOF { //nolint:errorlint // of a net.Conn it is this one
				_ = to.Close()
			}
			return
		}
	}
}
