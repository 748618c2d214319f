package cli

import (
	"errors"
	"time"
)

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// parseSince reads a time, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("write 90m or 24h, or a time such as 2026-01-02T15:04:05Z")
	}
	return at, nil
}
