package rest

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/domain"
)

// Check is a part that the node needs to serve anybody.
type Check struct {
	Name string // as the answer shows it: "broker"
	// Probe returns nil while the part works, and returns soon after ctx ends. It may be called by many goroutines. The
	// message of a classified error is shown to whoever asks; other errors only go to the log.
	Probe func(ctx context.Context) error
}

const checkOK = "ok"

// Background is work of the node that serves nobody at once. Readiness shows it and does not hang on it: users can chat
// while it stands still, and it stands still on all nodes alike.
type Background struct {
	// History is nil where no history is kept, or before anything is known of it.
	History *HistoryLag `json:"history,omitempty"`
	// Groups are the node's consumer groups, by their ids.
	Groups map[string]ConsumerGroup `json:"consumer_groups,omitempty"`
}

// HistoryLag is how far the history is behind the log.
type HistoryLag struct {
	RecordsBehind int64 `json:"records_behind"`
	// StandingStill is for how many seconds at least one partition with records to go has not moved.
	StandingStill int64 `json:"standing_still_seconds"`
}

// ConsumerGroup is how a consumer group of this server looks to the node.
type ConsumerGroup struct {
	Member bool `json:"member"`
	// Foreign is how many consumers of other programs were found in it since the node started.
	Foreign int64 `json:"foreign_consumers"`
	// KeptOut is for how many seconds they keep the node out of it.
	KeptOut int64 `json:"kept_out_seconds"`
}

// health answers while the process lives.
func (a *API) health(c *fiber.Ctx) error {
	return send(c, http.StatusOK, map[string]string{"status": checkOK})
}

// readiness answers 200 while the node can serve: all checks pass and it is not draining. It asks nobody's leave, so
// those who ask at the same time share one round of checks.
func (a *API) readiness(c *fiber.Ctx) error {
	shared, _, _ := a.probes.Do("", func() (any, error) { return a.probe(), nil })
	checks, _ := shared.(map[string]string)
	var background Background
	if a.deps.Background != nil {
		background = a.deps.Background()
	}
	if a.draining.Load() {
		return send(c, http.StatusServiceUnavailable, notReady("The node is going away.", checks, background))
	}
	for _, state := range checks {
		if state != checkOK {
			return send(c, http.StatusServiceUnavailable, notReady("A part that the node needs is away.", checks, background))
		}
	}
	return send(c, http.StatusOK, struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
		Background
	}{checkOK, checks, background})
}

// unready is the answer of a node that cannot serve.
type unready struct {
	problem.Details
	// Checks is the state of the parts that readiness hangs on.
	Checks map[string]string `json:"checks,omitempty"`
	Background
}

func notReady(sentence string, checks map[string]string, background Background) unready {
	return unready{problem.Of(http.StatusServiceUnavailable, sentence), checks, background}
}

// probe makes all checks side by side, waits for them, and logs a failure when it is new.
func (a *API) probe() map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), a.options.ProbeTimeout)
	defer cancel()
	errs := make([]error, len(a.deps.Checks))
	var all sync.WaitGroup
	for i, check := range a.deps.Checks {
		all.Go(func() { errs[i] = check.Probe(ctx) })
	}
	all.Wait()
	states := make(map[string]string, len(errs))
	failed := errors.Join(errs...)
	for i, check := range a.deps.Checks {
		states[check.Name] = stateOf(errs[i])
	}
	if ready := failed == nil; a.ready.Swap(ready) != ready {
		if ready {
			a.deps.Logger.Info("readiness: all checks pass")
		} else {
			a.deps.Logger.Warn("readiness: a check fails", "error", failed)
		}
	}
	return states
}

func stateOf(err error) string {
	var classified *domain.Error
	switch {
	case err == nil:
		return checkOK
	case errors.As(err, &classified):
		return classified.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	default:
		return "failing"
	}
}
