//go:build !linux

package bench

import "time"

// rest sleeps. It may wake up to a millisecond late, which the figure send_lag_ms shows.
func rest(d time.Duration) { time.Sleep(d) }
