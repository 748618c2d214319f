package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

// Installation keeps to which log the database belongs, how many partitions that has, and whether a server runs on the database.
type Installation struct {
	db      *database.DB
	dialect dialect
	now     func() time.Time
	// held is the log that the database has to belong to; nil before ClaimLog or HoldTo.
	held atomic.Pointer[LogIdentity]
}

// LogIdentity names the log that a database belongs to. The zero value is that of a database between two logs.
type LogIdentity struct {
	TopicPrefix string `db:"topic_prefix"`
	// ClusterID is the id that the Kafka cluster gave itself; "" if it is not known.
	ClusterID string `db:"cluster_id"`
}

// Is tells whether two identities may be of one log. An id that is not known may be any.
func (l LogIdentity) Is(other LogIdentity) bool {
	return l.TopicPrefix == other.TopicPrefix &&
		(l.ClusterID == other.ClusterID || l.ClusterID == "" || other.ClusterID == "")
}

// OtherLogError tells that the database belongs to another log than the one that it is held to.
type OtherLogError struct{ Recorded, Held LogIdentity }

// Error implements error.
func (e *OtherLogError) Error() string {
	return fmt.Sprintf("sql: the database was moved from topic_prefix %q to another log", e.Held.TopicPrefix)
}

const (
	selectInstallation = `SELECT topic_prefix, cluster_id FROM installation`
	recordInstallation = insertInstallation + `NOTHING`
	moveInstallation   = insertInstallation + `
		UPDATE SET topic_prefix = excluded.topic_prefix, cluster_id = excluded.cluster_id, recorded_at = excluded.recorded_at`
	insertInstallation = `
		INSERT INTO installation (one_row, topic_prefix, cluster_id, database_id, recorded_at) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one_row) DO `
	fillInCluster = `UPDATE installation SET cluster_id = $1 WHERE cluster_id = ''`
	countBeat     = `
		INSERT INTO server_beats (one_row, beats) VALUES (1, 1) ON CONFLICT (one_row) DO UPDATE SET beats = server_beats.beats + 1`
	selectBeats      = `SELECT COALESCE(MAX(beats), 0) FROM server_beats`
	selectDatabaseID = `SELECT database_id FROM installation`
	recordPartitions = `
		INSERT INTO topic_partitions (topic, partitions, recorded_at) VALUES ($1, $2, $3) ON CONFLICT (topic) DO NOTHING`
	selectPartitions = `SELECT partitions FROM topic_partitions WHERE topic = $1`
	selectUsedTopics = `SELECT topic FROM topic_partitions ORDER BY recorded_at DESC, topic`
	forgetPartitions = `DELETE FROM topic_partitions`
)

// conversationsSuffix ends the names of the topics by which a database that does not know its log yet tells the prefix.
const conversationsSuffix = ".conversations"

// Log returns the log that the database belongs to: own, the caller's, if it belongs to none yet.
func (i *Installation) Log(ctx context.Context, own LogIdentity) (LogIdentity, error) {
	return database.Ask(ctx, i.db, "read the installation", func(ctx context.Context, db sqlx.QueryerContext) (LogIdentity, error) {
		return recordedLog(ctx, db, own)
	})
}

// DatabaseID returns what tells this database from all others; "" before it belongs to a log.
func (i *Installation) DatabaseID(ctx context.Context) (string, error) {
	return database.Get[string](ctx, i.db, "read the database's id", selectDatabaseID)
}

