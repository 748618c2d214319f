// Package groups joins Kafka consumer groups of which only this program's processes can be members. A group whose members agree
// on a protocol of their own keeps out consumers of other programs, which would take partitions that nobody reads then. It
// shares out partitions, beats and commits; package logclient reads them.
package groups

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
)

// Options say which consumer group to join.
type Options struct {
	ID    string
	Topic string
	// Type and Protocol are the type and the name of the protocol by which the members agree on who reads what. A broker lets
	// only members of one type, with a protocol in common, into a group. So a consumer of another program, whose type is
	// "consumer", cannot join a group that has one of this program's processes in it, neither in the classic way nor in that of
	// KIP-848. A process with another protocol cannot join either.
	Type, Protocol string
	// Mismatch is the error for a group whose members are of this type and have another protocol.
	Mismatch error
	// Session is after how long the group gives a dead member's partitions to others; at most MaxSession.
	Session time.Duration
	// What names the work in the log.
	What   string
	Logger *slog.Logger
}

// MaxSession is the longest session.
const MaxSession = 10 * time.Second

const (
	// Pause is between a failure of serve and the next attempt, which has all members join again.
	Pause = 5 * time.Second
	// joinPause is between two attempts to join.
	joinPause = time.Second
	// LeaveTimeout bounds the leaving of the group.
	LeaveTimeout = 2 * time.Second
	// groupTimeout bounds a request to the coordinator that does not wait for other members.
	groupTimeout = 3 * time.Second
)

// Assignment is a partition that falls to this member.
type Assignment struct {
	Partition int
	Offset    int64 // that the group has committed; -1 without one
}

// Begin returns where to go on reading each partition of a topic: where the group is, or the start of the log if it was nowhere,
// or past the end, because the topic was made anew.
func Begin(ctx context.Context, cluster *logclient.Cluster, topic string, assignments []Assignment) (map[int]int64, error) {
	numbers := make([]int, len(assignments))
	for i, assignment := range assignments {
		numbers[i] = assignment.Partition
	}
	starts, ends, err := cluster.Bounds(ctx, topic, numbers, logclient.Start, logclient.End)
	if err != nil {
		return nil, err
	}
	from := make(map[int]int64, len(assignments))
	for i, assignment := range assignments {
		from[assignment.Partition] = max(assignment.Offset, starts[i])
		if assignment.Offset > ends[i] {
			from[assignment.Partition] = starts[i]
		}
	}
	return from, nil
}

// Run is a member of a consumer group until ctx ends. serve is called for each generation in which partitions fall to
// this member. Its ctx ends with the generation, and the generation ends when it returns: the group is joined again, after
// an error that is logged and Pause. As long as serve has not returned, all members wait for this one.
//
// Consumers of other programs that were in the group before are taken out. If members with another protocol are in it before
// this process ever was, the error is Options.Mismatch.
//
// A process that joins as a "consumer" and has the cluster's client id counts as an older version of this program: while one is
// in the group, this one waits until the last has left.
func Run(
	ctx context.Context, cluster *logclient.Cluster, options Options,
	serve func(ctx context.Context, generation *Generation, assignments []Assignment) error,
) error {
	logger := options.Logger.With("group", options.ID, "work", options.What)
	m := &member{cluster: cluster, options: options}
	guard := newGuard(cluster, options, logger)
	defer m.leave(ctx)
	for ctx.Err() == nil {
		generation, assignments, err := m.join(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafkago.InconsistentGroupProtocol), errors.Is(err, kafkago.GroupIdNotFound):
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
			if errors.Is(err, kafkago.GroupAuthorizationFailed) {
				level = slog.LevelError
			}
			logger.Log(ctx, level, "joining the consumer group again", "error", err)
			if !errors.Is(err, kafkago.RebalanceInProgress) {
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
				pause(ctx, Pause)
			}
		})
	}
	return nil
}

// during runs f while the generation lasts, which ends when f returns.
func (m *member) during(ctx context.Context, g *Generation, f func(context.Context)) {
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
