package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"chatting/domain"
)

// LogIdentity names the log that a database belongs to. The zero value is that of a database between two logs.
type LogIdentity struct {
	TopicPrefix string `db:"topic_prefix"`
	// ClusterID is the id that the Kafka cluster gave itself; "" where it is not known.
	ClusterID string `db:"cluster_id"`
}

// Is tells whether two identities may be of one log. An id that is not known may be any.
func (l LogIdentity) Is(other LogIdentity) bool {
	return l.TopicPrefix == other.TopicPrefix &&
		(l.ClusterID == other.ClusterID || l.ClusterID == "" || other.ClusterID == "")
}

// OtherLogError tells that the database belongs to another log than the one that the store is held to.
type OtherLogError struct{ Recorded, Held LogIdentity }

// Error implements error.
func (e *OtherLogError) Error() string {
	return fmt.Sprintf("sql: the database was moved from topic_prefix %q to another log", e.Held.TopicPrefix)
}

const (
	selectInstallation = `SELECT topic_prefix, cluster_id FROM installation`
	recordInstallation = `
		INSERT INTO installation (one_row, topic_prefix, cluster_id, database_id, recorded_at) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one_row) DO NOTHING`
	fillInCluster    = `UPDATE installation SET cluster_id = $1 WHERE cluster_id = ''`
	moveInstallation = `
		INSERT INTO installation (one_row, topic_prefix, cluster_id, database_id, recorded_at) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one_row) DO UPDATE
		SET topic_prefix = excluded.topic_prefix, cluster_id = excluded.cluster_id, recorded_at = excluded.recorded_at`
	countBeat = `
		INSERT INTO server_beats (one_row, beats) VALUES (1, 1) ON CONFLICT (one_row) DO UPDATE SET beats = server_beats.beats + 1`
	selectBeats      = `SELECT COALESCE(MAX(beats), 0) FROM server_beats`
	selectDatabaseID = `SELECT database_id FROM installation`
	selectUsedTopics = `SELECT topic FROM topic_partitions ORDER BY recorded_at DESC, topic`
	forgetPartitions = `DELETE FROM topic_partitions`
	moveErasures     = `
		INSERT INTO erasures (user_id, log_partition, generation, until_offset)
		SELECT DISTINCT user_id, CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT) FROM erasures WHERE TRUE
		ON CONFLICT (user_id, log_partition) DO UPDATE
		SET generation = excluded.generation, until_offset = excluded.until_offset`
)

// conversationsSuffix ends the names of the topics by which a database that does not know its log yet tells the prefix.
const conversationsSuffix = ".conversations"

// Log returns the log that the database belongs to: own, the caller's, if it belongs to none yet.
func (s *Store) Log(ctx context.Context, own LogIdentity) (log LogIdentity, err error) {
	err = s.read(ctx, "read the installation", func(ctx context.Context, db *sqlx.DB) error {
		log, err = recordedLog(ctx, db, own)
		return err
	})
	return log, err
}

