package porttest

import (
	"context"
	"sync"

	"chatting/application/past"
	"chatting/domain"
)

// FirstPlaces is a past.FirstPlaces and its past.Progress over a log in memory.
type FirstPlaces struct {
	Log Conversations
	// Projected tells how far the history is; nil for up to the end of the log.
	Projected func(partition int) int64

	Mu    sync.Mutex
	Asked int // how often
	Err   error
}

// NewRepeats returns repeats over the history and its log, of which any part can be read.
func (f *FirstPlaces) NewRepeats() *past.Repeats {
	return &past.Repeats{Log: &PastLog{Log: f.Log}, History: f, Progress: f}
}

// firstGeneration is that of all places.
const firstGeneration = 3

// Soon implements past.Progress.
func (f *FirstPlaces) Soon(context.Context) ([]domain.Place, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	places := make([]domain.Place, len(f.Log.Records))
	for p := range places {
		places[p] = domain.Place{Generation: firstGeneration, Partition: p, Offset: f.next(p)}
	}
	return places, f.Err
}

func (f *FirstPlaces) next(partition int) int64 {
	end := int64(len(f.Log.All(partition)))
	if f.Projected != nil {
		return min(f.Projected(partition), end)
	}
	return end
}

// FirstPlaces implements past.FirstPlaces.
func (f *FirstPlaces) FirstPlaces(
	_ context.Context, user domain.UserID, events []past.Named,
) (past.Firsts, error) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.Asked++
	has := past.Firsts{Places: make(map[domain.EventID]domain.Place), Changes: make(map[domain.UserID]int64)}
	known := make([][]domain.Event, len(f.Log.Records))
	for p := range known {
		known[p] = f.Log.All(p)
		known[p] = known[p][:min(f.next(p), int64(len(known[p])))]
	}
	for _, e := range events {
		for offset, event := range known[e.At.Partition] {
			if event.ID == e.ID && event.Body.Conversation() == domain.Between(user, e.Sender) {
				has.Places[e.ID] = domain.Place{Generation: firstGeneration, Partition: e.At.Partition, Offset: int64(offset)}
				break
			}
		}
	}
	for _, events := range known {
		for _, event := range events {
			if change, ok := event.Body.(domain.BlockChanged); ok && change.Blocker == user {
				has.Changes[change.Target] = max(has.Changes[change.Target], change.Version)
			}
		}
	}
	return has, f.Err
}
