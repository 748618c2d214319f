package conversations

import (
	"context"
	"maps"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/past"
	"chatting/domain"
)

const (
	firstPlace = `
		SELECT event_id, generation, log_partition, log_offset FROM messages WHERE low = $%d AND high = $%d AND event_id = $%d`
	// newestChange is that of a pair: they are projected in the order of their versions. No later one takes it away.
	newestChange = `
		SELECT CAST($%d AS BIGINT) AS target, COALESCE((
			SELECT version FROM block_changes WHERE blocker = $%d AND target = $%d
			ORDER BY generation DESC, log_offset DESC LIMIT 1), 0) AS version`
)

// FirstPlaces implements past.FirstPlaces. A change of a block is written in the transaction that projects what stands before it, and
// the changes are asked for first: so the messages from before them are there.
func (u *Undelivered) FirstPlaces(ctx context.Context, user domain.UserID, events []past.Named) (past.Firsts, error) {
	return database.Ask(ctx, u.db, "look for first places", func(ctx context.Context, db sqlx.QueryerContext) (past.Firsts, error) {
		changes, err := newestChanges(ctx, db, user, events)
		if err != nil {
			return past.Firsts{}, err
		}
		places, err := firstPlaces(ctx, db, user, events)
		return past.Firsts{Places: places, Changes: changes}, err
	})
}

// newestChanges returns the versions of the newest changes of user's blocks of the senders; 0 for none.
func newestChanges(
	ctx context.Context, db sqlx.QueryerContext, user domain.UserID, events []past.Named,
) (map[domain.UserID]int64, error) {
	versions := make(map[domain.UserID]int64)
	for _, e := range events {
		versions[e.Sender] = 0
	}
	rows, err := database.SelectEach[struct {
		Target  domain.UserID `db:"target"`
		Version int64         `db:"version"`
	}](ctx, db, newestChange, nil, slices.Sorted(maps.Keys(versions)), func(sender domain.UserID) []any {
		return []any{sender, user, sender}
	})
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		versions[row.Target] = row.Version
	}
	return versions, nil
}

// firstPlaces returns the places of those events that the history has.
func firstPlaces(
	ctx context.Context, db sqlx.QueryerContext, user domain.UserID, events []past.Named,
) (map[domain.EventID]domain.Place, error) {
	rows, err := database.SelectEach[struct {
		place

		EventID []byte `db:"event_id"`
	}](ctx, db, firstPlace, nil, events, func(e past.Named) []any {
		between := domain.Between(user, e.Sender)
		return []any{between.Low(), between.High(), e.ID[:]}
	})
	if err != nil {
		return nil, err
	}
	places := make(map[domain.EventID]domain.Place, len(rows))
	for _, row := range rows {
		id, err := eventID(row.EventID)
		if err != nil {
			return nil, err
		}
		places[id] = row.position()
	}
	return places, nil
}
