package moderation

import (
	"context"
	"time"

	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// FactStore has what is known of a user beside what it said.
type FactStore interface {
	// FactsOf counts no further than most. Errors: CodeUnavailable.
	FactsOf(ctx context.Context, user domain.UserID, most int) (Facts, error)
}

// Facts are what is known of a user beside what it said.
type Facts struct {
	// FirstSeen is zero for a user who was never seen.
	FirstSeen time.Time
	// Friends are whom it watches, Blocks whom it blocks, and BlockedBy those who block it.
	Friends, Blocks, BlockedBy int
}

// DoneStore has what users did, as far as it is in the history.
type DoneStore interface {
	// CountDone counts what a user did since a time, of the latest events only: at most so many. Errors: CodeUnavailable.
	CountDone(ctx context.Context, user domain.UserID, since time.Time, most int) (Counts, error)
	// Done returns what a user did, newest first: before a mark, or the latest if there is none. It ends after so many entries, and
	// before so many bytes of frames, but has one entry if there is any. more tells that others follow. Errors: CodeUnavailable.
	Done(ctx context.Context, user domain.UserID, before *Mark, entries, bytes int) (list []Done, more bool, err error)
}

// Counts are how much a user did.
type Counts struct{ Messages, Invites int }

// Mark is where a list of what a user did goes on.
type Mark struct {
	Time time.Time
	ID   domain.EventID
}

// Done is something that a user did, with the frame that clients got of it.
type Done struct {
	Mark

	Frame []byte
}

// Inspections is the audit as what is read there is noted.
type Inspections interface {
	// AppendInspection appends to the audit that texts are read. done is called once: see port.ConversationLog.
	AppendInspection(inspection domain.Inspection, done func(error))
}

const (
	// MaxCounted bounds each count of an Activity.
	MaxCounted = 10_000
	// CountedFor is the time of which Counts are.
	CountedFor = 24 * time.Hour
	// maxDoneBytes bounds the frames of a page.
	maxDoneBytes = 512 << 10
)

// LookAtActivity tells the platform what a user did lately.
type LookAtActivity struct {
	Moderate *Moderate
	Facts    FactStore
	Done     DoneStore
	Online   port.OnlineUsers
	Audit    Inspections
	Now      port.Clock
	NewID    port.IDs
	// Observer is told when texts are read; nil: nobody is.
	Observer Observer
}

// ActivityQuery asks what a user did. With Texts the answer has the texts of messages. Then Actor and Reason say who wants them, and why.
type ActivityQuery struct {
	User          domain.UserID
	Before        *Mark
	Limit         int
	Texts         bool
	Reason, Actor string
}

// Activity is what a user did lately. Counts are of the last day before At.
type Activity struct {
	Standing
	Facts
	Counts

	At     time.Time
	Online bool
	Events []Done
	// Next is where the list of Events goes on; nil if it does not.
	Next *Mark
}

// Execute returns what a user did. If texts are asked for, the audit says so before anybody gets them. Errors: CodeBadAct,
// CodeUnavailable and CodeUnconfirmed.
func (l *LookAtActivity) Execute(ctx context.Context, q ActivityQuery) (a Activity, err error) {
	a.At = l.Now.Stamp()
	if q.Texts {
		inspection, err := domain.NewInspection(l.NewID(), q.User, q.Reason, q.Actor, a.At)
		if err != nil {
			return Activity{}, err
		}
		err = async.Await(ctx, "The audit could not be confirmed.", func(done func(error)) { l.Audit.AppendInspection(inspection, done) })
		if err != nil {
			return Activity{}, err
		}
		tell(l.Observer, TextsRead)
	}
	if a.Standing, err = l.Moderate.StandingOf(ctx, q.User); err != nil {
		return Activity{}, err
	}
	if a.Facts, err = l.Facts.FactsOf(ctx, q.User, MaxCounted); err != nil {
		return Activity{}, err
	}
	if a.Counts, err = l.Done.CountDone(ctx, q.User, a.At.Add(-CountedFor), MaxCounted); err != nil {
		return Activity{}, err
	}
	var more bool
	if a.Events, more, err = l.Done.Done(ctx, q.User, q.Before, q.Limit, maxDoneBytes); err != nil {
		return Activity{}, err
	}
	if more {
		a.Next = &a.Events[len(a.Events)-1].Mark
	}
	a.Online = l.Online.Online(q.User)
	return a, nil
}
