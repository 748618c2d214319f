package application

import (
	"context"
	"log/slog"

	"chatting/domain"
)

// EraseUser deletes what the server keeps about a user, in the database. What the log holds expires with it; it never comes
// back into the history.
type EraseUser struct {
	Eraser   UserEraser
	Blocks   Outbox
	Log      ConversationLog
	Sessions SessionLog
	Ends     LogEnds
	// Projected tells how far the history of a log of so many Partitions is.
	Projected  ProjectedOffsets
	Partitions int
	Now        Clock
	Logger     *slog.Logger
}

// Execute erases the user. After an error it may be repeated. Errors: CodeUnknownUser, CodeUnavailable, CodeUnconfirmed.
//
// First the nodes are told to end the user's connections, so that little is said behind the place up to which the log is
// erased. A token that still counts lets the user in again, as a new one: whoever issues tokens revokes them before.
//
// Once the user is forgotten the nodes are told so: whoever came in meanwhile is remembered as a new user. Where they cannot
// be told, they take the user for known for a while, and who came in is unknown until its next login.
//
// Whom the user blocked is unblocked in the log, too, so that a user who comes back under the same id begins with what
// the database says. What of that is not published now, the relay publishes.
func (e *EraseUser) Execute(ctx context.Context, user domain.UserID) error {
	if user == domain.System {
		return errUnknownUser // of a number that no user can have
	}
	if err := appendSessionAndWait(ctx, e.Sessions, domain.SessionRecord{Kind: domain.UserErased, User: user}); err != nil {
		return err
	}
	end, err := newHistoryProgress(FollowedLog{Projected: e.Projected, Ends: e.Ends, Partitions: e.Partitions}).noteEnd(ctx)
	if err != nil {
		return err
	}
	unblocked, known, err := e.Eraser.EraseUser(ctx, Erasure{
		User: user, At: e.Now.stamp(), Ends: end.offsets, Projected: end.before,
	})
	switch {
	case err != nil:
		return err
	case !known:
		return errUnknownUser
	}
	if err := appendSessionAndWait(ctx, e.Sessions, domain.SessionRecord{Kind: domain.UserForgotten, User: user}); err != nil {
		e.Logger.Warn("other nodes will forget an erased user by themselves", "user", user, "error", err)
	}
	for _, target := range unblocked {
		events, err := e.Blocks.PendingOf(ctx, user, target)
		if err == nil {
			err = publish(ctx, e.Blocks, e.Log, events)
		}
		if err != nil {
			e.Logger.Warn("an erased user's unblocking is left to the relay", "user", user, "error", err)
			return nil
		}
	}
	return nil
}
