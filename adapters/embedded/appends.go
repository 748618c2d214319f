package embedded

import "sync"

// appends tells fetches that wait that their partitions grew.
type appends struct {
	mu      sync.Mutex
	waiting map[partition]map[chan struct{}]struct{}
}

// watch returns a channel that gets an element when one of the partitions may have grown since. stop ends it.
func (a *appends) watch(partitions []partition) (grown <-chan struct{}, stop func()) {
	wake := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = make(map[partition]map[chan struct{}]struct{})
	}
	for _, p := range partitions {
		if a.waiting[p] == nil {
			a.waiting[p] = make(map[chan struct{}]struct{})
		}
		a.waiting[p][wake] = struct{}{}
	}
	return wake, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, p := range partitions {
			delete(a.waiting[p], wake)
			if len(a.waiting[p]) == 0 {
				delete(a.waiting, p)
			}
		}
	}
}

// happened wakes who watches one of the partitions.
func (a *appends) happened(partitions []partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range partitions {
		for wake := range a.waiting[p] {
			select {
			case wake <- struct{}{}:
			default: // it is to wake up already
			}
		}
	}
}
