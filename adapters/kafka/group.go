package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// groupOptions say which consumer group to join.
type groupOptions struct {
	ID    string
	Topic string
	// Database is the id of the database that all members share.
	Database string
	// Session is after how long the group gives a dead member's partitions to others.
	Session time.Duration
	// What names the work in the log.
	What   string
	Logger *slog.Logger
}

const (
	// groupPause is between a failure and the next attempt: each has all nodes join again.
	groupPause = 5 * time.Second
	// joinPause is between two attempts to join.
	joinPause = time.Second
	// leaveTimeout bounds the leaving of the group. A group that was not left finds out by the session timeout.
	leaveTimeout = 2 * time.Second
	// groupTimeout bounds a request to the coordinator that does not wait for other members.
	groupTimeout = 3 * time.Second
)

// assignment is a partition that falls to this member, and the offset that the group has committed for it; -1 without one.
type assignment struct {
	ID     int
	Offset int64
}

// runGroup is a member of a consumer group until ctx ends. serve is called for each generation in which partitions fall to
// this member. Its ctx ends with the generation, and the generation ends when it returns: the group is joined again, after
// an error that is logged and groupPause. As long as serve has not returned, all members wait for this one.
//
// Only nodes of this server can be in the group while one of them is: see groupProtocol. Consumers of other programs that
// were in it before are taken out. If nodes with another database are in it before this one ever was, the error is an
// *OtherDatabaseError.
func runGroup(
	ctx context.Context, cluster *Cluster, options groupOptions,
	serve func(ctx context.Context, generation *generation, assignments []assignment) error,
) error {
	logger := options.Logger.With("group", options.ID, "work", options.What)
	m := &member{cluster: cluster, options: options}
	guard := newGroupGuard(cluster, options, logger)
	defer m.leave(ctx)
	for ctx.Err() == nil {
		generation, assignments, err := m.join(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.InconsistentGroupProtocol), errors.Is(err, kafka.GroupIdNotFound):
			again, err := guard.keptOut(ctx)
			if err != nil {
				return err
			}
			if !again {
				pause(ctx, joinPause)
			}
			continue
		case err != nil:
			guard.left()
			level := slog.LevelDebug // the brokers' being away is said elsewhere
			if errors.Is(err, kafka.GroupAuthorizationFailed) {
				level = slog.LevelError
			}
			logger.Log(ctx, level, "joining the consumer group again", "error", err)
			if !errors.Is(err, kafka.RebalanceInProgress) {
				pause(ctx, joinPause)
			}
			continue
		}
		guard.joined()
		m.during(ctx, generation, func(ctx context.Context) {
			if len(assignments) == 0 {
				<-ctx.Done()
				return
			}
			if err := serve(ctx, generation, assignments); err != nil && ctx.Err() == nil {
				logger.Warn("the work of the consumer group starts over", "error", err)
				pause(ctx, groupPause)
			}
		})
	}
	return nil
}

// during runs f while the generation lasts, which ends when f returns.
func (m *member) during(ctx context.Context, g *generation, f func(context.Context)) {
	ctx, end := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() {
		defer end()
		m.beat(ctx, g)
	})
	f(ctx)
	end()
	beating.Wait()
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
