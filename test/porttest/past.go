package porttest

import (
	"context"
	"slices"
	"sync"

	"chatting/application/delivery"
	"chatting/domain"
)

// PastLog is a delivery.PastLog over a log in memory.
type PastLog struct {
	Log Conversations

	Mu sync.Mutex
	// Records bounds what one reader gets of each partition; 0 for no bound.
	Records int
	// AtOnce bounds how many of its records a reader gets that wants the beginning first; 0 for no bound.
	AtOnce int
	Err    error
	Gate   chan struct{}          // where set, reading waits until it is closed
	Stuck  bool                   // the log does not answer
	Wanted []delivery.PastStretch // by everybody so far
	Open   int                    // readers that have not closed
	Cuts   []func()               // those of all readers
}

// Reaches implements delivery.PastLog.
func (p *PastLog) Reaches(wanted delivery.PastStretch) bool {
	for partition := range wanted.To {
		if p.Records > 0 && wanted.To[partition]-wanted.From[partition] > int64(p.Records) {
			return false
		}
	}
	return true
}

// Read implements delivery.PastLog.
func (p *PastLog) Read(ctx context.Context, wanted delivery.PastStretch, cut func()) (delivery.PastRecords, error) {
	reads := false
	for partition, from := range wanted.From {
		reads = reads || from < wanted.To[partition]
	}
	if p.Gate != nil {
		<-p.Gate
	}
	if p.Stuck && reads {
		<-ctx.Done()
		return delivery.PastRecords{}, domain.WrapError(domain.CodeUnavailable, "The log could not be read.", ctx.Err())
	}
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Wanted = append(p.Wanted, wanted)
	if p.Err != nil && reads {
		return delivery.PastRecords{}, p.Err
	}
	past := delivery.PastRecords{From: slices.Clone(wanted.From), To: slices.Clone(wanted.To)}
	for partition, to := range wanted.To {
		if from := past.From[partition]; p.Records > 0 && to-from > int64(p.Records) {
			past.From[partition] = to - int64(p.Records)
		}
		for offset, event := range p.Log.All(partition) {
			at := domain.Place{Partition: partition, Offset: int64(offset)}
			if at.Offset >= past.From[partition] && at.Offset < to && event.Body.Conversation().Has(wanted.User) {
				if wanted.BeginningFirst && p.AtOnce > 0 && len(past.Records) >= p.AtOnce && past.To[partition] == to {
					past.To[partition] = at.Offset
				}
				if _, isChange := event.Body.(domain.BlockChanged); at.Offset >= past.To[partition] && !isChange {
					continue
				}
				past.Records = append(past.Records, Record{At: at, Event: event})
			}
		}
	}
	p.Open++
	p.Cuts = append(p.Cuts, cut)
	past.Close = sync.OnceFunc(func() {
		p.Mu.Lock()
		defer p.Mu.Unlock()
		p.Open--
	})
	return past, nil
}
