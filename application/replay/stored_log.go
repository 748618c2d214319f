package replay

import (
	"context"
	"log/slog"
	"slices"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/domain"
)

// storedLog reads the log's part of a backlog. Its messages may have more bytes than may be held for a user, so they are read in
// parts, each once the one before was handed over.
type storedLog struct {
	past     *past.Past
	progress *history.Progress
	login    storedLogin
	seam     *seam
	// had are the latest messages before the seam.
	had map[domain.EventID]struct{}

	// upTo is up to where the log was read, and blocks are the user's there.
	upTo   []domain.Place
	blocks []blocks.Entry
	// entries are those of the part, by partition, in their order.
	entries [][]history.Entry
	release func()
}

// close lets go of the part. It may be called again.
func (l *storedLog) close() {
	if l.release != nil {
		l.release()
	}
}

// read reads a part from the beginning of a stretch. It returns the ids of all messages in it that are stored for the user. What may
// have been hidden by a block is left to another login, if nobody can tell now: the first part may leave out anything, a later one
// what stands behind that.
func (l *storedLog) read(ctx context.Context, stretch past.Stretch) (ids []domain.EventID, err error) {
	part, err := l.past.Entries(ctx, stretch, l.blocks, l.login.cut)
	if err != nil {
		return nil, err
	}
	l.release, l.blocks = part.Close, part.Blocks
	if l.seam.shorten(stretch, part.From) {
		l.login.notices.Warn(
			"the history is too far behind: a login gets some of its stored messages later", slog.Any("user", stretch.User))
	}
	leftOut := slices.DeleteFunc(l.stored(part.LeftOut), func(e history.Entry) bool { return !l.isNew(e) })
	if !l.seam.leavesOut(leftOut, l.upTo != nil) {
		return nil, part.Why
	}
	if len(leftOut) > 0 {
		l.login.notices.Warn("whether messages were said before cannot be told: a login gets them later",
			slog.Any("user", stretch.User), slog.Any("error", part.Why))
	}
	l.upTo, l.entries = make([]domain.Place, len(stretch.To)), make([][]history.Entry, len(stretch.To))
	for p, to := range l.seam.to {
		if l.upTo[p] = to; part.To[p] < stretch.To[p] {
			l.upTo[p].Offset = part.To[p]
		}
	}
	for _, e := range l.stored(part.Entries) {
		ids = append(ids, e.ID)
		if l.isNew(e) {
			l.entries[e.Place.Partition] = append(l.entries[e.Place.Partition], e)
		}
	}
	return ids, nil
}

// stored returns those entries that are stored for the user.
func (l *storedLog) stored(entries []past.Entry) (stored []history.Entry) {
	for _, e := range entries {
		if e.IsKept() && e.Sender() != l.login.handover.User {
			at := e.Place
			at.Generation = l.seam.to[at.Partition].Generation
			stored = append(stored, history.Entry{ID: e.Event.ID, Place: at, Sender: e.Sender(), At: e.Event.Time, Frame: e.Frame})
		}
	}
	return stored
}

// isNew tells whether an entry is to be handed over: the user does not have it, nor gets it from the history.
func (l *storedLog) isNew(e history.Entry) bool {
	_, again := l.had[e.ID]
	return !again && !e.Place.Before(l.seam.from[e.Place.Partition])
}

// isLast tells whether the part ends where the backlog does.
func (l *storedLog) isLast() bool { return placesReach(l.upTo, l.seam.to) }

// placesReach tells whether no place is before its end.
func placesReach(places, ends []domain.Place) bool {
	for p := range places {
		if places[p].Before(ends[p]) {
			return false
		}
	}
	return true
}

// goOn reads the next part, or leaves it to the history if that has everything by now, once everything before from was handed over.
func (l *storedLog) goOn(ctx context.Context, backlogs *seamedBacklogs, from, to []domain.Place) error {
	if !placesReach(from, l.upTo) || placesReach(from, to) {
		return nil
	}
	l.close()
	if now, err := l.progress.Soon(ctx); err == nil && l.seam.isCovered(now) {
		l.entries, l.upTo = make([][]history.Entry, len(to)), to
		backlogs.at = to
		return nil
	}
	stretch := past.Stretch{
		User: l.login.handover.User, From: make([]int64, len(to)), To: make([]int64, len(to)), BeginningFirst: true,
	}
	for p := range to {
		if !l.seam.anew[p] {
			stretch.From[p], stretch.To[p] = l.upTo[p].Offset, to[p].Offset
		}
	}
	_, err := l.read(ctx, stretch)
	return err
}
