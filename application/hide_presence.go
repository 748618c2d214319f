package application

import (
	"context"

	"chatting/domain"
)

// PresenceBlocks tells from whom users hide their presence: from those whom they block.
type PresenceBlocks interface {
	// IsBlocked tells whether blocker blocks target.
	IsBlocked(ctx context.Context, blocker, target domain.UserID) (bool, error)
	// BlockersAmong returns those of users who block target, in any order.
	BlockersAmong(ctx context.Context, target domain.UserID, users []domain.UserID) ([]domain.UserID, error)
}

// HidePresence keeps from a user who is blocked whether the one who blocked is online: the blocked user sees an offline one.
// A nil HidePresence hides nothing.
//
// The database says who blocks whom. All nodes learn of a change by a record among the session records of the user who blocks
// (see Announcing). It stands before whatever that user does later, so no node shows a later login to the one who is blocked.
type HidePresence struct{ Blocks PresenceBlocks }

// from tells whether the presence of user is kept from watcher. CodeUnavailable, and false, if the database does not tell.
func (h *HidePresence) from(ctx context.Context, watcher, user domain.UserID) (bool, error) {
	if h == nil {
		return false, nil
	}
	return h.Blocks.IsBlocked(ctx, user, watcher)
}

// offline tells whether to refuse what sender sends to a target who is offline: errNoUserOrOffline, or nil if the target
// blocks the sender. What is sent to such a target is echoed and shown to nobody, whether the target is online or not.
// Otherwise an echo would tell what status frames do not.
func (h *HidePresence) offline(ctx context.Context, sender, target domain.UserID) error {
	switch hidden, err := h.from(ctx, sender, target); {
	case err != nil:
		return domain.WrapError(domain.CodeUnavailable, "Whether the user can be reached cannot be told now.", err)
	case hidden:
		return nil
	default:
		return errNoUserOrOffline
	}
}

// watchList loads whom user watches and, of these, who hide their presence from user. CodeUnavailable if that cannot be told
// now.
func watchList(
	ctx context.Context, lists FriendLists, hide *HidePresence, user domain.UserID,
) (friends, hiding []domain.UserID, err error) {
	friends, err = lists.Friends(ctx, user)
	if err != nil || hide == nil || len(friends) == 0 {
		return friends, nil, err
	}
	hiding, err = hide.Blocks.BlockersAmong(ctx, user, friends)
	return friends, hiding, err
}

// Announcing returns the log to which changes of blocks are published: before log has a change, sessions have it, so that
// every node knows from whom to hide by the time that the request is answered. A change whose record is not confirmed is not
// published; the relay tries both again. If h is nil, it is log itself.
func (h *HidePresence) Announcing(log ConversationLog, sessions SessionLog) ConversationLog {
	if h == nil {
		return log
	}
	return announcingLog{log, sessions}
}

type announcingLog struct {
	ConversationLog
	sessions SessionLog
}

// Append implements ConversationLog.
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
