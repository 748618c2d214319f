package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chatting/adapters/sqlstore"
	"chatting/application/port"
	"chatting/domain"
)

// nodeClock compares the node's clock with the database's.
type nodeClock struct {
	store  *sqlstore.Store
	now    port.Clock
	logger *slog.Logger
}

func newNodeClock(store *sqlstore.Store, now port.Clock, logger *slog.Logger) *nodeClock {
	return &nodeClock{store: store, now: now, logger: logger}
}

const (
	// maxClockOffset is how far a node's clock may be off. It is how much more of the sessions a starting node reads than it
	// needs, so beyond it the node could not tell who is online.
	maxClockOffset = 10 * time.Minute
	clockEvery     = time.Second
)

// probe fails while the node's clock is wrong. A database that is away has a check of its own.
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

// read returns the time of the node or of the database, whichever is earlier, and an error if the node's clock is wrong.
func (c *nodeClock) read(ctx context.Context) (time.Time, error) {
	own := c.now()
	if own.Before(domain.EarliestTime) {
		return own, clockIsWrong("The clock of this node is not set: it tells " + own.UTC().Format(time.DateTime) + ".")
	}
	reference, independent, err := c.store.Clock.ReferenceTime(ctx)
	if err != nil || reference.IsZero() {
		return own, err
	}
	// A time that is not independent is that of the last run. The node may have been off since.
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

// await waits until the node's clock is right, and returns the time.
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
