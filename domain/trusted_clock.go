package domain

import "time"

// The bounds of a TrustedClock.
const (
	// MaxLeap is how far a clock may be from where it was last trusted.
	MaxLeap = 24 * time.Hour
	// LeapHold is for how long a clock that leapt further has to go on evenly until it is trusted again.
	LeapHold = 24 * time.Hour
	// maxLeapStep is the most that counts towards LeapHold between two looks at the clock. So neither further leaps nor the
	// time in which nobody looked count.
	maxLeapStep = 5 * time.Minute
)

// EarliestTime is before all times that this program can run at: a clock that tells an earlier one was not set.
var EarliestTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// TrustedClock is the time by which data is deleted for its age. What is deleted cannot be brought back, so it does not
// follow a clock that leaps: one that is more than MaxLeap from where it was, in either direction, is refused until it has
// gone on for LeapHold, and one before EarliestTime for good. The zero value has trusted no clock yet. Keep the value: after a
// restart without it, every leap would be trusted.
type TrustedClock struct {
	// At is what the clock told when it was last trusted.
	At time.Time
	// Refused is what the clock told when it was last refused, zero while it is trusted. It has gone on for Held since it
	// was first refused.
	Refused time.Time
	Held    time.Duration
}

// Next returns c after the clock told a time. The time is trusted unless Refused is set.
func (c TrustedClock) Next(told time.Time) TrustedClock {
	if told.Before(EarliestTime) {
		return TrustedClock{At: c.At, Refused: told}
	}
	if c.At.IsZero() || c.near(told) {
		return TrustedClock{At: told}
	}
	held := time.Duration(0)
	if step := told.Sub(c.Refused); !c.Refused.IsZero() && step >= 0 {
		held = c.Held + min(step, maxLeapStep)
	}
	if held >= LeapHold {
		return TrustedClock{At: told}
	}
	return TrustedClock{At: c.At, Refused: told, Held: held}
}

// Limit returns the time that a clock tells if it is trusted, and At if it is not. It changes nothing.
func (c TrustedClock) Limit(told time.Time) time.Time {
	if c.At.IsZero() || c.near(told) {
		return told
	}
	return c.At
}

func (c TrustedClock) near(told time.Time) bool { return told.Sub(c.At).Abs() <= MaxLeap }
