package kafka

import (
	"context"
	"time"
)

// paced calls do for what is wished for, at most once in every: wishes that come meanwhile are one. It returns when ctx ends.
func paced(ctx context.Context, wishes <-chan struct{}, every time.Duration, do func()) {
	for {
		select {
		case <-wishes:
		case <-ctx.Done():
			return
		}
		do()
		pause := time.NewTimer(every)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// wish puts a wish into a channel of one place, unless one is there already.
func wish(wishes chan<- struct{}) {
	select {
	case wishes <- struct{}{}:
	default:
	}
}
