package conversations

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/past"
	"chatting/domain"
)

const firstPlace = `
	SELECT event_id, generation, log_partition, log_offset FROM messages WHERE low = $%d AND high = $%d AND event_id = $%d`

// FirstPlaces implements past.FirstPlaces.
func (u *Undelivered) FirstPlaces(
	ctx context.Context, user domain.UserID, events []past.Named,
) (map[domain.EventID]domain.Place, error) {
	type row struct {
		place

		EventID []byte `db:"event_id"`
	}
	rows, err := database.Ask(ctx, u.db, "look for first places", func(ctx context.Context, db sqlx.QueryerContext) ([]row, error) {
		return database.SelectEach[row](ctx, db, firstPlace, nil, events, func(e past.Named) []any {
			between := domain.Between(user, e.Sender)
			return []any{between.Low(), between.High(), e.ID[:]}
		})
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
