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
	c = formatFor(c, w)
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == configs.LogText {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// formatFor decides what auto is for w.
func formatFor(c configs.Log, w io.Writer) configs.Log {
	if c.Format == configs.LogAuto {
		c.Format = configs.LogJSON
		if isTerminal(w) {
			c.Format = configs.LogText
		}
	}
	return c
}

// isTerminal tells whether somebody sits at the other end of a stream.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
