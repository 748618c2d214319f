package replay

import (
	"context"
	"slices"
	"time"

	"chatting/application/history"
	"chatting/domain"
)

// seamedBacklogs are the Backlogs of one user's login: what stands before the seam is in the history, and the rest in the log.
type seamedBacklogs struct {
	Backlogs

	at []domain.Place
	// log has what stands behind at, so much at a time.
	log storedLog
	// patience bounds each question to the history; 0 for no bound.
	patience time.Duration
}

// Waiting implements Backlogs. The log comes with the last window of the history, so that conversations of both are merged.
func (s *seamedBacklogs) Waiting(
	ctx context.Context, user domain.UserID, from, to []domain.Place, limit int,
) (senders []WaitingSender, ends []domain.Place, err error) {
	if err := s.log.goOn(ctx, s, from, to); err != nil {
		return nil, nil, err
	}
	until, inHistory := slices.Clone(from), false
	for p := range from {
		if from[p].Before(s.at[p]) {
			until[p], inHistory = s.at[p], true
		}
	}
	if inHistory {
		if s.patience > 0 {
			asking, cancel := context.WithTimeout(ctx, s.patience)
			defer cancel()
			ctx = asking
		}
		senders, ends, err = s.Backlogs.Waiting(ctx, user, from, until, limit)
		if err != nil || !slices.Equal(ends, until) {
			return senders, ends, err
		}
	}
	ends = slices.Clone(s.log.upTo)
	return append(senders, s.waitingInLog(senders, from, ends)...), ends, nil
}

// waitingInLog returns where the first entry of each sender stands, the earliest by its time first, without those senders who
// have earlier ones in the history.
func (s *seamedBacklogs) waitingInLog(inHistory []WaitingSender, from, to []domain.Place) (senders []WaitingSender) {
	type key struct {
		sender    domain.UserID
		partition int
	}
	known := make(map[key]struct{})
	for _, w := range inHistory {
		known[key{w.Sender, w.Place.Partition}] = struct{}{}
	}
	var firsts []history.Entry
	for p, entries := range s.log.entries {
		for _, entry := range entries {
			if _, again := known[key{entry.Sender, p}]; again || entry.Place.Before(from[p]) || !entry.Place.Before(to[p]) {
				continue
			}
			known[key{entry.Sender, p}] = struct{}{}
			firsts = append(firsts, entry)
		}
	}
	slices.SortStableFunc(firsts, func(a, b history.Entry) int { return a.At.Compare(b.At) })
	for _, entry := range firsts {
		senders = append(senders, WaitingSender{Sender: entry.Sender, Place: entry.Place})
	}
	return senders
}

// Stretches implements Backlogs.
func (s *seamedBacklogs) Stretches(
	ctx context.Context, user domain.UserID, stretches []ConversationStretch, limit int,
) ([][]history.Entry, error) {
	lists := make([][]history.Entry, len(stretches))
	var asked []ConversationStretch
	var places []int
	for i, stretch := range stretches {
		at := s.at[stretch.From.Partition]
		if !stretch.From.Before(at) {
			continue
		}
		if at.Before(stretch.To) {
			stretch.To = at
		}
		asked, places = append(asked, stretch), append(places, i)
	}
	if len(asked) > 0 {
		found, err := s.Backlogs.Stretches(ctx, user, asked, limit)
		if err != nil {
			return nil, err
		}
		for i, list := range found {
			lists[places[i]] = list
		}
	}
	for i, stretch := range stretches {
		for _, entry := range s.log.entries[stretch.From.Partition] {
			if entry.Sender == stretch.Sender && !entry.Place.Before(stretch.From) && entry.Place.Before(stretch.To) && len(lists[i]) < limit {
				lists[i] = append(lists[i], entry)
			}
		}
	}
	return lists, nil
}
