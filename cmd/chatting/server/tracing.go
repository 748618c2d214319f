package server

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"chatting/adapters/tracing"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/configs"
)

// newTracing returns what records spans; nil if nothing is recorded.
func newTracing(own identity, cfg configs.Config, notices *notice.Log, logger *slog.Logger) (*tracing.Tracing, error) {
	if !cfg.Tracing.Endpoint.IsSet() {
		return nil, nil //nolint:nilnil // nil is a tracing that is switched off
	}
	options, err := tracingOptions(cfg)
	if err != nil {
		return nil, err
	}
	if at, err := url.Parse(options.Endpoint); err == nil && at.Scheme == "http" && len(options.Headers) > 0 &&
		!configs.IsLoopback(at.Hostname()) {
		logger.Warn("tracing.headers cross the network in clear text: tracing.endpoint begins with http://")
	}
	options.Version, options.Node, options.Notices = own.version, own.node, notices
	recorder, err := tracing.New(options)
	return recorder, configs.CausedBy("tracing.endpoint", err)
}

func tracingOptions(cfg configs.Config) (tracing.Options, error) {
	at, headers, err := cfg.Tracing.Collector()
	return tracing.Options{Endpoint: at, Headers: headers, SampleRatio: cfg.Tracing.SampleRatio}, configs.CausedBy("tracing.endpoint", err)
}

// newTraces returns what begins spans. It is off without a tracing.
func newTraces(recorder *tracing.Tracing) port.Traces {
	if recorder == nil {
		return port.Traces{}
	}
	return port.NewTraces(recorder)
}

// lastSpansTimeout bounds how long a server that leaves waits for the collector to take what is left.
const lastSpansTimeout = 2 * time.Second

// lastSpans is the step that sends the last spans. That they are lost is logged, and is no failure of the server.
func lastSpans(send func(context.Context) error, logger *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, lastSpansTimeout)
		defer cancel()
		if err := send(ctx); err != nil {
			logger.Warn("the last spans are not with the collector", "error", err)
		}
		return nil
	}
}
