package port

import (
	"time"

	"chatting/domain"
)

// Clock tells the time.
type Clock func() time.Time

// Stamp returns the time as events carry it.
func (c Clock) Stamp() time.Time { return c().UTC().Truncate(time.Millisecond) }

// IDs makes random UUIDs (version 4 or 7).
type IDs func() domain.EventID
