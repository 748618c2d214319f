package harness

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Canaries are two users who chat while something else goes on: one message after the other, each way in turn. Each has to
// be echoed and to arrive.
type Canaries struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	rounds int
	err    error
}

const (
	// CanaryWait is how long one message of the canaries may take: the append deadline with a factor of three.
	CanaryWait = 15 * time.Second
	// canaryPause keeps them below the rate of a connection.
	canaryPause = 20 * time.Millisecond
)

// StartCanaries logs two users in and has them chat until End.
func StartCanaries(t *testing.T, addr, token, other string) *Canaries {
	t.Helper()
	var pair [2]*Client
	for i, token := range []string{token, other} {
		client, err := Connect(addr, token)
		if err != nil {
			t.Fatal(err)
		}
		pair[i] = client
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Canaries{stop: stop}
	c.done.Go(func() {
		defer pair[0].Close()
		defer pair[1].Close()
		// An end that comes at once does not keep them from a first round.
		for first := true; first || ctx.Err() == nil; first = false {
			if c.err = chatOnce(pair, c.rounds); c.err != nil {
				return
			}
			c.rounds++
			Pause(ctx, canaryPause)
		}
	})
	t.Cleanup(c.wait)
	return c
}

// chatOnce has the pair say one message each way.
func chatOnce(pair [2]*Client, round int) error {
	ctx, cancel := context.WithTimeout(context.Background(), CanaryWait)
	defer cancel()
	for i, from := range pair {
		to := pair[1-i]
		text := fmt.Sprintf("round %d of %d", round, from.User)
		seen := [2]int{len(pair[0].Frames()), len(pair[1].Frames())}
		if err := from.Send(to.User, text); err != nil {
			return err
		}
		for j, end := range pair {
			if _, err := end.Find(ctx, seen[j], func(f Frame) bool { return f.Message == text }); err != nil {
				return fmt.Errorf("%q at %d: %w", text, end.User, err)
			}
		}
	}
	return nil
}

func (c *Canaries) wait() {
	c.stop()
	c.done.Wait()
}

// End stops the canaries and returns how many rounds they chatted. They chat at least once. It fails
// the test if a message of theirs was lost.
func (c *Canaries) End(t *testing.T, during string) int {
	t.Helper()
	c.wait()
	if c.err != nil {
		t.Errorf("%s: the canaries chatted %d rounds, then: %v", during, c.rounds, c.err)
	}
	return c.rounds
}
