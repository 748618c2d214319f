// Package conversations keeps what the database has of the conversations: the history, which is a projection of the log, with
// its read marks and erasures, and up to where in the log each user has everything. Each subject has a type of its own, which
// implements the ports of the application. It does not know users, friends and blocks, which are package sqlstore's: what the
// projection has to know of blocks, it asks a GivenBlocks.
//
// Statements, isolation, errors and times are as package sqlstore says.
package conversations

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/past"
	"chatting/application/replay"
	"chatting/domain"
)

// Conversations are what a database has of them, by subjects. All are safe for concurrent use.
type Conversations struct {
	History     *History
	ReadMarks   *ReadMarks
	Projections *Projections
	Cursors     *Cursors
	Undelivered *Undelivered
	Erasures    *Erasures
}

// The ports of the application, and what implements them.
var (
	_ history.Reader           = (*History)(nil)
	_ history.Retention        = (*History)(nil)
	_ history.ReadMarks        = (*ReadMarks)(nil)
	_ history.ProjectedOffsets = (*Projections)(nil)
	_ history.ProjectionStore  = (*Projections)(nil)
	_ replay.Cursors           = (*Cursors)(nil)
	_ messaging.MailboxCounts  = (*Undelivered)(nil)
	_ replay.Backlogs          = (*Undelivered)(nil)
	_ replay.MissedHistory     = (*Undelivered)(nil)
	_ past.Erasures            = (*Erasures)(nil)
	_ past.FirstPlaces         = (*Undelivered)(nil)
)

// Options are what conversations need of the rest of the database.
type Options struct {
	Blocks GivenBlocks
	// Clock reads the time by which data is deleted for its age.
	Clock func(context.Context, sqlx.QueryerContext) (domain.TrustedClock, error)
	// Notices take the log lines about records of the log.
	Notices *notice.Log
}

// GivenBlocks knows which changes of blocks this database gave out.
type GivenBlocks interface {
	// GivenIn returns a question for use in transactions. It may ask the database itself: so it is called before the
	// transaction, which may have the only connection.
	GivenIn(context.Context) (GivenIn, error)
}

// GivenIn returns, as a transaction sees it, what was given out for pairs, without places. A pair that never changed is
// missing.
type GivenIn func(context.Context, sqlx.QueryerContext, []blocks.Pair) (map[blocks.Pair]blocks.GivenVersions, error)

// New returns the conversations of an open database.
func New(db *database.DB, o Options) Conversations {
	dialect, share := dialects[db.Kind], db.Half()
	return Conversations{
		History:     &History{db, share, dialect},
		ReadMarks:   &ReadMarks{db, share},
		Projections: &Projections{db, dialect, o},
		Cursors:     &Cursors{db},
		Undelivered: &Undelivered{db},
		Erasures:    &Erasures{db, dialect},
	}
}
