package bench

import (
	"syscall"
	"time"
)

// rest sleeps, and wakes within some 50 µs of the time. time.Sleep wakes up to a millisecond late in a process that has little else to
// do, which is more than a message takes.
func rest(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal may end it sooner
}
