package logclient

import (
	"context"
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
	lastOK time.Time
	// atEnd tells that the last answer left nothing unread.
	atEnd bool
}

func newPositions() *positions {
	return &positions{of: make(map[int]*position), moved: make(chan struct{})}
}

func (p *positions) add(partition int, from int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[partition] = &position{next: from}
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

// move notes the next offset to read and wakes those who wait for it.
func (p *positions) move(partition int, next int64, atEnd bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.of[partition] = position{next: next, lastOK: time.Now(), atEnd: atEnd}
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
