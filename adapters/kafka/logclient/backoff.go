package logclient

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff spaces attempts: 20 ms doubling to half a second, each shortened by up to half so that those who try again do not
// march in step. The zero value is ready for use.
type Backoff struct{ count int }

// next returns the next pause, before any shortening.
func (b *Backoff) next() time.Duration {
	pause := min(20*time.Millisecond<<min(b.count, 5), 500*time.Millisecond)
	b.count++
	return pause
}

// Timer returns one that ends with the next pause.
func (b *Backoff) Timer() *time.Timer {
	pause := b.next()
	return time.NewTimer(pause - rand.N(pause/2)) //nolint:gosec // jitter, not a secret
}

// Wait waits for the next pause, or until ctx ends.
func (b *Backoff) Wait(ctx context.Context) {
	timer := b.Timer()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// First tells whether there was no pause yet.
func (b *Backoff) First() bool { return b.count == 0 }
