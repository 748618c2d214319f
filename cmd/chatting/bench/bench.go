// Package bench is the load client of chatting bench. It logs users in, has pairs of them chat, and measures how long their
// messages take, how many a second there are, and whether each comes once and in order. It needs nothing of the server but
// the protocol that clients speak, and little time a message, because it shares the machine with the server.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
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
}

const (
	loginTimeout  = 30 * time.Second // of one login, from its first packet on
	closeTimeout  = 5 * time.Second  // for the server's answer to a close
	progressEvery = time.Second
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
				c, err := t.dial(ctx, user, first)
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

func (t *Target) progress(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}
