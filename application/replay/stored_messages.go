package replay

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/notice"
	"chatting/application/past"
	"chatting/domain"
)

// StoredMessages delivers to users, when they log in, what was sent to them while they were offline (chat.offline: store). The
// messages are in the history, and those that it does not have yet are in the log. Each user has a cursor, which moves on as
// clients confirm. What a client got and did not confirm is delivered again, marked as such.
type StoredMessages struct {
	// Past reads the log. It has to be set before anybody logs in.
	Past *past.Past

	cursors     Cursors
	undelivered Backlogs
	progress    *history.Progress
	saving      cursorSaver
	logger      *slog.Logger

	mu    sync.Mutex
	began []domain.Place // the System's cursor, once known
}

// NewStoredMessages returns the stored messages of a log. Past is to be set, Begin and Run are to be called.
func NewStoredMessages(
	cursors Cursors, undelivered Backlogs, log history.FollowedLog, logger *slog.Logger,
) *StoredMessages {
	return &StoredMessages{
		cursors: cursors, undelivered: undelivered, logger: logger,
		progress: history.NewProgress(log),
		saving:   newCursorSaver(cursors, logger),
	}
}

// Begin notes where storing began, unless that is known. Older messages were never promised to users who were offline. Call it
// before anything is stored.
func (s *StoredMessages) Begin(ctx context.Context) error {
	// The end is noted before the cursor is read. So if two nodes begin at once, neither has stored anything before the end that
	// the other one notes.
	end, err := s.progress.NoteEnd(ctx)
	if err != nil {
		return err
	}
	began, err := s.beginning(ctx)
	if err != nil || began != nil {
		return err
	}
	places := make([]domain.Place, len(end.Offsets))
	for p, offset := range end.Offsets {
		places[p] = domain.Place{Generation: end.Before[p].Generation, Partition: p, Offset: offset}
		if end.Before[p].Offset > offset { // the topic was made anew, and only the history can say that it was
			if places, err = s.progress.Await(ctx, end); err != nil {
				return err
			}
			break
		}
	}
	return s.cursors.SaveCursors(ctx, map[domain.UserID][]domain.Place{domain.System: places})
}

// beginning returns where storing began, nil if that is not noted.
func (s *StoredMessages) beginning(ctx context.Context) ([]domain.Place, error) {
	s.mu.Lock()
	began := s.began
	s.mu.Unlock()
	if began != nil {
		return began, nil
	}
	began, err := s.cursors.Cursor(ctx, domain.System)
	if err != nil || len(began) == 0 {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = began
	return began, nil
}

// Run saves cursors until ctx ends, and then what is left.
func (s *StoredMessages) Run(ctx context.Context) { s.saving.run(ctx) }

// maxRecent bounds what is known of what was said shortly before a login, a partition.
const maxRecent = 128

// backlog returns what was not delivered to the user of login before the end, and tells the login's connection what was.
//
// Nothing waits for the projector: what the history had when the end was noted comes from there, and the rest from the log. If the
// history does not answer, everything comes from the log, as far as it reaches.
func (s *StoredMessages) backlog(ctx context.Context, login storedLogin, end history.LogEnd) (*backlog, error) {
	seam := newSeam(end)
	from, err := s.cursor(ctx, login.handover.User, seam.to)
	if err != nil {
		return nil, err
	}
	seam.begin(from)
	slow := end.Unknown
	if slow == nil {
		b, fromHistory, err := s.read(ctx, login, seam)
		if err == nil || !fromHistory || ctx.Err() != nil || domain.CodeOf(err) != domain.CodeUnavailable {
			return b, err
		}
		slow = err
		seam.withoutHistory()
	}
	login.notices.Warn("the history does not answer: stored messages are read from the log",
		slog.Any("error", slow))
	b, _, err := s.read(ctx, login, seam)
	return b, err
}

// storedLogin is a login of a user for whom messages are stored.
type storedLogin struct {
	handover *delivery.Handover
	blocks   []blocks.Entry // as past.Past.Entries wants them
	cut      func()         // called if others need the room of what was read
	notices  *notice.Log
}

// read reads what the seam says. fromHistory tells that the error is the history's.
func (s *StoredMessages) read(ctx context.Context, login storedLogin, seam *seam) (b *backlog, fromHistory bool, err error) {
	user := login.handover.User
	recent, err := s.recent(ctx, user, seam)
	if err != nil {
		return nil, true, err
	}
	sources := &seamedBacklogs{Backlogs: s.undelivered, at: seam.at, patience: history.Patience, log: storedLog{
		past: s.Past, progress: s.progress, login: login, seam: seam, blocks: login.blocks, had: make(map[domain.EventID]struct{}),
	}}
	for _, id := range recent {
		sources.log.had[id] = struct{}{}
	}
	ids, err := sources.log.read(ctx, seam.stretch(user, s.Past.Reaches))
	if err != nil {
		return nil, false, err
	}
	if !sources.log.isLast() {
		s.progress.Hasten()
	}
	b = &backlog{
		undelivered: sources, seam: seam, user: user, from: slices.Clone(seam.from), to: seam.to,
		passed: slices.Clone(seam.from), release: sources.log.close,
	}
	if err := b.nextWindow(ctx, login.handover.Hides); err != nil {
		b.close()
		return nil, true, err
	}
	sources.patience = 0
	if b.isEmpty() {
		b.close()
	}
	login.handover.SaidBefore(append(recent, ids...))
	s.pass(b)
	return b, false, nil
}

// recent returns the ids of the latest messages that the history has of a user; nil if it is not to be asked.
func (s *StoredMessages) recent(ctx context.Context, user domain.UserID, seam *seam) ([]domain.EventID, error) {
	if seam.noHistory {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, history.Patience)
	defer cancel()
	return s.undelivered.Recent(ctx, user, seam.at, time.Now().Add(-delivery.RepeatedWithin), maxRecent)
}

// pass moves the cursor of b's user over places that nobody is going to confirm: they hold nothing for it, or only what a block
// keeps from it.
func (s *StoredMessages) pass(b *backlog) {
	var passed []domain.Place
	for p, at := range b.places() {
		if b.passed[p].Before(at) {
			passed = append(passed, at)
			b.passed[p] = at
		}
	}
	if len(passed) > 0 {
		s.saving.add(b.user, passed)
	}
}

// cursor returns up to where everything was delivered to user: as saved or about to be saved. Without that it is where storing
// began, and without that the place of to.
func (s *StoredMessages) cursor(ctx context.Context, user domain.UserID, to []domain.Place) ([]domain.Place, error) {
	unsaved := s.saving.unsaved(user) // before the saved one is read: what is saved in between is in both
	cursor, err := s.cursors.Cursor(ctx, user)
	if err == nil && len(cursor) == 0 {
		cursor, err = s.beginning(ctx)
	}
	if err != nil {
		return nil, err
	}
	from := slices.Clone(to)
	copy(from, cursor)
	return advance(from, unsaved), nil
}

// recall tells delivery what was said lately to the user of a login whose client takes up where it stopped, as far as the history had it
// when the login began: the connection is served what came later.
func (s *StoredMessages) recall(ctx context.Context, to *delivery.Handover, projected []domain.Place, notices *notice.Log) {
	ctx, cancel := context.WithTimeout(ctx, history.Patience)
	defer cancel()
	since := time.Now().Add(-delivery.RepeatedWithin)
	recent, err := s.undelivered.Recent(ctx, to.User, projected, since, maxRecent)
	if err != nil {
		notices.Warn("the history does not answer: a client may get again what a sender sends again",
			slog.Any("error", err))
		return
	}
	to.SaidBefore(recent)
}
