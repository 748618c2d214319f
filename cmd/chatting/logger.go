package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"

	"chatting/configs"
)

// newLogger returns a logger that writes lines to w as the configuration says.
func newLogger(c configs.Log, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == configs.LogText || c.Format == configs.LogAuto && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// isTerminal tells whether somebody sits at the other end of a stream.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
