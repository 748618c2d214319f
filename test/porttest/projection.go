package porttest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"chatting/application/history"
	"chatting/application/replay"
	"chatting/domain"
)

// Projection is what the history makes of a log in memory: history.ProjectedOffsets, replay.Cursors and replay.Backlogs.
type Projection struct {
	Log Conversations

	Mu         sync.Mutex
	Generation int64
	Behind     map[int]int64 // by partition: not further than that
	Cursors    map[domain.UserID][]domain.Place
	Saves      int
	Pages      []int // how long the lists were that were asked for
	Window     int   // where set, how many entries of a partition are looked at
	// What is said by earlier topics of the name, before the log's.
	Earlier []history.Entry
	// Forgets tells whether what stands at a place was erased; nil: nothing was. It is called with Mu held.
	Forgets func(at domain.Place) bool
	err     error // of every call
	Saving  error // of SaveCursors
	// flushes are the partitions of each wish; flushed, where it is set, is called after one.
	Flushes [][]int
	Flushed func()
}

func NewProjection(log Conversations) *Projection {
	return &Projection{
		Log: log, Generation: 1, Behind: map[int]int64{}, Cursors: map[domain.UserID][]domain.Place{},
	}
}

func (p *Projection) Fail(err error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.err = err
}

func (p *Projection) Projected(_ context.Context, partitions int) ([]domain.Place, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	places := make([]domain.Place, partitions)
	for partition := range places {
		offset := int64(len(p.Log.All(partition)))
		if behind, ok := p.Behind[partition]; ok {
			offset = behind
		}
		places[partition] = domain.Place{Generation: p.Generation, Partition: partition, Offset: offset}
	}
	return places, p.err
}

func (p *Projection) FlushHistory(partitions []int) {
	p.Mu.Lock()
	p.Flushes = append(p.Flushes, partitions)
	p.Mu.Unlock()
	if p.Flushed != nil {
		p.Flushed()
	}
}

// Followed is the log as this history follows it.
func (p *Projection) Followed() history.FollowedLog {
	return history.FollowedLog{Projected: p, Ends: p.Log, Partitions: len(p.Log.Records), Flush: p}
}

func (p *Projection) SaveCursors(_ context.Context, cursors map[domain.UserID][]domain.Place) error {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if p.err != nil || p.Saving != nil {
		return CmpErr(p.err, p.Saving)
	}
	p.Saves++
	for user, places := range cursors {
		saved := slices.Clone(p.Cursors[user])
		if saved == nil {
			saved = slices.Clone(p.Cursors[domain.System])
		}
		if saved == nil && user != domain.System {
			continue
		}
		if saved == nil {
			saved = make([]domain.Place, len(places))
		}
		for _, at := range places {
			if saved[at.Partition].Before(at) {
				saved[at.Partition] = at
			}
		}
		p.Cursors[user] = saved
	}
	return nil
}

func CmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Projection) Cursor(_ context.Context, user domain.UserID) ([]domain.Place, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return slices.Clone(p.Cursors[user]), p.err
}

func (p *Projection) ForgetCursors(context.Context) error {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	clear(p.Cursors)
	return p.err
}

func (p *Projection) Waiting(
	_ context.Context, user domain.UserID, from, to []domain.Place, limit int,
) (waiting []replay.WaitingSender, ends []domain.Place, err error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	if p.Window > 0 {
		limit = p.Window
	}
	ends = slices.Clone(to)
	var firsts []history.Entry
	for partition := range from {
		looked := 0
		seen := map[domain.UserID]bool{}
		for _, entry := range p.addressed(user, partition) {
			if at := entry.Place; at.Before(from[partition]) || !at.Before(to[partition]) {
				continue
			}
			if !seen[entry.Sender] {
				seen[entry.Sender] = true
				firsts = append(firsts, entry)
			}
			if looked++; looked == limit {
				ends[partition] = entry.Place
				ends[partition].Offset++
				break
			}
		}
	}
	slices.SortStableFunc(firsts, func(a, b history.Entry) int { return a.At.Compare(b.At) })
	for _, entry := range firsts {
		waiting = append(waiting, replay.WaitingSender{Sender: entry.Sender, Place: entry.Place})
	}
	return waiting, ends, p.err
}

func (p *Projection) Stretches(
	_ context.Context, user domain.UserID, stretches []replay.ConversationStretch, limit int,
) ([][]history.Entry, error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	lists := make([][]history.Entry, len(stretches))
	for i, stretch := range stretches {
		for _, entry := range p.addressed(user, stretch.From.Partition) {
			if at := entry.Place; entry.Sender == stretch.Sender && !at.Before(stretch.From) && at.Before(stretch.To) &&
				len(lists[i]) < limit {
				lists[i] = append(lists[i], entry)
			}
		}
		p.Pages = append(p.Pages, len(lists[i]))
	}
	return lists, p.err
}

func (p *Projection) Recent(
	_ context.Context, user domain.UserID, before []domain.Place, since time.Time, limit int,
) (ids []domain.EventID, err error) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	for partition, end := range before {
		entries := p.addressed(user, partition)
		slices.Reverse(entries)
		n := 0
		for _, entry := range entries {
			if entry.Place.Before(end) && n < limit {
				if n++; !entry.At.Before(since) {
					ids = append(ids, entry.ID)
				}
			}
		}
	}
	return ids, p.err
}

// addressed returns what others, or the platform, said to user in a partition, and user sees: each event at its first place, as
// far as it is projected.
func (p *Projection) addressed(user domain.UserID, partition int) []history.Entry {
	var entries []history.Entry
	for _, entry := range p.Earlier {
		if entry.Place.Partition == partition {
			entries = append(entries, entry)
		}
	}
	var blocks domain.BlockList
	seen := map[domain.EventID]bool{}
	events := p.Log.All(partition)
	if behind, ok := p.Behind[partition]; ok {
		events = events[:min(int64(len(events)), behind)]
	}
	for offset, event := range events {
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
		at := domain.Place{Partition: partition, Offset: int64(offset)}
		if blocks.Hides(sender) || p.Forgets != nil && p.Forgets(at) {
			continue
		}
		frame := FrameOf(at)
		at.Generation = p.Generation
		entries = append(entries, history.Entry{ID: event.ID, Sender: sender, At: event.Time, Place: at, Frame: frame})
	}
	return entries
}

// PositionOf returns the place that a frame stands for.
func PositionOf(frame string) (p domain.Place) {
	_, _ = fmt.Sscanf(frame, "%d/%d", &p.Partition, &p.Offset)
	return p
}
