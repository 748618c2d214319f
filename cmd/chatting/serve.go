package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"go.uber.org/dig"
	"go.uber.org/fx"

	"chatting/configs"
)

// serve runs a server until ctx ends (nil) or it cannot go on (an error, one line).
func serve(ctx context.Context, cfg configs.Config, version string, stderr io.Writer) error {
	format := formatFor(cfg.Log, stderr)
	queue := newLogQueue(format, stderr)
	defer queue.close()
	logger := newLogger(format, queue)
	own := newIdentity(cfg)
	logger.Info("starting", append(own.attrs(own.incarnation), "version", version)...)
	server := newServer(own, cfg, logger)
	if err := server.Err(); err != nil {
		return dig.RootCause(err)
	}
	// The end of ctx does not interrupt the start, which is short. So what has been started is stopped in its order.
	start, cancel := context.WithTimeout(context.WithoutCancel(ctx), server.StartTimeout())
	defer cancel()
	if err := server.Start(start); err != nil {
		return dig.RootCause(err)
	}
	var failed error
	select {
	case <-ctx.Done():
	case signal := <-server.Wait(): // fx hears the signals of the system, too
		if signal.ExitCode != 0 {
			failed = errFailed
		}
	}
	logger.Info("leaving", "deadline", cfg.Shutdown.Deadline.String())
	stop, cancel := context.WithTimeout(context.Background(), server.StopTimeout())
	defer cancel()
	if err := server.Stop(stop); err != nil {
		logger.Warn("left before everything was done", "error", err)
	}
	logger.Info("left")
	return failed
}

// newServer returns a server that is not started yet.
func newServer(own identity, cfg configs.Config, logger *slog.Logger, more ...fx.Option) *fx.App {
	return fx.New(appOf(own, cfg, logger), fx.NopLogger, fx.StopTimeout(cfg.Shutdown.Deadline), fx.Options(more...))
}

// errFailed ends the process; the reason has been logged.
var errFailed = errors.New("the server could not go on: the log says why")
