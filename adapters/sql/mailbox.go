package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var _ application.StoredCounts = (*Store)(nil)

const (
	partitionOfPair = `SELECT log_partition FROM messages WHERE low = $1 AND high = $2 LIMIT 1`
	hasMessage      = `SELECT EXISTS (SELECT 1 FROM messages WHERE low = $1 AND high = $2 AND event_id = $3)`
)

// storedForLow and storedForHigh count for the receiver of either side of a conversation.
var storedForLow, storedForHigh = storedFor("low", "high"), storedFor("high", "low")

// storedFor counts by the index of the receiver's side. Messages that are hidden from the receiver count as well, so the
// query reads both halves of the index.
func storedFor(receiver, partner string) string {
	half := func(visible string) string {
		return `SELECT frame FROM (
			SELECT frame FROM messages
			WHERE ` + receiver + ` = $1 AND visible_` + receiver + ` = ` + visible + ` AND ` + partner + ` = $2
				AND (generation, log_offset) >= ($4, $5) AND sender = $3 AND kind = 1
			ORDER BY generation, log_offset LIMIT $6) AS half_` + visible
	}
	return `SELECT COUNT(*) AS messages, COALESCE(SUM(octet_length(frame)), 0) AS bytes FROM (
		` + half("TRUE") + ` UNION ALL ` + half("FALSE") + `) AS stored`
}

// StoredOf implements application.StoredCounts.
func (s *Store) StoredOf(
	ctx context.Context, sender, receiver domain.UserID, limit int,
) (messages int, bytes int64, err error) {
	between, query := domain.Between(sender, receiver), storedForHigh
	if receiver == between.Low() {
		query = storedForLow
	}
	err = s.read(ctx, "count stored", func(ctx context.Context, db *sqlx.DB) error {
		var partition int
		err := db.GetContext(ctx, &partition, partitionOfPair, int64(between.Low()), int64(between.High()))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		cursor, err := readCursor(ctx, db, receiver)
		if err == nil && len(cursor) == 0 {
			cursor, err = readCursor(ctx, db, domain.System)
		}
		if err != nil || partition >= len(cursor) {
			return err
		}
		var row struct {
			Messages int   `db:"messages"`
			Bytes    int64 `db:"bytes"`
		}
		err = db.GetContext(ctx, &row, query, int64(receiver), int64(sender), int64(sender),
			cursor[partition].Generation, cursor[partition].Offset, limit)
		messages, bytes = min(row.Messages, limit), row.Bytes
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return messages, bytes, nil
}

// HasMessage implements application.StoredCounts.
func (s *Store) HasMessage(ctx context.Context, one, other domain.UserID, id domain.EventID) (has bool, err error) {
	between := domain.Between(one, other)
	err = s.read(ctx, "look for stored", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &has, hasMessage, int64(between.Low()), int64(between.High()), id[:])
	})
	return has, err
}
