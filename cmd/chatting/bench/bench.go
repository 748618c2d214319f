// Package bench is the load client of chatting bench. It logs users in, has pairs of them chat, and measures how long their
// messages take, how many a second there are, and whether each comes once and in order. It needs nothing of the server but
// the protocol that clients speak, and little time a message, because it shares the machine with the server.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Target is the server, and how to log in to it.
type Target struct {
	// URL is that of the server's socket, ws:// or wss://.
	URL string
	// Sources are the addresses to connect from, in turn. Without any the system chooses.
	Sources []netip.Addr
	// Token returns the token of a user. Users are numbered from 0.
	Token func(user int) (string, error)
	// Parallel is how many logins are under way at a time.
	Parallel int
	// PIDs are processes of this machine whose CPU time and memory are measured.
	PIDs []int
	// Progress is told now and then how far the work is. It may be nil.
	Progress func(line string)

	began time.Time
	// first returns what the login of a user names beside its token; nil for nothing.
	first func(user int) login
	// again counts connections that were cut before the answer to their login, each of which the client then opens anew; if it is nil,
	// such a login has failed.
	again *atomic.Int64
}

const (
	loginTimeout  = 30 * time.Second // of one login, from its first packet on
	closeTimeout  = 5 * time.Second  // for the server's answer to a close
	progressEvery = time.Second

	// lossWait is the longest wait before a client whose connection was cut opens it anew, as docs/clients.md says. It doubles up to
	// lossTries times, and the login has failed if the next connection is cut, too.
	lossWait  = 500 * time.Millisecond
	lossTries = 5
)

// errCancelled is the end of a run that was interrupted before anything was measured.
var errCancelled = errors.New("interrupted before anything was measured")

// logIn logs in users 0 to n-1, Parallel of them at a time. done gets the outcome of each, from several goroutines at once.
// After the first call that returns an error no further login begins, and that error is returned.
func (t *Target) logIn(ctx context.Context, n int, done func(user int, c *client, took time.Duration, err error) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range min(max(t.Parallel, 1), n) {
		workers.Go(func() {
			for ctx.Err() == nil {
				user := int(next.Add(1)) - 1
				if user >= n {
					return
				}
				var first login
				if t.first != nil {
					first = t.first(user)
				}
				begun := time.Now()
				c, err := t.dialAgain(ctx, user, first)
				if ctx.Err() != nil && err != nil {
					return // it was given up, and says nothing of the server
				}
				if err := done(user, c, time.Since(begun), err); err != nil {
					cancel(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { workers.Wait(); close(ended) }()
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ended:
			return context.Cause(ctx)
		case <-ticks.C:
			t.progress("logging in: %d of %d", min(int(next.Load()), n), n)
		}
	}
}

// dialAgain is dial, which is repeated for a connection that was cut if Target.again counts that.
func (t *Target) dialAgain(ctx context.Context, user int, first login) (*client, error) {
	for try := 0; ; try++ {
		c, err := t.dial(ctx, user, first)
		if t.again == nil || try == lossTries || !wasCut(err) {
			return c, err
		}
		t.again.Add(1)
		select {
		case <-time.After(rand.N(lossWait << try)): //nolint:gosec // a time that is guessed helps nobody
		case <-ctx.Done():
			return nil, err
		}
	}
}

// wasCut tells whether a connection ended without a word: a server that has too many connections lets some go that have not asked for
// anything yet.
func wasCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (t *Target) progress(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}
