package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
)

// groupOptions say which consumer group to join.
type groupOptions struct {
	ID    string
	Topic string
	// Session is after how long the group gives a dead member's partitions to others.
	Session time.Duration
	// What names the work in the log.
	What   string
	Logger *slog.Logger
}

const (
	// groupPause is between a failure and the next attempt: each has all nodes join again.
	groupPause = 5 * time.Second
	// leaveTimeout bounds the leaving of the group. A group that was not left finds out by the session timeout.
	leaveTimeout = 2 * time.Second
)

// runGroup is a member of a consumer group until ctx ends. serve is called for each generation in which partitions fall to
// this member. Its ctx ends with the generation, and the generation ends when it returns: the group is joined again, after
// an error that is logged and groupPause. As long as serve has not returned, all members wait for this one.
func runGroup(
	ctx context.Context, cluster *Cluster, options groupOptions,
	serve func(ctx context.Context, generation *kafka.Generation, assignments []kafka.PartitionAssignment) error,
) error {
	logger := options.Logger.With("group", options.ID, "work", options.What)
	dialer := cluster.dialer()
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	dialer.DialFunc = dialUntil(connected, cluster.options.Dial)
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: options.ID, Brokers: cluster.options.Brokers, Dialer: dialer,
		Topics: []string{options.Topic}, StartOffset: kafka.FirstOffset,
		SessionTimeout: options.Session, RebalanceTimeout: options.Session, HeartbeatInterval: options.Session / 5,
		JoinGroupBackoff: time.Second, Timeout: 3 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", options.What, err)
	}
	defer func() {
		// Joining and leaving take no context: without connections they end.
		defer time.AfterFunc(leaveTimeout, disconnect).Stop()
		_ = group.Close() // it never fails
	}()
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed):
			return nil
		case err != nil:
			level := slog.LevelDebug // the brokers' being away is said elsewhere
			if errors.Is(err, kafka.GroupAuthorizationFailed) {
				level = slog.LevelError
			}
			logger.Log(ctx, level, "joining the consumer group again", "error", err)
			continue
		}
		assignments := generation.Assignments[options.Topic]
		if len(assignments) == 0 {
			continue
		}
		generation.Start(func(ctx context.Context) {
			if err := serve(ctx, generation, assignments); err != nil && ctx.Err() == nil {
				logger.Warn("the work of the consumer group starts over", "error", err)
				select {
				case <-time.After(groupPause):
				case <-ctx.Done():
				}
			}
		})
	}
}

// dialUntil returns a dialer like dial, whose connections are closed when ctx ends.
func dialUntil(
	ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error),
) func(context.Context, string, string) (net.Conn, error) {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		dialing, cancel := context.WithCancel(dialing)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		conn, err := dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		return connUntil{Conn: conn, forget: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
}

// connUntil is a connection that something else may close, too.
type connUntil struct {
	net.Conn

	forget func() bool
}

// Close implements net.Conn.
func (c connUntil) Close() error {
	c.forget()
	return c.Conn.Close()
}