// DatabaseID returns what tells this database from all others; "" before it belongs to a log.
func (s *Store) DatabaseID(ctx context.Context) (id string, err error) {
	err = s.read(ctx, "read the database's id", func(ctx context.Context, db *sqlx.DB) error {
		err := db.GetContext(ctx, &id, selectDatabaseID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return id, err
}

// ClaimLog has the database belong to the caller's log, if it belongs to none yet, and returns the one that it belongs to.
// The caller compares. Of several callers at once, one is the first. If it is the caller's, the store is held to it.
func (s *Store) ClaimLog(ctx context.Context, own LogIdentity) (log LogIdentity, err error) {
	if own.TopicPrefix == "" {
		return LogIdentity{}, errors.New("sql: a log without a topic prefix cannot be recorded")
	}
	err = s.transact(ctx, "record the installation", func(ctx context.Context, tx *sqlx.Tx) error {
		if log, err = recordedLog(ctx, tx, own); err != nil || !log.Is(own) {
			return err
		}
		if _, err := tx.ExecContext(ctx, recordInstallation, own.TopicPrefix, own.ClusterID, rand.Text(), s.now().UnixMilli()); err != nil {
			return err
		}
		if log, err = recordedLog(ctx, tx, own); err != nil || !log.Is(own) {
			return err
		}
		if _, err := tx.ExecContext(ctx, fillInCluster, own.ClusterID); err != nil {
			return err
		}
		log, err = recordedLog(ctx, tx, own)
		return err
	})
	if err != nil {
		return LogIdentity{}, err
	}
	if log.Is(own) {
		s.HoldTo(log)
	}
	return log, nil
}

// HoldTo lets the store change the database only while that belongs to the log.
func (s *Store) HoldTo(log LogIdentity) { s.held.Store(&log) }

// Beat shows others that a server runs on the database. It fails with an *OtherLogError once the database belongs to another
// log.
func (s *Store) Beat(ctx context.Context) error {
	return s.write(ctx, "count a beat", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, countBeat)
		return err
	})
}

// Beats returns how often servers called Beat.
func (s *Store) Beats(ctx context.Context) (beats int64, err error) {
	err = s.read(ctx, "read the beats", func(ctx context.Context, db *sqlx.DB) error {
		return db.GetContext(ctx, &beats, selectBeats)
	})
	return beats, err
}

// lockLog fails with an *OtherLogError unless the database belongs to the log that the store is held to. It does until the
// transaction ends: whoever moves the database waits.
func (s *Store) lockLog(ctx context.Context, tx *sqlx.Tx) error {
	held := s.held.Load()
	if held == nil {
		return nil
	}
	var recorded LogIdentity
	err := tx.GetContext(ctx, &recorded, s.dialect.lockInstallation)
	if errors.Is(err, sql.ErrNoRows) { // a version that recorded no log was here last
		return nil
	}
	if err == nil && !recorded.Is(*held) {
		return domain.WrapError(domain.CodeUnavailable, "The database is not available.", &OtherLogError{recorded, *held})
	}
	return err
}

// recordedLog returns the log that is recorded. Databases of versions that recorded none know the topics they were used
// with: if own's is among them it is that one, else the last.
func recordedLog(ctx context.Context, q sqlx.QueryerContext, own LogIdentity) (LogIdentity, error) {
	var log LogIdentity
	err := sqlx.GetContext(ctx, q, &log, selectInstallation)
	if !errors.Is(err, sql.ErrNoRows) {
		return log, err
	}
	var topics []string
	if err := sqlx.SelectContext(ctx, q, &topics, selectUsedTopics); err != nil {
		return LogIdentity{}, err
	}
	if slices.Contains(topics, own.TopicPrefix+conversationsSuffix) {
		return own, nil
	}
	for _, topic := range topics {
		if prefix, ok := strings.CutSuffix(topic, conversationsSuffix); ok {
			return LogIdentity{TopicPrefix: prefix}, nil
		}
	}
	return own, nil
}

// LogMove is what a database needs to know to go on with another log.
type LogMove struct {
	To LogIdentity
	// Generation is that of all places in the new log, and Ends is where its partitions end now.
	Generation int64
	Ends       []int64
}

// BeginMove has the database belong to no log: what servers on it still want to change fails from now on. What they were
// changing is waited for. Only MoveToLog ends that.
func (s *Store) BeginMove(ctx context.Context) error {
	return s.transact(ctx, "begin to move to another log", func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, moveInstallation, "", "", rand.Text(), s.now().UnixMilli())
		return err
	})
}

// MoveToLog has the database belong to another log. What it remembers of the old log's partitions is forgotten; who was
// erased stays erased, whatever the new log has of them. Delivery cursors stay, unless the new log has another number of
// partitions: then conversations are in other ones, and storing for offline users begins anew. The projections have to be
// moved before, after BeginMove.
func (s *Store) MoveToLog(ctx context.Context, move LogMove) error {
	if move.To.TopicPrefix == "" || len(move.Ends) == 0 {
		return errors.New("sql: a log without a topic prefix or partitions cannot be recorded")
	}
	return s.transact(ctx, "move to another log", func(ctx context.Context, tx *sqlx.Tx) error {
		began, err := readCursor(ctx, tx, 0)
		if err != nil {
			return err
		}
		if len(began) != len(move.Ends) {
			if _, err := tx.ExecContext(ctx, forgetCursors); err != nil {
				return err
			}
		}
		for partition, end := range move.Ends {
			if _, err := tx.ExecContext(ctx, moveErasures, partition, move.Generation, end); err != nil {
				return fmt.Errorf("erasures: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, forgetPartitions); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, moveInstallation, move.To.TopicPrefix, move.To.ClusterID, rand.Text(), s.now().UnixMilli())
		return err
	})
}
