package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/kafka"
	"chatting/configs"
)

// newCluster prepares the connection to the brokers. What the configuration names and cannot be used is an error; brokers
// that are away or refuse this server are waited for, and the log says why.
func newCluster(lc fx.Lifecycle, cfg configs.Config, own broker, logger *slog.Logger) (*kafka.Cluster, error) {
	if own.Broker != nil {
		cluster := kafka.NewCluster(kafka.ClusterOptions{Brokers: []string{own.Addr()}, Dial: own.Dial, Embedded: true})
		lc.Append(fx.StopHook(cluster.Close))
		return cluster, nil
	}
	options, err := clusterOptions(cfg.Kafka, kafka.NamesFor(cfg.TopicPrefix).All()...)
	if err != nil {
		return nil, err
	}
	if cfg.Kafka.SASL.Mechanism == configs.SASLPlain && !cfg.Kafka.TLS.On {
		logger.Warn("the password for Kafka crosses the network in clear text: " +
			"kafka.sasl_mechanism is PLAIN and kafka.tls is off")
	}
	cluster := kafka.NewCluster(options)
	lc.Append(fx.StopHook(cluster.Close))
	waiting := brokerWait{cluster: cluster, logger: logger}
	lc.Append(fx.Hook{OnStart: waiting.start, OnStop: waiting.stop})
	return cluster, nil
}

// brokerWait tells in the log why the brokers do not answer at the start: what waits for them only waits. Once they have
// answered, it ends; from then on readiness tells.
type brokerWait struct {
	cluster *kafka.Cluster
	logger  *slog.Logger

	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	brokerWaitEvery  = 2 * time.Second
	brokerWaitRepeat = time.Minute // the same reason is logged again
)

func (w *brokerWait) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() { w.run(ctx) })
	return nil
}

func (w *brokerWait) stop(context.Context) error {
	w.cancel()
	w.done.Wait()
	return nil
}

func (w *brokerWait) run(ctx context.Context) {
	var hinted string
	var saidAt time.Time
	for {
		attempt, cancel := context.WithTimeout(ctx, brokerWaitEvery)
		err := w.cluster.Ping(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		// Not by the error's text, which may name a port that is another each time.
		if hint := brokerHint(err); saidAt.IsZero() || hint != hinted || time.Since(saidAt) > brokerWaitRepeat {
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
			return
		}
	}
}
