package application

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"chatting/domain"
)

// StoredMessages delivers to users, when they log in, what was sent to them while they were offline (chat.offline: store).
// What was sent is in the log and so in the history. How far it was delivered is a cursor a user, which moves on as clients
// confirm; what a client got and did not confirm is delivered again, marked as such.
type StoredMessages struct {
	cursors     DeliveryCursors
	undelivered Undelivered
	progress    *historyProgress
	saving      cursorSaver
	logger      *slog.Logger

	mu    sync.Mutex
	began []LogPosition // the System's cursor, once known
}

// NewStoredMessages returns the stored messages of a log. Begin and Run are to be called.
func NewStoredMessages(
	cursors DeliveryCursors, undelivered Undelivered, log FollowedLog, logger *slog.Logger,
) *StoredMessages {
	return &StoredMessages{
		cursors: cursors, undelivered: undelivered, logger: logger,
		progress: newHistoryProgress(log),
		saving:   newCursorSaver(cursors, logger),
	}
}

// Begin notes where storing began, unless that is known: what is older was never promised to who was offline. It has to be
// done before anything is stored.
func (s *StoredMessages) Begin(ctx context.Context) error {
	// The end is noted before it is asked for: whichever of two nodes that begin at once notes it again, the other one
	// has not stored anything before.
	end, err := s.progress.noteEnd(ctx)
	if err != nil {
		return err
	}
	began, err := s.beginning(ctx)
	if err != nil || began != nil {
		return err
	}
	places, err := s.progress.await(ctx, end)
	if err != nil {
		return err
	}
	return s.cursors.SaveCursors(ctx, map[domain.UserID][]LogPosition{domain.System: places})
}

// beginning returns where storing began, nil where that is not noted.
func (s *StoredMessages) beginning(ctx context.Context) ([]LogPosition, error) {
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

const (
	// repeatedWithin is how long before a login a message may have been sent that its sender sends again after the login,
	// because a failure left the outcome in doubt.
	repeatedWithin = 10 * time.Minute
	// maxRecent bounds what is known of that, a partition.
	maxRecent = 128
)

// backlog returns what was not delivered to user before the end, and tells attachment, that of the login, what was.
func (s *StoredMessages) backlog(ctx context.Context, attachment *Attachment, end logEnd) (*backlog, error) {
	user := attachment.user
	to, err := s.progress.await(ctx, end)
	if err != nil {
		return nil, err
	}
	from, err := s.cursor(ctx, user, to)
	if err != nil {
		return nil, err
	}
	recent, err := s.undelivered.Recent(ctx, user, to, time.Now().Add(-repeatedWithin), maxRecent)
	if err != nil {
		return nil, err
	}
	attachment.saidBefore(recent)
	for p := range to {
		if !from[p].Before(to[p]) {
			from[p] = to[p]
		}
	}
	b := &backlog{undelivered: s.undelivered, user: user, from: slices.Clone(from), to: to, passed: from}
	if err := b.nextWindow(ctx, attachment.hides); err != nil {
		return nil, err
	}
	s.pass(b)
	return b, nil
}

// pass moves the cursor of b's user over what holds nothing for it, or only what a block keeps from it: nobody is going to
// confirm that.
func (s *StoredMessages) pass(b *backlog) {
	var passed []LogPosition
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

// cursor returns up to where everything was delivered to user: as saved or about to be; from the beginning of storing where
// nothing was; the place of to where that is not known either.
func (s *StoredMessages) cursor(ctx context.Context, user domain.UserID, to []LogPosition) ([]LogPosition, error) {
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

// storedSession is what a session keeps where messages are stored.
type storedSession struct {
	messages *StoredMessages
	// places are those of the end of the log at login: where replay ends, and which generation the log has.
	places []LogPosition
	cancel context.CancelFunc // ends the replay
	done   chan struct{}      // closed when it has ended; nil where there is none
}

// replay hands the backlog over, and then what was held.
func (s *storedSession) replay(backlog *backlog, attachment *Attachment, conn Connection) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		defer cancel()
		err := backlog.replay(ctx, attachment, conn, attachment.hides)
		if err == nil {
			err = attachment.releaseInParts(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.messages.logger.Warn("a replay was given up", "user", backlog.user, "error", err)
			conn.Close(CloseTryLater)
		}
	}()
}

func (s *storedSession) close(user domain.UserID) {
	if s.done != nil {
		s.cancel()
		<-s.done
	}
	s.messages.saving.hurry(user)
}

// received notes what the user's client has confirmed.
func (s *storedSession) received(user domain.UserID, upTo []Position) {
	places := make([]LogPosition, 0, len(upTo))
	for _, at := range upTo {
		places = append(places, LogPosition{
			Generation: s.places[at.Partition].Generation, Partition: at.Partition, Offset: at.Offset + 1,
		})
	}
	s.messages.saving.add(user, places)
}
