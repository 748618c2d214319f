package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	sqlstore "chatting/adapters/sql"
	"chatting/application"
	"chatting/domain"
)

// nodeClock compares the node's clock with the database's.
type nodeClock struct {
	store  *sqlstore.Store
	now    application.Clock
	logger *slog.Logger
}

func newNodeClock(store *sqlstore.Store, now application.Clock, logger *slog.Logger) *nodeClock {
	return &nodeClock{store: store, now: now, logger: logger}
}

const (
	// maxClockOffset is how far a node's clock may be off. Beyond it a node that starts could not tell from the log of
	// sessions who is online: it reads back so much more than it needs.
	maxClockOffset = 10 * time.Minute
	clockEvery     = time.Second
)

// probe is what /readyz asks: an error while the node's clock is wrong. A database that is away has a check of its own.
func (c *nodeClock) probe(ctx context.Context) error {
	_, err := c.read(ctx)
	if domain.CodeOf(err) == domain.CodeUnavailable && !errors.Is(err, errWrongClock) {
		return nil
	}
	return err
}

// errWrongClock is the cause of errors that tell that the node's clock is wrong.
var errWrongClock = errors.New("wrong clock")

func clockIsWrong(how string) error {
	return domain.WrapError(domain.CodeUnavailable, how, errWrongClock)
}

// read returns the earlier of the node's time and the one that it is compared with, and an error if the node's is wrong.
func (c *nodeClock) read(ctx context.Context) (time.Time, error) {
	own := c.now()
	if own.Before(domain.EarliestTime) {
		return own, clockIsWrong("The clock of this node is not set: it tells " + own.UTC().Format(time.DateTime) + ".")
	}
	reference, independent, err := c.store.ReferenceTime(ctx)
	if err != nil || reference.IsZero() {
		return own, err
	}
	// Without a server's clock the node's may be right to be ahead: the node was not there for a while.
	offset := own.Sub(reference)
	if offset < -maxClockOffset || independent && offset > maxClockOffset {
		direction := "ahead of"
		if offset < 0 {
			direction = "behind"
		}
		return own, clockIsWrong(fmt.Sprintf(
			"The clock of this node is %s %s the database's.", offset.Abs().Round(time.Second), direction))
	}
	if reference.Before(own) {
		return reference, nil
	}
	return own, nil
}

// await waits until the node's clock is right, and returns what time it is.
func (c *nodeClock) await(ctx context.Context) (time.Time, error) {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	for said := false; ; {
		at, err := c.read(ctx)
		if err == nil {
			return at, nil
		}
		if domain.CodeOf(err) != domain.CodeUnavailable {
			return time.Time{}, err
		}
		if !said {
			c.logger.Error("the node does not serve before its clock is right", "error", err)
			said = true
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}
