package server

import (
	"context"
	"log/slog"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/cmd/chatting/installation"
)

// brokerWait logs why the brokers do not answer at the start. It ends once they have answered; from then on /readyz tells.
type brokerWait struct {
	cluster *logclient.Cluster
	logger  *slog.Logger
}

const (
	brokerWaitEvery  = 2 * time.Second
	brokerWaitRepeat = time.Minute // the same reason is logged again
)

func (w brokerWait) run(ctx context.Context) error {
	var hinted string
	var saidAt time.Time
	for {
		attempt, cancel := context.WithTimeout(ctx, brokerWaitEvery)
		err := w.cluster.Ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The text of the error may differ each time, by a port.
		if hint := installation.BrokerHint(err); saidAt.IsZero() || hint != hinted || time.Since(saidAt) > brokerWaitRepeat {
			hinted, saidAt = hint, time.Now()
			attributes := []any{"brokers", w.cluster.String(), "error", err}
			if hint != "" {
				attributes = append(attributes, "hint", hint)
			}
			w.logger.Warn("waiting for Kafka", attributes...)
		}
		select {
		case <-time.After(brokerWaitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
