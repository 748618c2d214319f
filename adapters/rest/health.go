package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/sync/singleflight"

	"chatting/adapters/problem"
	"chatting/adapters/rest/exchange"
	"chatting/domain"
)

// Check is a part that the node needs to serve anybody.
type Check struct {
	Name string // as the answer shows it: "broker"
	// Probe returns nil while the part works, and returns soon after ctx ends. Many goroutines may call it. The message of a
	// classified error is shown to anybody who asks; other errors only go to the log.
	Probe func(ctx context.Context) error
}

const checkOK = "ok"

// Background is the state of the node's background work. Readiness shows it and does not depend on it: users can chat while it
// stands still.
type Background struct {
	// History is nil if no history is kept, or before anything is known of it.
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

// health answers load balancers and operators.
type health struct {
	checks     []Check
	background func() Background // nil for none
	timeout    time.Duration
	logger     *slog.Logger

	draining atomic.Bool
	passing  atomic.Bool // what the latest round of checks said
	rounds   singleflight.Group
}

// live answers while the process lives.
func (h *health) live(c *fiber.Ctx) error {
	return exchange.Send(c, http.StatusOK, map[string]string{"status": checkOK})
}

// ready answers 200 while the node can serve: all checks pass and it is not draining. Anybody may ask, so requests at the same
// time share one round of checks.
func (h *health) ready(c *fiber.Ctx) error {
	shared, _, _ := h.rounds.Do("", func() (any, error) { return h.probe(), nil })
	checks, _ := shared.(map[string]string)
	var background Background
	if h.background != nil {
		background = h.background()
	}
	if h.draining.Load() {
		return exchange.Send(c, http.StatusServiceUnavailable, notReady("The node is going away.", checks, background))
	}
	for _, state := range checks {
		if state != checkOK {
			return exchange.Send(c, http.StatusServiceUnavailable, notReady("A part that the node needs is away.", checks, background))
		}
	}
	return exchange.Send(c, http.StatusOK, struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
		Background
	}{checkOK, checks, background})
}

// unready is the answer of a node that cannot serve.
type unready struct {
	problem.Details
	// Checks is the state of the parts that readiness depends on.
	Checks map[string]string `json:"checks,omitempty"`
	Background
}

func notReady(sentence string, checks map[string]string, background Background) unready {
	return unready{problem.Of(http.StatusServiceUnavailable, sentence), checks, background}
}

// probe makes all checks side by side, waits for them, and logs a failure when it is new.
func (h *health) probe() map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	errs := make([]error, len(h.checks))
	var all sync.WaitGroup
	for i, check := range h.checks {
		all.Go(func() { errs[i] = check.Probe(ctx) })
	}
	all.Wait()
	states := make(map[string]string, len(errs))
	failed := errors.Join(errs...)
	for i, check := range h.checks {
		states[check.Name] = stateOf(errs[i])
	}
	if passing := failed == nil; h.passing.Swap(passing) != passing {
		if passing {
			h.logger.Info("readiness: all checks pass")
		} else {
			h.logger.Warn("readiness: a check fails", "error", failed)
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
