package blocks

import (
	"context"

	"chatting/application/port"
	"chatting/domain"
)

// PresenceBlocks tells from whom users hide their presence: from those whom they block.
type PresenceBlocks interface {
	// IsBlocked tells whether blocker blocks target.
	IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error)
	// BlockersAmong returns those of users who block target, in any order.
	BlockersAmong(ctx context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error)
}

// HidePresence shows to a user who is blocked that the user who blocks is offline. A nil HidePresence hides nothing.
//
// The database says who blocks whom. All nodes learn of a change by a record among the session records of the user who blocks
// (see Announcing). The record stands before whatever that user does later, so no node shows a later login to the blocked user.
type HidePresence struct{ Blocks PresenceBlocks }

// HidesFrom tells whether the presence of user is kept from watcher. CodeUnavailable, and false, if the database does not tell.
func (h *HidePresence) HidesFrom(ctx context.Context, watcher, user domain.UserID) (bool, error) {
	if h == nil {
		return false, nil
	}
	return h.Blocks.IsBlocked(ctx, user, watcher)
}

// Offline decides on a message to a target who is offline: ErrNoUserOrOffline refuses it. If the target blocks the sender, it is
// nil: such a message is echoed and shown to nobody, as if the target were online. Otherwise an echo would tell what status
// frames do not.
func (h *HidePresence) Offline(ctx context.Context, sender, target domain.UserID) error {
	switch hidden, err := h.HidesFrom(ctx, sender, target); {
	case err != nil:
		return domain.WrapError(domain.CodeUnavailable, "Whether the user can be reached cannot be told now.", err)
	case hidden:
		return nil
	default:
		return port.ErrNoUserOrOffline
	}
}

// Announcing returns the log to which changes of blocks are published. It writes a change to sessions before log, so every node
// knows whom to hide from whom when the request is answered. If the session record is not confirmed, the change is not
// published, and the relay tries both again. If h is nil, it returns log.
func (h *HidePresence) Announcing(log port.ConversationLog, sessions port.SessionLog) port.ConversationLog {
	if h == nil {
		return log
	}
	return announcingLog{log, sessions}
}

type announcingLog struct {
	port.ConversationLog
	sessions port.SessionLog
}

// Append implements port.ConversationLog.
func (l announcingLog) Append(event domain.Event, done func(error)) {
	change, ok := event.Body.(domain.BlockChanged)
	if !ok {
		l.ConversationLog.Append(event, done)
		return
	}
	record := domain.SessionRecord{Kind: domain.UserUnblocked, User: change.Blocker, Target: change.Target}
	if change.Blocked {
		record.Kind = domain.UserBlocked
	}
	l.sessions.Append(record, func(err error) {
		if err != nil {
			done(err)
			return
		}
		l.ConversationLog.Append(event, done)
	})
}
