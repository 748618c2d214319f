// Package server runs a server: the graph of its parts (fx appears only here), and their life, from the first part that starts to
// the last that stops. life.go has the order of both. What the parts do is in the adapters and use cases; how the brokers
// and the database of a configuration are opened, and that they belong together, is in package installation.
package server

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"go.uber.org/dig"
	"go.uber.org/fx"

	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/configs"
)

// Run runs a server until ctx ends (nil) or it cannot go on (an error, one line). version is what the log calls this program.
func Run(ctx context.Context, cfg configs.Config, version string, stderr io.Writer) error {
	logger, queue := logging.NewQueued(cfg.Log, stderr)
	defer queue.Close()
	cfg = installation.WithPartitions(cfg)
	own := newIdentity(cfg)
	own.version = version
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
	return fx.New(graph(own, cfg, logger), fx.NopLogger, fx.StopTimeout(cfg.Shutdown.Deadline), fx.Options(more...))
}

// errFailed ends the process; the reason has been logged.
var errFailed = errors.New("the server could not go on: the log says why")
