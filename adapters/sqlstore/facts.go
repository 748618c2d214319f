package sqlstore

import (
	"context"
	"time"

	"chatting/adapters/sqlstore/database"
	"chatting/application/moderation"
	"chatting/domain"
)

// Facts answers what moderators ask about a user beside what it said.
type Facts struct{ db *database.DB }

var _ moderation.FactStore = (*Facts)(nil)

// selectFacts counts no further than $2.
const selectFacts = `
	SELECT
		COALESCE((SELECT first_seen FROM users WHERE id = $1), 0) AS first_seen,
		(SELECT COUNT(*) FROM (SELECT 1 FROM friends WHERE user_id = $1 LIMIT $2) AS counted) AS friends,
		(SELECT COUNT(*) FROM (SELECT 1 FROM blocks WHERE blocker = $1 AND blocked LIMIT $2) AS counted) AS blocks,
		(SELECT COUNT(*) FROM (SELECT 1 FROM blocks WHERE target = $1 AND blocked LIMIT $2) AS counted) AS blocked_by`

// FactsOf implements moderation.FactStore.
func (f *Facts) FactsOf(ctx context.Context, user domain.UserID, most int) (moderation.Facts, error) {
	row, err := database.Get[struct {
		FirstSeen int64 `db:"first_seen"`
		Friends   int   `db:"friends"`
		Blocks    int   `db:"blocks"`
		BlockedBy int   `db:"blocked_by"`
	}](ctx, f.db, "look up what is known of a user", selectFacts, user, most)
	if err != nil {
		return moderation.Facts{}, err
	}
	facts := moderation.Facts{Friends: row.Friends, Blocks: row.Blocks, BlockedBy: row.BlockedBy}
	if row.FirstSeen != 0 {
		facts.FirstSeen = time.UnixMilli(row.FirstSeen).UTC()
	}
	return facts, nil
}
