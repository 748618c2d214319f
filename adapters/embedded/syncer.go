package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"chatting/adapters/embedded/logdir"
)

// syncer makes what kfake wrote survive a power cut before anybody learns of it. kfake writes to its files and does not
// sync them, because it would sync after each batch and serve nobody meanwhile. Here one goroutine syncs, in rounds: a
// round covers everything that was written before it began, whoever waits for it, and the next one covers what was written
// meanwhile. Nobody waits for a timer.
//
// The offset up to which a partition is synced is the end of that partition for all who read: see package guard.
type syncer struct {
	dir     string
	rollsAt func(topic string) int64 // a size below which kfake begins no new file of a topic
	// failed is called at the first sync that fails. There is no second try, because the kernel may have dropped the bytes.
	failed func(error)
	grown  func([]logdir.Partition) // called with the partitions that have more to read
	sync   func(*os.File) error     // of a file; another one in tests
	wake   chan struct{}

	mu      sync.Mutex
	ends    map[logdir.Partition]int64
	next    *round // collects what is to be synced
	running *round // nil between rounds
	marks   map[string]logdir.Mark
	commits int64 // counts what was told of the groups' log, as if each were a record in it

	// What follows is the round's only.
	segments map[logdir.Partition]*logdir.Segment
	groups   *logdir.Groups
}

// groupsLog stands for the log of the groups among the partitions.
var groupsLog = logdir.Partition{}

// round is what one sync covers.
type round struct {
	ends map[logdir.Partition]int64
	done chan struct{} // closed when all of it is synced
}

// newSyncer takes a log whose files are synced as marks tell. Nothing is shown of it before begin.
func newSyncer(
	dir string, rollsAt func(string) int64, marks map[string]logdir.Mark, failed func(error), grown func([]logdir.Partition),
) *syncer {
	return &syncer{
		dir: dir, rollsAt: rollsAt, failed: failed, grown: grown, sync: (*os.File).Sync, wake: make(chan struct{}, 1),
		ends: make(map[logdir.Partition]int64), next: newRound(), marks: marks,
		segments: make(map[logdir.Partition]*logdir.Segment), groups: logdir.NewGroups(dir),
	}
}

func newRound() *round {
	return &round{ends: make(map[logdir.Partition]int64), done: make(chan struct{})}
}

// begin notes where a partition ended when the broker started.
func (s *syncer) begin(end logdir.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[end.Partition] = end.Offset
}

// Synced implements guard.Log.
func (s *syncer) Synced(p logdir.Partition) (end int64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, known = s.ends[p]
	return end, known
}

// marked returns how much of each partition's log is synced, by the name of its folder.
func (s *syncer) marked() map[string]logdir.Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.marks)
}

// Await implements guard.Log.
func (s *syncer) Await(ends []logdir.End, gone <-chan struct{}) error {
	if done := s.join(ends); done != nil {
		select {
		case <-done:
		case <-gone:
			return net.ErrClosed
		}
	}
	return nil
}

// AwaitGroups implements guard.Log.
func (s *syncer) AwaitGroups(gone <-chan struct{}) error {
	s.mu.Lock()
	s.commits++
	end := logdir.End{Partition: groupsLog, Offset: s.commits}
	s.mu.Unlock()
	return s.Await([]logdir.End{end}, gone)
}

// join returns a channel that is closed once the log is synced up to the ends; nil if it is.
func (s *syncer) join(ends []logdir.End) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var done chan struct{}
	for _, end := range ends {
		switch {
		case s.ends[end.Partition] >= end.Offset:
		case s.running != nil && s.running.ends[end.Partition] >= end.Offset:
			if done == nil { // the next round ends later
				done = s.running.done
			}
		default:
			s.next.ends[end.Partition] = max(s.next.ends[end.Partition], end.Offset)
			done = s.next.done
		}
	}
	if done == s.next.done {
		select {
		case s.wake <- struct{}{}:
		default: // it is to wake up already
		}
	}
	return done
}

// run syncs until ctx ends, or until a sync fails.
func (s *syncer) run(ctx context.Context) {
	defer s.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if err := s.round(); err != nil {
			s.failed(fmt.Errorf("the embedded Kafka broker cannot sync: %w", err))
			<-ctx.Done()
			return
		}
	}
}

// close lets go of the files. Everything in them that somebody was told of is synced.
func (s *syncer) close() {
	for _, segment := range s.segments {
		segment.Close()
	}
	s.groups.Close()
}

// syncsAtOnce is how many files are synced at a time. The file system writes its journal once for those that come together.
const syncsAtOnce = 8

// round syncs what was asked for until now. Those who ask meanwhile wait for the next round.
func (s *syncer) round() error {
	s.mu.Lock()
	r := s.next
	if len(r.ends) == 0 { // the last round had it all
		s.mu.Unlock()
		return nil
	}
	s.next, s.running = newRound(), r
	var segments []*logdir.Segment
	var grown []logdir.Partition
	var work []func() error
	for p := range r.ends {
		if p == groupsLog {
			work = append(work, s.syncGroups)
			continue
		}
		segment := s.segment(p)
		segments, grown = append(segments, segment), append(grown, p)
		work = append(work, func() error { return segment.Sync(s.sync) })
	}
	s.mu.Unlock()

	var others errgroup.Group
	others.SetLimit(syncsAtOnce)
	for _, sync := range work[1:] {
		others.Go(sync)
	}
	if err := errors.Join(work[0](), others.Wait()); err != nil { // often there is only one
		return err
	}

	s.mu.Lock()
	for p, end := range r.ends {
		s.ends[p] = max(s.ends[p], end)
	}
	for _, segment := range segments {
		folder, mark := segment.Synced()
		s.marks[folder] = mark
	}
	s.running = nil
	s.mu.Unlock()
	close(r.done)
	s.grown(grown)
	return nil
}

// segment returns the file that a partition's next sync begins with: the last one that was synced.
func (s *syncer) segment(p logdir.Partition) *logdir.Segment {
	segment := s.segments[p]
	if segment == nil {
		var synced *logdir.Mark
		if before, known := s.marks[p.Folder()]; known {
			synced = &before
		}
		segment = logdir.NewSegment(s.dir, p, s.rollsAt(p.Topic), synced)
		s.segments[p] = segment
	}
	return segment
}

// syncGroups syncs the log of the groups.
func (s *syncer) syncGroups() error { return s.groups.Sync(s.sync) }
