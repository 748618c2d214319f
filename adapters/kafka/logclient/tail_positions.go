package logclient

import (
	"context"
	"math"
	"sync"
	"time"
)

// positions is how far a tail has read: its goroutine moves them, and others wait for them.
type positions struct {
	mu    sync.Mutex
	of    map[int]*position
	moved chan struct{} // closed and replaced when one moved
}

// position is how far one partition was read.
type position struct {
	next   int64 // the next offset to read
	end    int64 // where the partition ended by the last answer; 0 before the first
	lastOK time.Time
	// atEnd tells that the last answer left nothing unread, and readToEnd when there last was such an answer. Before the first it
	// is when the partition was added.
	atEnd     bool
	readToEnd time.Time
}

func newPositions() *positions {
	return &positions{of: make(map[int]*position), moved: make(chan struct{})}
}

func (p *positions) add(partition int, from int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[partition] = &position{next: from, readToEnd: time.Now()}
}

func (p *positions) remove(partition int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, partition)
}

// get returns the position of a partition that was added.
func (p *positions) get(partition int) position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.of[partition]
}

// move notes the next offset to read, that there is more to read, and wakes those who wait for it.
func (p *positions) move(partition int, next int64) { p.read(partition, next, math.MaxInt64) }

// read is move after an answer by which the partition ends at end.
func (p *positions) read(partition int, next, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.of[partition]
	at.next, at.lastOK, at.atEnd = next, time.Now(), next >= end
	if end != math.MaxInt64 {
		at.end = end
	}
	if at.atEnd {
		at.readToEnd = at.lastOK
	}
	close(p.moved)
	p.moved = make(chan struct{})
}

// waitFor waits until all of the partitions that are read have reached the offsets.
func (p *positions) waitFor(ctx context.Context, offsets map[int]int64) error {
	for {
		behind, moved := p.behind(offsets)
		if !behind {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *positions) behind(offsets map[int]int64) (behind bool, moved <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for partition, offset := range offsets {
		if at := p.of[partition]; at != nil && at.next < offset {
			behind = true
		}
	}
	return behind, p.moved
}

func (p *positions) caughtUp(age time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, at := range p.of {
		if !at.atEnd || now.Sub(at.lastOK) > age {
			return false
		}
	}
	return true
}

// TailLag is how far a tail is behind its topic.
type TailLag struct {
	// Records is how many records the leaders have told of that were not read, gaps in the offsets included.
	Records int64
	// ReadToEnd is when the partition that is farthest behind was last read to its end. One that never was counts from when
	// reading it began.
	ReadToEnd time.Time
}

// Lag returns how far the tail is behind the topic, as far as it knows. While a leader does not answer, Records stays as it was, and
// ReadToEnd grows old.
func (t *Tail) Lag() TailLag { return t.positions.lag() }

func (p *positions) lag() TailLag {
	p.mu.Lock()
	defer p.mu.Unlock()
	lag := TailLag{ReadToEnd: time.Now()}
	for _, at := range p.of {
		lag.Records += max(0, at.end-at.next)
		if at.readToEnd.Before(lag.ReadToEnd) {
			lag.ReadToEnd = at.readToEnd
		}
	}
	return lag
}
