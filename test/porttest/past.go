package porttest

import (
	"context"
	"slices"
	"sync"

	"chatting/application/past"
	"chatting/domain"
)

// PastLog is a past.Log over a log in memory.
type PastLog struct {
	Log Conversations

	Mu sync.Mutex
	// Records bounds what one reader gets of each partition; 0 for no bound.
	Records int
	// AtOnce bounds how many of its records a reader gets that wants the beginning first; 0 for no bound.
	AtOnce int
	Err    error
	Gate   chan struct{}  // where set, reading waits until it is closed
	Stuck  bool           // the log does not answer
	Wanted []past.Stretch // by everybody so far
	Open   int            // readers that have not closed
	Cuts   []func()       // those of all readers
}

// Reaches implements past.Log.
func (p *PastLog) Reaches(wanted past.Stretch) bool {
	for partition := range wanted.To {
		if p.Records > 0 && wanted.To[partition]-wanted.From[partition] > int64(p.Records) {
			return false
		}
	}
	return true
}

// Read implements past.Log.
func (p *PastLog) Read(ctx context.Context, wanted past.Stretch, cut func()) (past.Records, error) {
	reads := false
	for partition, from := range wanted.From {
		reads = reads || from < wanted.To[partition]
	}
	if p.Gate != nil {
		<-p.Gate
	}
	if p.Stuck && reads {
		<-ctx.Done()
		return past.Records{}, domain.WrapError(domain.CodeUnavailable, "The log could not be read.", ctx.Err())
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Wanted = append(p.Wanted, wanted)
	if p.Err != nil && reads {
		return past.Records{}, p.Err
	}
	records := past.Records{From: slices.Clone(wanted.From), To: slices.Clone(wanted.To)}
	for partition, to := range wanted.To {
		if from := records.From[partition]; p.Records > 0 && to-from > int64(p.Records) {
			records.From[partition] = to - int64(p.Records)
		}
		for offset, event := range p.Log.All(partition) {
			at := domain.Place{Partition: partition, Offset: int64(offset)}
			if at.Offset >= records.From[partition] && at.Offset < to && event.Body.Conversation().Has(wanted.User) {
				if wanted.BeginningFirst && p.AtOnce > 0 && len(records.Records) >= p.AtOnce && records.To[partition] == to {
					records.To[partition] = at.Offset
				}
				if _, isChange := event.Body.(domain.BlockChanged); at.Offset >= records.To[partition] && !isChange {
					continue
				}
				records.Records = append(records.Records, Record{At: at, Event: event})
			}
		}
	}
	p.Open++
	p.Cuts = append(p.Cuts, cut)
	records.Close = sync.OnceFunc(func() {
		p.Mu.Lock()
		defer p.Mu.Unlock()
		p.Open--
	})
	return records, nil
}
