// Package logging writes the log lines of the process: their format, their level, and the queue that keeps a slow reader from
// holding up whoever logs. What is logged, and how often, is the business of those who log.
package logging

import (
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"

	"chatting/configs"
)

// New returns a logger that writes lines to w as the configuration says.
func New(c configs.Log, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == configs.LogText || c.Format == configs.LogAuto && IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// IsTerminal tells whether somebody sits at the other end of a stream.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
