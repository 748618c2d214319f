package replay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/domain"
)

// Cursors remember up to where everything addressed to a user was delivered.
type Cursors interface {
	// SaveCursors moves the cursor of each user forward to the given places, of some or all partitions; never back. Other
	// partitions stay. If the user has no cursor yet, it begins with the System's; if that has none, nothing is saved.
	SaveCursors(ctx context.Context, cursors map[domain.UserID][]domain.Place) error
	// Cursor returns the user's cursor, a place for each partition; nil if it has none. The cursor of System is where storing for
	// offline users began.
	Cursor(ctx context.Context, user domain.UserID) ([]domain.Place, error)
	// ForgetCursors deletes all cursors.
	ForgetCursors(ctx context.Context) error
}

const (
	// saveEvery is how old a confirmed place may grow before it is saved. What a node has not saved when it dies is delivered again.
	saveEvery = 2 * time.Second
	// saveUsers bounds the cursors of one transaction.
	saveUsers = 256
	// saveLast bounds what is tried once the node leaves.
	saveLast = 3 * time.Second
)

// cursorSaver saves the cursors of users as clients confirm: one goroutine, many users at a time. It holds no more users than
// have logged in here since the database last answered, because logins need the database, too.
type cursorSaver struct {
	cursors Cursors
	logger  *slog.Logger
	wake    chan struct{}

	mu    sync.Mutex
	dirty map[domain.UserID][]domain.Place
	// saving is what is being written.
	saving map[domain.UserID][]domain.Place
}

func newCursorSaver(cursors Cursors, logger *slog.Logger) cursorSaver {
	return cursorSaver{
		cursors: cursors, logger: logger, wake: make(chan struct{}, 1), dirty: make(map[domain.UserID][]domain.Place),
	}
}

// add notes that everything before the given places was delivered to user.
func (s *cursorSaver) add(user domain.UserID, places []domain.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[user] = advance(s.dirty[user], places)
}

// advance moves places on to those of others that are later, and adds those of further partitions.
func advance(places, others []domain.Place) []domain.Place {
next:
	for _, other := range others {
		for i := range places {
			if places[i].Partition == other.Partition {
				if places[i].Before(other) {
					places[i] = other
				}
				continue next
			}
		}
		places = append(places, other)
	}
	return places
}

// unsaved returns what is noted of user and may not be saved yet.
func (s *cursorSaver) unsaved(user domain.UserID) []domain.Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return advance(advance(nil, s.saving[user]), s.dirty[user])
}

// saveNow has what is noted of user saved at once: its next login may be on another node.
func (s *cursorSaver) saveNow(user domain.UserID) {
	s.mu.Lock()
	_, dirty := s.dirty[user]
	s.mu.Unlock()
	if !dirty {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *cursorSaver) run(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	failing := false
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		err := s.saveAll(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.logger.Warn("what was delivered could not be noted, will try again", "error", err)
		}
		failing = err != nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLast)
	defer cancel()
	if err := s.saveAll(ctx); err != nil {
		s.logger.Warn("what was delivered could not be noted: some of it will be delivered again", "error", err)
	}
}

// saveAll saves what was noted by now, and what is meanwhile.
func (s *cursorSaver) saveAll(ctx context.Context) error {
	for s.begin() {
		err := s.cursors.SaveCursors(ctx, s.saving)
		s.end(err == nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// begin moves some of what is noted to saving; false if there is nothing.
func (s *cursorSaver) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saving = make(map[domain.UserID][]domain.Place, min(saveUsers, len(s.dirty)))
	for user, places := range s.dirty {
		if len(s.saving) == saveUsers {
			break
		}
		s.saving[user] = places
		delete(s.dirty, user)
	}
	return len(s.saving) > 0
}

// end forgets what was saved; where it was not, it is noted again.
func (s *cursorSaver) end(saved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !saved {
		for user, places := range s.saving {
			s.dirty[user] = advance(places, s.dirty[user])
		}
	}
	s.saving = nil
}
