package application

import (
	"context"
	"log/slog"
	"time"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/domain"
)

// UserEraser deletes what is kept about a user.
type UserEraser interface {
	// EraseUser forgets the user: its history before Ends, for its partners, too, so that it does not come back from the log; its
	// read marks and cursor, its friends and its place in the lists of others; last, that it was seen. So it can be repeated
	// after an error. It ends the user's blocks, with a change in the outbox for each, and returns their targets. The rows of
	// blocks stay, because versions of a pair must not repeat. Blocks of others against the user stay. If the user was never
	// seen, known is false and nothing is done. CodeUnavailable also if the log was made anew meanwhile.
	EraseUser(ctx context.Context, erasure Erasure) (unblocked []domain.UserID, known bool, err error)
}

// Erasure is a request to forget a user.
type Erasure struct {
	User domain.UserID
	At   time.Time // of the changes of blocks
	// Ends are the ends of the conversation log (port.LogEnds.EndOffsets). Projected is, for the same partitions, how far the history
	// had followed the log before: an end before that is one of a topic that was made anew.
	Ends      []int64
	Projected []domain.Place
}

// EraseUser deletes what the server keeps about a user, in the database. What the log holds expires with it; it never comes
// back into the history.
type EraseUser struct {
	Eraser   UserEraser
	Blocks   blocks.Outbox
	Log      port.ConversationLog
	Sessions port.SessionLog
	Ends     port.LogEnds
	// Projected tells how far the history of a log of so many Partitions is.
	Projected  history.ProjectedOffsets
	Partitions int
	// Acts ends what the user is muted for; nil if nobody is.
	Acts ErasedActs
	// Users tells who was seen; needed with Acts.
	Users  port.KnownUsers
	Now    port.Clock
	Logger *slog.Logger
}

// ErasedActs is what the platform did to a user who is to be forgotten. *moderation.Moderate is one.
type ErasedActs interface {
	// Forgets ends what the user is muted for, and drops the reasons of all acts on it. A ban stays: it is about the id. It may be
	// repeated.
	Forgets(ctx context.Context, user domain.UserID) error
}

// Execute erases the user. After an error it may be repeated. Errors: CodeUnknownUser, CodeUnavailable, CodeUnconfirmed.
//
// First all nodes end the user's connections, so that little is said behind the place up to which the log is erased. A token
// that is still valid lets the user in again, as a new user: the issuer should revoke its tokens before.
//
// Once the user is forgotten, the nodes are told, and remember a user who came in meanwhile as a new one. If they cannot be
// told, they take the user for known for a while, and a user who came in is unknown until its next login.
//
// The user's blocks end in the log, too, so that a user who comes back under the same id begins with what the database says.
// The relay publishes what could not be published at once.
func (e *EraseUser) Execute(ctx context.Context, user domain.UserID) error {
	if user == domain.System {
		return port.ErrUnknownUser // of a number that no user can have
	}
	if err := port.AppendSessionAndWait(ctx, e.Sessions, domain.SessionRecord{Kind: domain.UserErased, User: user}); err != nil {
		return err
	}
	if err := e.forgetActs(ctx, user); err != nil {
		return err
	}
	end, err := history.NewProgress(history.FollowedLog{Projected: e.Projected, Ends: e.Ends, Partitions: e.Partitions}).NoteEnd(ctx)
	if err != nil {
		return err
	}
	unblocked, known, err := e.Eraser.EraseUser(ctx, Erasure{
		User: user, At: e.Now.Stamp(), Ends: end.Offsets, Projected: end.Before,
	})
	switch {
	case err != nil:
		return err
	case !known:
		return port.ErrUnknownUser
	}
	if err := port.AppendSessionAndWait(ctx, e.Sessions, domain.SessionRecord{Kind: domain.UserForgotten, User: user}); err != nil {
		e.Logger.Warn("other nodes will forget an erased user by themselves", "user", user, "error", err)
	}
	for _, target := range unblocked {
		events, err := e.Blocks.PendingOf(ctx, user, target)
		if err == nil {
			err = blocks.Publish(ctx, e.Blocks, e.Log, events)
		}
		if err != nil {
			e.Logger.Warn("an erased user's unblocking is left to the relay", "user", user, "error", err)
			return nil
		}
	}
	return nil
}

// forgetActs comes before the user is forgotten: what fails behind that is not repeated. For a user who was never seen it does nothing.
func (e *EraseUser) forgetActs(ctx context.Context, user domain.UserID) error {
	if e.Acts == nil {
		return nil
	}
	known, err := e.Users.Known(ctx, user)
	switch {
	case err != nil:
		return err
	case !known:
		return port.ErrUnknownUser
	}
	return e.Acts.Forgets(ctx, user)
}
