package application_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
)

// projection is what the history makes of a log in memory: ProjectedOffsets, DeliveryCursors and Undelivered.
type projection struct {
	log conversations

	mu         sync.Mutex
	generation int64
	behind     map[int]int64 // by partition: not further than that
	cursors    map[domain.UserID][]application.LogPosition
	saves      int
	pages      []int // how long the lists were that were asked for
	window     int   // where set, how many entries of a partition are looked at
	// What is said by earlier topics of the name, before the log's.
	earlier []application.HistoryEntry
	err     error // of every call
	saving  error // of SaveCursors
	// flushes are the partitions of each wish; flushed, where it is set, is called after one.
	flushes [][]int
	flushed func()
}

func newProjection(log conversations) *projection {
	return &projection{
		log: log, generation: 1, behind: map[int]int64{}, cursors: map[domain.UserID][]application.LogPosition{},
	}
}

func (p *projection) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *projection) Projected(_ context.Context, partitions int) ([]application.LogPosition, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	places := make([]application.LogPosition, partitions)
	for partition := range places {
		offset := int64(len(p.log.all(partition)))
		if behind, ok := p.behind[partition]; ok {
			offset = behind
		}
		places[partition] = application.LogPosition{Generation: p.generation, Partition: partition, Offset: offset}
	}
	return places, p.err
}

func (p *projection) FlushHistory(partitions []int) {
	p.mu.Lock()
	p.flushes = append(p.flushes, partitions)
	p.mu.Unlock()
	if p.flushed != nil {
		p.flushed()
	}
}

// followed is the log as this history follows it.
func (p *projection) followed() application.FollowedLog {
	return application.FollowedLog{Projected: p, Ends: p.log, Partitions: len(p.log.partitions), Flush: p}
}

func (p *projection) SaveCursors(_ context.Context, cursors map[domain.UserID][]application.LogPosition) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.saving != nil {
		return cmpErr(p.err, p.saving)
	}
	p.saves++
	for user, places := range cursors {
		saved := slices.Clone(p.cursors[user])
		if saved == nil {
			saved = slices.Clone(p.cursors[domain.System])
		}
		if saved == nil && user != domain.System {
			continue
		}
		if saved == nil {
			saved = make([]application.LogPosition, len(places))
		}
		for _, at := range places {
			if saved[at.Partition].Before(at) {
				saved[at.Partition] = at
			}
		}
		p.cursors[user] = saved
	}
	return nil
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) Cursor(_ context.Context, user domain.UserID) ([]application.LogPosition, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.cursors[user]), p.err
}

func (p *projection) ForgetCursors(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.cursors)
	return p.err
}

func (p *projection) Waiting(
	_ context.Context, user domain.UserID, from, to []application.LogPosition, limit int,
) (waiting []application.WaitingSender, ends []application.LogPosition, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.window > 0 {
		limit = p.window
	}
	ends = slices.Clone(to)
	var firsts []application.HistoryEntry
	for partition := range from {
		looked := 0
		seen := map[domain.UserID]bool{}
		for _, entry := range p.addressed(user, partition) {
			if at := entry.Position; at.Before(from[partition]) || !at.Before(to[partition]) {
				continue
			}
			if !seen[entry.Sender] {
				seen[entry.Sender] = true
				firsts = append(firsts, entry)
			}
			if looked++; looked == limit {
				ends[partition] = entry.Position
				ends[partition].Offset++
				break
			}
		}
	}
	slices.SortStableFunc(firsts, func(a, b application.HistoryEntry) int { return a.At.Compare(b.At) })
	for _, entry := range firsts {
		waiting = append(waiting, application.WaitingSender{Sender: entry.Sender, Place: entry.Position})
	}
	return waiting, ends, p.err
}

func (p *projection) Stretches(
	_ context.Context, user domain.UserID, stretches []application.Stretch, limit int,
) ([][]application.HistoryEntry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lists := make([][]application.HistoryEntry, len(stretches))
	for i, stretch := range stretches {
		for _, entry := range p.addressed(user, stretch.From.Partition) {
			if at := entry.Position; entry.Sender == stretch.Sender && !at.Before(stretch.From) && at.Before(stretch.To) &&
				len(lists[i]) < limit {
				lists[i] = append(lists[i], entry)
			}
		}
		p.pages = append(p.pages, len(lists[i]))
	}
	return lists, p.err
}

