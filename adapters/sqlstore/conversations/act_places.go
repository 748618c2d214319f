package conversations

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/application/history"
	"chatting/domain"
)

const (
	// An act that is not kept any more has no places: nothing would ever delete them.
	insertActPlace = `
		INSERT INTO moderation_places (user_id, version, log_partition, generation, log_offset)
		SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT)
		WHERE EXISTS (SELECT 1 FROM moderation_acts WHERE user_id = $1 AND version = $2)
		ON CONFLICT (user_id, version, log_partition) DO UPDATE SET log_offset = excluded.log_offset
			WHERE moderation_places.generation = excluded.generation AND moderation_places.log_offset > excluded.log_offset`
	selectGenerationsOf = `SELECT log_partition, generation FROM projections`
)

// KeepActPlaces notes, in a transaction, at which offset an act of the platform stands in each partition, in the order of their
// numbers. The first place of an act counts.
func KeepActPlaces(ctx context.Context, tx *sqlx.Tx, act domain.Act, offsets []int64) error {
	var rows []struct {
		Partition  int   `db:"log_partition"`
		Generation int64 `db:"generation"`
	}
	if err := tx.SelectContext(ctx, &rows, selectGenerationsOf); err != nil {
		return err
	}
	generations := make(map[int]int64, len(rows))
	for _, row := range rows {
		generations[row.Partition] = row.Generation
	}
	for partition, offset := range offsets {
		at := domain.Place{Generation: max(1, generations[partition]), Partition: partition, Offset: offset}
		if err := keepActPlace(ctx, tx, act, at); err != nil {
			return err
		}
	}
	return nil
}

func keepActPlace(ctx context.Context, tx *sqlx.Tx, act domain.Act, at domain.Place) error {
	_, err := tx.ExecContext(ctx, insertActPlace, act.User, act.Version, at.Partition, at.Generation, at.Offset)
	return err
}

// keepActs notes the places of the acts in batches.
func keepActs(ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch) error {
	for _, b := range batches {
		at := b.To.Next
		for _, standing := range b.Acts {
			at.Offset = standing.Offset
			if err := keepActPlace(ctx, tx, standing.Act, at); err != nil {
				return err
			}
		}
	}
	return nil
}
