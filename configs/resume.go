package configs

import "time"

// Resume bounds what a login gets of what was said before it.
type Resume struct {
	MaxEvents  int
	MaxBytes   int
	MaxAge     time.Duration
	LogRecords int
	LogBytes   int
}

func (r *Resume) options() []Option {
	return []Option{
		{Key: "resume.max_events", value: integer(&r.MaxEvents, 1, 10_000)},
		{Key: "resume.max_bytes", value: size(&r.MaxBytes, 1<<10, 64*mib)},
		{Key: "resume.max_age", value: duration(&r.MaxAge, time.Second, 30*24*time.Hour)},
		{Key: "resume.log_records", value: integer(&r.LogRecords, 1000, 10_000_000)},
		{Key: "resume.log_bytes", value: size(&r.LogBytes, 512<<10, 64*mib)},
	}
}
