package blocks

import (
	"context"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Entry is the state of one directed pair: blocked or, after an unblock, not, with its version.
type Entry struct {
	Target  domain.UserID
	Blocked bool
	Version int64
	// Pending tells that the outbox still holds a change of the pair: the log may not have this state yet.
	Pending bool
}

// Store keeps who blocks whom, and the changes that the log has not yet confirmed (the outbox).
type Store interface {
	// SetBlocked makes blocker block target, or not. If that changes something, the pair's version grows by one, and the change
	// enters the outbox in the same transaction, under an id that the store knows again (domain.BlockEventID). changed tells
	// whether it did. If blocker would come to more than MaxBlocks pairs, nothing is done: CodeLimit.
	SetBlocked(ctx context.Context, change Change) (changed bool, err error)
	// Blocks returns every pair of blocker ever changed, unblocked ones included, in ascending order of targets.
	Blocks(ctx context.Context, blocker domain.UserID) ([]Entry, error)
	// IsBlocked tells whether blocker blocks target.
	IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error)
	Outbox
}

// MaxBlocks bounds the pairs that one user ever blocked: all of them are loaded when the user logs in.
const MaxBlocks = 10_000

// Change is a request to change one pair, with the time of the change's event.
type Change struct {
	Blocker, Target domain.UserID
	Blocked         bool
	At              time.Time
}

// Outbox holds the events of block changes that are committed but not known to be in the log.
type Outbox interface {
	// PendingOf returns the unpublished changes of one directed pair, oldest version first.
	PendingOf(ctx context.Context, blocker, target domain.UserID) ([]domain.Event, error)
	// Pending returns up to limit unpublished changes made before the given time, of all pairs, each pair's in the order
	// of its versions.
	Pending(ctx context.Context, before time.Time, limit int) ([]domain.Event, error)
	// MarkPublished takes changes out of the outbox; ids not in it are ignored.
	MarkPublished(ctx context.Context, ids []domain.EventID) error
}

// Block keeps from a user what another one sends. Once the log has the change, nothing that is appended later is shown to the
// blocker (invariant 3).
type Block struct {
	Store Store
	Users port.KnownUsers
	Log   port.ConversationLog
	Now   port.Clock
}

// Add makes blocker block target and returns once the log has it, also if target was blocked already. Errors:
// CodeUnknownUser, CodeSelf, CodeLimit, CodeUnavailable and CodeUnconfirmed. After the last two the change may be committed; then
// it takes effect when the relay publishes it.
func (b *Block) Add(ctx context.Context, blocker, target domain.UserID) error {
	if blocker == target {
		return domain.NewError(domain.CodeSelf, "A user cannot block itself.")
	}
	if err := b.mustKnow(ctx, target); err != nil {
		return err
	}
	if _, err := b.Store.SetBlocked(ctx, b.change(blocker, target, true)); err != nil {
		return err
	}
	_, err := b.publish(ctx, blocker, target)
	return err
}

// Remove ends a block and returns once the log has it. Errors: those of Add, and CodeNotBlocked.
func (b *Block) Remove(ctx context.Context, blocker, target domain.UserID) error {
	if err := b.mustKnow(ctx, target); err != nil {
		return err
	}
	changed, err := b.Store.SetBlocked(ctx, b.change(blocker, target, false))
	if err != nil {
		return err
	}
	published, err := b.publish(ctx, blocker, target)
	if err != nil {
		return err
	}
	// An unblock whose append was not confirmed is tried again by its user: then this one has completed it.
	if !changed && !published {
		return domain.NewError(domain.CodeNotBlocked, "The user is not blocked.")
	}
	return nil
}

// List returns whom blocker blocks now, in ascending order.
func (b *Block) List(ctx context.Context, blocker domain.UserID) ([]domain.UserID, error) {
	entries, err := b.Store.Blocks(ctx, blocker)
	if err != nil {
		return nil, err
	}
	blocked := make([]domain.UserID, 0, len(entries))
	for _, entry := range entries {
		if entry.Blocked {
			blocked = append(blocked, entry.Target)
		}
	}
	return blocked, nil
}

// IsBlocked tells whether blocker blocks target; CodeUnknownUser for a target never seen.
func (b *Block) IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error) {
	if err := b.mustKnow(ctx, target); err != nil {
		return false, err
	}
	return b.Store.IsBlocked(ctx, blocker, target)
}

func (b *Block) mustKnow(ctx context.Context, user domain.UserID) error {
	known, err := b.Users.Known(ctx, user)
	if err != nil {
		return err
	}
	if !known {
		return port.ErrUnknownUser
	}
	return nil
}

func (b *Block) change(blocker, target domain.UserID, blocked bool) Change {
	return Change{Blocker: blocker, Target: target, Blocked: blocked, At: b.Now.Stamp()}
}

// publish appends what the pair's outbox holds, oldest first, and tells whether that was anything. Two requests, or a
// request and the relay, may publish the same change twice; readers ignore versions that are not newer than theirs.
func (b *Block) publish(ctx context.Context, blocker, target domain.UserID) (bool, error) {
	events, err := b.Store.PendingOf(ctx, blocker, target)
	if err != nil {
		return false, err
	}
	return len(events) > 0, Publish(ctx, b.Store, b.Log, events)
}

// Publish appends events one after the other, waiting for each, and takes those that the log has out of the outbox. A
// failure to do the latter only makes the relay publish them again.
func Publish(ctx context.Context, outbox Outbox, log port.ConversationLog, events []domain.Event) error {
	published := make([]domain.EventID, 0, len(events))
	var failed error
	for _, event := range events {
		if failed = port.AppendAndWait(ctx, log, event); failed != nil {
			break
		}
		published = append(published, event.ID)
	}
	if len(published) > 0 {
		if err := outbox.MarkPublished(ctx, published); err != nil && failed == nil {
			return err
		}
	}
	return failed
}
