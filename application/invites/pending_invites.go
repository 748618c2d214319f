package invites

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/domain"
)

// PendingInvites answers which invites of a user are pending, for a client that has seen none of them.
type PendingInvites struct {
	Invites *Register
	Blocks  BlockedUsers
	// CaughtUp returns once this node has read what could be read of the log when it was called. CodeUnavailable if the log does
	// not answer.
	CaughtUp func(ctx context.Context) error
	Now      port.Clock
}

// BlockedUsers tells whom a user blocks.
type BlockedUsers interface {
	// Blocks is that of blocks.Store.
	Blocks(ctx context.Context, blocker domain.UserID) ([]blocks.Entry, error)
}

// MaxListedInvites bounds the invites of an answer. The oldest count.
const MaxListedInvites = 1024

// Execute returns the events that opened the pending invites from user and to user, oldest first. What is not shown to the
// invited live is not here either: an invite that was sent under a block. Errors: CodeUnavailable if the log or the database does
// not answer.
func (p *PendingInvites) Execute(ctx context.Context, user domain.UserID) ([]domain.Event, error) {
	if err := p.CaughtUp(ctx); err != nil {
		return nil, err
	}
	pending, err := p.seen(ctx, user, p.Invites.pendingOf(user))
	if err != nil {
		return nil, err
	}
	now := p.Now()
	events := make([]domain.Event, 0, len(pending))
	for _, invite := range pending {
		if now.Before(invite.Expires) { // else its end is on its way
			events = append(events, invite.Event())
		}
	}
	slices.SortFunc(events, func(a, b domain.Event) int {
		return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return events[:min(len(events), MaxListedInvites)], nil
}

// seen leaves out what is not shown to the user because of a block. The database is asked after the invites were read, so a block
// that it does not know yet came after all of them. A block that it knows to have ended is in the log, unless its end is
// pending; once it is read, the register says what came under it.
func (p *PendingInvites) seen(ctx context.Context, user domain.UserID, pending []domain.Invite) ([]domain.Invite, error) {
	isTo := func(invite domain.Invite) bool { return invite.From != user }
	if !slices.ContainsFunc(pending, isTo) {
		return pending, nil
	}
	entries, err := p.Blocks.Blocks(ctx, user)
	if err != nil {
		return nil, err
	}
	hidden, ended := map[domain.UserID]bool{}, map[domain.UserID]bool{}
	for _, entry := range entries {
		hidden[entry.Target], ended[entry.Target] = entry.Blocked || entry.Pending, !entry.Blocked
	}
	if slices.ContainsFunc(pending, func(invite domain.Invite) bool { return isTo(invite) && ended[invite.From] }) {
		if err := p.CaughtUp(ctx); err != nil {
			return nil, err
		}
		for i := range pending {
			pending[i] = p.Invites.again(pending[i])
		}
	}
	return slices.DeleteFunc(pending, func(invite domain.Invite) bool {
		return invite.Ended != "" || isTo(invite) && (hidden[invite.From] || invite.Unseen)
	}), nil
}
