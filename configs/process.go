package configs

import (
	"log/slog"
	"time"
)

// Shutdown has the times of leaving.
type Shutdown struct {
	Deadline  time.Duration
	CloseOver time.Duration // less than Deadline
}

func (s *Shutdown) options() []Option {
	return []Option{
		{Key: "shutdown.deadline", value: duration(&s.Deadline, time.Second, time.Minute)},
		{Key: "shutdown.close_over", value: duration(&s.CloseOver, 0, time.Minute)},
	}
}

// Log says which lines are logged and how.
type Log struct {
	Level  slog.Level
	Format LogFormat
}

// LogFormat is a way to write log lines.
type LogFormat string

// The formats of log lines.
const (
	LogAuto LogFormat = "auto" // text on a terminal, JSON otherwise
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

func (l *Log) options() []Option {
	return []Option{
		{Key: "log.level", Flag: true, value: level(&l.Level)},
		{Key: "log.format", Flag: true, value: oneOf(&l.Format, LogAuto, LogText, LogJSON)},
	}
}
