package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// gcFloor is the size that the heap may reach before garbage is collected, if maxGCPercent allows it. By Go's default a
// heap of 5 MiB is collected each time it has doubled: under load that is thirty times a second, and a fifth of the CPU time.
const gcFloor = 64 << 20

// By Go's default the heap may grow by as much as is in use. For a small heap that is raised, up to maxGCPercent: a percentage
// stays until the next collection, and by then much more may be in use. For a large one it is lowered to minGCPercent: most of
// what a node with many connections has in use is idle, and what it may grow by is memory that each of them costs.
const (
	defaultGCPercent = 100
	minGCPercent     = 50
	maxGCPercent     = 400
)

// keepGCFloor makes gcFloor hold from now on. It does nothing if GOGC is set, and GOMEMLIMIT still bounds the heap.
func keepGCFloor() {
	if os.Getenv("GOGC") != "" {
		return
	}
	percent := defaultGCPercent
	var afterCollection func(*gcMark)
	afterCollection = func(mark *gcMark) {
		// How much is in use changes with each collection, so the percentage has to.
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if wanted := gcPercent(live[0].Value.Uint64()); wanted < percent || wanted > percent+percent/8 {
			percent = wanted
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(mark, afterCollection)
	}
	runtime.SetFinalizer(&gcMark{}, afterCollection)
}

// gcMark is garbage whose finalizer tells of a collection. It has a field because objects without a pointer may share their
// memory with others.
type gcMark struct{ self *gcMark } //nolint:unused // see above

// gcPercent is by how many percent a heap of which so much is in use may grow.
func gcPercent(live uint64) int {
	if live == 0 {
		return defaultGCPercent
	}
	if live >= gcFloor {
		return minGCPercent
	}
	return min(max(int((gcFloor-live)*100/live), minGCPercent), maxGCPercent)
}
