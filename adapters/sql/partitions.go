package sqlstore

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

const (
	recordPartitions = `
		INSERT INTO topic_partitions (topic, partitions, recorded_at) VALUES ($1, $2, $3) ON CONFLICT (topic) DO NOTHING`
	selectPartitions = `SELECT partitions FROM topic_partitions WHERE topic = $1`
)

// PartitionCount records that topic has actual partitions, unless a count was recorded before, and returns what is
// recorded. The caller compares: another count moves keys to other partitions, and must not go unnoticed.
func (s *Store) PartitionCount(ctx context.Context, topic string, actual int) (recorded int, err error) {
	if topic == "" || actual < 1 {
		return 0, fmt.Errorf("sql: topic %q with %d partitions cannot be recorded", topic, actual)
	}
	err = s.write(ctx, "record partitions", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, recordPartitions, topic, int64(actual), s.now().UnixMilli()); err != nil {
			return err
		}
		return tx.GetContext(ctx, &recorded, selectPartitions, topic)
	})
	if err != nil {
		return 0, err
	}
	return recorded, nil
}