// ClaimLog lets the database belong to the caller's log, if it belongs to none yet, and returns the one that it belongs to.
// The caller compares. Of several callers at once, one is the first. If the log is the caller's, writes are held to it.
func (i *Installation) ClaimLog(ctx context.Context, own LogIdentity) (log LogIdentity, err error) {
	if own.TopicPrefix == "" {
		return LogIdentity{}, errors.New("sql: a log without a topic prefix cannot be recorded")
	}
	err = i.db.Transact(ctx, "record the installation", func(ctx context.Context, tx *sqlx.Tx) error {
		if log, err = recordedLog(ctx, tx, own); err != nil || !log.Is(own) {
			return err
		}
		if err := i.record(ctx, tx, recordInstallation, own); err != nil {
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
		i.HoldTo(log)
	}
	return log, nil
}

// record writes a log, and the id of the database if it has none.
func (i *Installation) record(ctx context.Context, tx *sqlx.Tx, statement string, log LogIdentity) error {
	_, err := tx.ExecContext(ctx, statement, log.TopicPrefix, log.ClusterID, rand.Text(), i.now().UnixMilli())
	return err
}

// HoldTo lets writes fail once the database belongs to another log.
func (i *Installation) HoldTo(log LogIdentity) { i.held.Store(&log) }

// Beat shows others that a server runs on the database. It fails with an *OtherLogError once the database belongs to another
// log.
func (i *Installation) Beat(ctx context.Context) error {
	_, err := i.db.Exec(ctx, "count a beat", countBeat)
	return err
}

// Beats returns how often servers called Beat.
func (i *Installation) Beats(ctx context.Context) (int64, error) {
	return database.Get[int64](ctx, i.db, "read the beats", selectBeats)
}

// lock fails with an *OtherLogError unless the database belongs to the log that it is held to. Until the transaction ends,
// a move to another log waits.
func (i *Installation) lock(ctx context.Context, tx *sqlx.Tx) error {
	held := i.held.Load()
	if held == nil {
		return nil
	}
	recorded, found, err := database.Find[LogIdentity](ctx, tx, i.dialect.lockInstallation)
	if found && !recorded.Is(*held) { // a version that records no log may have been here last
		return domain.WrapError(domain.CodeUnavailable, "The database is not available.", &OtherLogError{recorded, *held})
	}
	return err
}

// recordedLog returns the log that is recorded. Databases of versions that recorded none know the topics that they were used
// with: if that of own is among them it is own, else the last.
func recordedLog(ctx context.Context, q sqlx.QueryerContext, own LogIdentity) (LogIdentity, error) {
	log, found, err := database.Find[LogIdentity](ctx, q, selectInstallation)
	if found || err != nil {
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

// BeginMove lets the database belong to no log, until MoveToLog: writes of servers on it fail from now on. It waits for those
// under way.
func (i *Installation) BeginMove(ctx context.Context) error {
	return i.db.Transact(ctx, "begin to move to another log", func(ctx context.Context, tx *sqlx.Tx) error {
		return i.record(ctx, tx, moveInstallation, LogIdentity{})
	})
}

// MoveToLog lets the database belong to another log, once the projections have moved, after BeginMove. It forgets the old
// log's partitions, and what it knew of users goes with it as conversations.MoveToLog says.
func (i *Installation) MoveToLog(ctx context.Context, move LogMove) error {
	if move.To.TopicPrefix == "" || len(move.Ends) == 0 {
		return errors.New("sql: a log without a topic prefix or partitions cannot be recorded")
	}
	return i.db.Transact(ctx, "move to another log", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := conversations.MoveToLog(ctx, tx, move.Generation, move.Ends); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, forgetPartitions); err != nil {
			return err
		}
		return i.record(ctx, tx, moveInstallation, move.To)
	})
}

// RecordedPartitions returns how many partitions are recorded for a topic; 0 if none are.
func (i *Installation) RecordedPartitions(ctx context.Context, topic string) (int, error) {
	return database.Get[int](ctx, i.db, "load partitions", selectPartitions, topic)
}

// PartitionCount records that topic has actual partitions, unless a count was recorded before, and returns what is
// recorded. The caller compares: another count moves keys to other partitions, and must not go unnoticed.
func (i *Installation) PartitionCount(ctx context.Context, topic string, actual int) (recorded int, err error) {
	if topic == "" || actual < 1 {
		return 0, fmt.Errorf("sql: topic %q with %d partitions cannot be recorded", topic, actual)
	}
	err = i.db.Write(ctx, "record partitions", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, recordPartitions, topic, actual, i.now().UnixMilli()); err != nil {
			return err
		}
		return tx.GetContext(ctx, &recorded, selectPartitions, topic)
	})
	if err != nil {
		return 0, err
	}
	return recorded, nil
}
