package domain

import (
	"testing"
	"time"
)

var clockStart = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// run lets the clock go on from told, looked at once a minute, and returns the last state.
func (c TrustedClock) run(told time.Time, for_ time.Duration) TrustedClock {
	for end := told.Add(for_); !told.After(end); told = told.Add(time.Minute) {
		c = c.Next(told)
	}
	return c
}

func TestAClockThatGoesOnIsTrusted(t *testing.T) {
	c := TrustedClock{}.run(clockStart, 3*day)
	if want := (TrustedClock{At: clockStart.Add(3 * day)}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	for _, told := range []time.Duration{-time.Second, -day, day, 0} {
		if got := c.Next(c.At.Add(told)); got != (TrustedClock{At: c.At.Add(told)}) {
			t.Errorf("after %s: %+v", told, got)
		}
	}
}

func TestALeapIsRefusedUntilTheClockHasGoneOnForADay(t *testing.T) {
	for _, leap := range []time.Duration{day + 1, 100 * day, -3 * day, -20 * 365 * day} {
		c := TrustedClock{At: clockStart}
		told := clockStart.Add(leap)
		if c = c.run(told, LeapHold-2*time.Minute); c.Refused.IsZero() || !c.At.Equal(clockStart) {
			t.Errorf("after a leap of %s: %+v", leap, c)
		}
		if limit := c.Limit(told); !limit.Equal(clockStart) {
			t.Errorf("after a leap of %s the limit is %s", leap, limit)
		}
		if back := c.Next(clockStart.Add(time.Hour)); back != (TrustedClock{At: clockStart.Add(time.Hour)}) {
			t.Errorf("after a leap of %s and back: %+v", leap, back)
		}
		c = c.run(c.Refused.Add(time.Minute), 3*time.Minute)
		if !c.Refused.IsZero() || !c.At.After(told.Add(LeapHold-time.Minute)) {
			t.Errorf("a day after a leap of %s: %+v", leap, c)
		}
	}
}

// Neither what leaps further, nor what was switched off, nor what goes back and forth goes on.
func TestOnlyTimeThatPassesCountsForAClockThatLeapt(t *testing.T) {
	for name, steps := range map[string][]time.Duration{
		"further leaps":  {day, day, day, day},
		"back and forth": {6 * time.Hour, -6 * time.Hour, 6 * time.Hour, -6 * time.Hour, 6 * time.Hour, -6 * time.Hour, 6 * time.Hour},
		"switched off":   {23 * time.Hour, 10 * day},
	} {
		c, told := TrustedClock{At: clockStart}, clockStart.Add(100*day)
		for _, step := range steps {
			c = c.Next(told)
			told = told.Add(step)
		}
		if c = c.Next(told); c.Refused.IsZero() || c.Held > 30*time.Minute || !c.At.Equal(clockStart) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	c := TrustedClock{At: clockStart, Refused: clockStart.Add(100 * day), Held: LeapHold - time.Minute}
	if c = c.Next(c.Refused.Add(-time.Second)); c.Held != 0 {
		t.Errorf("after the clock went back: %+v", c)
	}
}

func TestAClockThatWasNotSetIsNeverTrusted(t *testing.T) {
	for _, before := range []TrustedClock{{}, {At: clockStart}} {
		c := before.run(time.Unix(60, 0), 3*day)
		if c.Refused.IsZero() || !c.At.Equal(before.At) {
			t.Errorf("after three days in 1970: %+v", c)
		}
		if c = c.Next(clockStart); c != (TrustedClock{At: clockStart}) {
			t.Errorf("once it is set: %+v", c)
		}
	}
}

func TestATimeIsTakenFromAClockThatIsTrusted(t *testing.T) {
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	trusted := TrustedClock{At: at}
	for told, want := range map[time.Duration]time.Duration{
		0: 0, time.Hour: time.Hour, MaxLeap: MaxLeap, -MaxLeap: -MaxLeap,
		MaxLeap + 1: 0, -MaxLeap - 1: 0,
	} {
		if got := trusted.Limit(at.Add(told)); !got.Equal(at.Add(want)) {
			t.Errorf("%s after it, it is %s after it, want %s", told, got.Sub(at), want)
		}
	}
	if got := (TrustedClock{}).Limit(at); !got.Equal(at) {
		t.Errorf("a clock that was never trusted gives %s", got)
	}
}