func (p *projection) Recent(
	_ context.Context, user domain.UserID, before []application.LogPosition, since time.Time, limit int,
) (ids []domain.EventID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for partition, end := range before {
		entries := p.addressed(user, partition)
		slices.Reverse(entries)
		n := 0
		for _, entry := range entries {
			if entry.Position.Before(end) && n < limit {
				if n++; !entry.At.Before(since) {
					ids = append(ids, entry.ID)
				}
			}
		}
	}
	return ids, p.err
}

// addressed returns what others, or the platform, said to user in a partition, and user sees: each event at its first place.
func (p *projection) addressed(user domain.UserID, partition int) []application.HistoryEntry {
	var entries []application.HistoryEntry
	for _, entry := range p.earlier {
		if entry.Position.Partition == partition {
			entries = append(entries, entry)
		}
	}
	var blocks domain.BlockList
	seen := map[domain.EventID]bool{}
	for offset, event := range p.log.all(partition) {
		var to domain.UserID
		switch body := event.Body.(type) {
		case domain.BlockChanged:
			if body.Blocker == user {
				blocks.Apply(body.Target, body.Blocked, body.Version)
			}
		case domain.ChatMessage:
			to = body.To
		case domain.SystemMessage:
			to = body.To
		}
		sender := event.Body.Actor()
		if to != user || sender == user || seen[event.ID] {
			continue
		}
		seen[event.ID] = true
		if !blocks.Hides(sender) {
			entries = append(entries, application.HistoryEntry{
				ID: event.ID, Sender: sender, At: event.Time,
				Position: application.LogPosition{Generation: p.generation, Partition: partition, Offset: int64(offset)},
				Frame:    frameOf(application.Position{Partition: partition, Offset: int64(offset)}),
			})
		}
	}
	return entries
}

// storing is a server that stores messages to users who are offline.
type storing struct {
	*server
	history *projection
	stored  *application.StoredMessages
	system  *application.SendSystemMessage
	// stop ends the saving of cursors, and waits.
	stop func()
}

// newStoring starts one. Users up to 299 are known.
func newStoring(t *testing.T) *storing {
	s := &storing{server: newServer(t)}
	s.history = newProjection(s.log)
	for user := range domain.UserID(300) {
		_ = s.known.Remember(t.Context(), user)
	}
	s.send.Stored = s.known
	s.system = &application.SendSystemMessage{Log: s.log, Online: s.presence, Now: time.Now, NewID: counter(), Stored: s.known}
	s.restart(t)
	t.Cleanup(func() { s.stop() })
	return s
}

// restart is a new process, as far as stored messages go: what was not saved is gone.
func (s *storing) restart(t *testing.T) {
	t.Helper()
	s.stored = application.NewStoredMessages(s.history, s.history, s.history.followed(), quiet)
	s.login.Stored = s.stored
	if err := s.stored.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	stored := s.stored
	go func() {
		defer close(done)
		stored.Run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-done
	}
}

// chat sends a message, which must be stored, and returns the frame that clients get of it.
func (s *storing) chat(t *testing.T, from, to domain.UserID) string {
	t.Helper()
	partition := s.log.partitionOf(domain.Between(from, to))
	at := application.Position{Partition: partition, Offset: int64(len(s.log.all(partition)))}
	if err := answer(t, func(done func(error)) {
		s.send.Execute(application.ChatCommand{Sender: from, Target: to}, done)
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // the next one is later
	return string(frameOf(at))
}

// of returns those of the frames that sender sent.
func (s *storing) of(sender domain.UserID, frames []string) (of []string) {
	for _, frame := range frames {
		if at := positionOf(frame); s.log.all(at.Partition)[at.Offset].Body.Actor() == sender {
			of = append(of, frame)
		}
	}
	return of
}

// replayedTo returns the frames that were replayed, in order.
func replayedTo(c *conn) []string {
	var frames []string
	for _, r := range of[replayed](c) {
		if r.frame != "" {
			frames = append(frames, r.frame)
		}
	}
	return frames
}

func sameFrames(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
