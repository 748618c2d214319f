package httpconn

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// accepted returns when each of n connections that come at once is accepted.
func accepted(p *pace, n int) (after []time.Duration) {
	began := time.Now()
	for range n {
		p.await()
		after = append(after, time.Since(began))
	}
	return after
}

func TestConnectionsAreAcceptedAtAPaceWhileChatIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := acceptsATurn * runtime.GOMAXPROCS(0)
		p := &pace{live: func() bool { return true }}
		for i, after := range accepted(p, 3*turn) {
			if want := time.Duration(i/turn) * acceptTurn; after != want {
				t.Fatalf("connection %d was accepted after %s, want %s", i, after, want)
			}
		}
		time.Sleep(acceptTurn)
		if after := accepted(p, 1); after[0] != 0 {
			t.Errorf("one that came later was accepted after %s", after[0])
		}
	})
}

func TestConnectionsAreAcceptedAtOnceWhileNobodyChats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []*pace{{}, {live: func() bool { return false }}} {
			for i, after := range accepted(p, 1000) {
				if after != 0 {
					t.Fatalf("connection %d was accepted after %s", i, after)
				}
			}
		}
	})
}
