package kafka

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"chatting/application"
	"chatting/domain"
)

// Sessions is the topic of session records as the use cases know it: application.SessionLog.
type Sessions struct{ appender *Appender }

// NewSessions makes a topic's appender the session log. The caller closes the appender.
func NewSessions(appender *Appender) *Sessions { return &Sessions{appender: appender} }

var _ application.SessionLog = (*Sessions)(nil)

// Append implements application.SessionLog.
func (s *Sessions) Append(r domain.SessionRecord, done func(error)) {
	partition, key := 0, []byte(r.Incarnation.String())
	if r.User != 0 {
		key = []byte(r.User.String())
		partition = s.appender.PartitionOf(key)
	}
	s.append(partition, key, r, done)
}

// Bury implements application.SessionLog.
func (s *Sessions) Bury(incarnation domain.Incarnation, done func(error)) {
	all := &joinedOutcome{left: s.Partitions(), done: done}
	for partition := range s.Partitions() {
		r := domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation}
		s.append(partition, []byte(incarnation.String()), r, all.add)
	}
}

// joinedOutcome makes one outcome of several: the first error that came, if any, once all are there.
type joinedOutcome struct {
	done func(error)

	mu   sync.Mutex
	left int
	err  error
}

func (j *joinedOutcome) add(err error) {
	j.mu.Lock()
	if j.err == nil {
		j.err = err
	}
	j.left--
	last, outcome := j.left == 0, j.err
	j.mu.Unlock()
	if last {
		j.done(outcome)
	}
}

func (s *Sessions) append(partition int, key []byte, r domain.SessionRecord, done func(error)) {
	value, err := encodeSession(r)
	if err != nil {
		done(domain.WrapError(domain.CodeInternal, "The session record could not be encoded.", err))
		return
	}
	// What nodes say of themselves has no owner: no user must be able to keep it out.
	appended := record{key: key, value: value}
	if r.User != 0 {
		appended.owner = ownedBy(r.User)
	}
	s.appender.appendTo(partition, appended, done)
}

// PartitionOf implements application.SessionLog.
func (s *Sessions) PartitionOf(user domain.UserID) int {
	return s.appender.PartitionOf([]byte(user.String()))
}

// Partitions implements application.SessionLog.
func (s *Sessions) Partitions() int { return s.appender.Partitions() }

// SessionTail hands session records to presence: the handler of the node's tail.
type SessionTail struct {
	Presence *application.SetPresence
	Notices  *application.Notices
	// HistoryWanted is called when somebody waits for the history; nil if this node projects none.
	HistoryWanted func()
	// Lost is called when records were lost: presence can no longer be trusted.
	Lost func()
}

// Record implements TailHandler.
func (t *SessionTail) Record(r *TailRecord) {
	record, err := readSession(r)
	if err != nil {
		t.Notices.Warn("skipped a record of the sessions topic",
			slog.Int("partition", r.Partition), slog.Int64("offset", r.Offset), slog.Any("error", err))
		return
	}
	if record.Kind == domain.HistoryWanted {
		if t.HistoryWanted != nil {
			t.HistoryWanted()
		}
		return
	}
	t.Presence.Apply(r.Partition, record, r.Time)
}

// BatchEnd implements TailHandler.
func (t *SessionTail) BatchEnd(int, int64) {}

// LeftOut implements TailHandler. No node wrote that, so it says nothing of presence.
func (t *SessionTail) LeftOut(LeftOut) {}

// Hole implements TailHandler.
func (t *SessionTail) Hole(int, int64, int64) { t.Lost() }

func readSession(r *TailRecord) (domain.SessionRecord, error) {
	return decodeSession(r.Value)
}

// Lookback returns where a starting node begins to read a topic (the first record not older than lookback) and up to where
// it must have read before it knows what it has to: who is online, which invites are pending. That is the end of what can be
// read now: a transaction that is open keeps no node from starting.
func Lookback(
	ctx context.Context, cluster *Cluster, topic string, partitions int, lookback time.Duration,
) (from, to map[int]int64, err error) {
	return LookbackFrom(ctx, cluster, topic, partitions, now(), lookback)
}

// LookbackFrom is Lookback for a node that knows better than by its own clock what time it is.
func LookbackFrom(
	ctx context.Context, cluster *Cluster, topic string, partitions int, at time.Time, lookback time.Duration,
) (from, to map[int]int64, err error) {
	numbers := partitionNumbers(partitions)
	starts, err := cluster.listOffsets(ctx, topic, numbers, sinceMillis(at, lookback))
	if err != nil {
		return nil, nil, err
	}
	ends, err := cluster.listOffsets(ctx, topic, numbers, timestampLatest)
	if err != nil {
		return nil, nil, err
	}
	return byPartition(starts), byPartition(ends), nil
}

// sinceMillis returns a time in milliseconds for listOffsets. A clock in 1970 must not make it negative: such are no times.
func sinceMillis(at time.Time, lookback time.Duration) int64 {
	return max(at.Add(-lookback).UnixMilli(), 0)
}

// SessionRetention is for how long the sessions topic holds what happened.
const SessionRetention = time.Hour

// Unburied returns the nodes that gave a sign of life in partition 0 of the sessions topic before an offset, where a starting
// node begins to read, and were not buried up to there. When all nodes were away for longer than a starting one reads back,
// nobody else would bury them, and chatting.presence would not tell of the end of their sessions. It reads no further back
// than SessionRetention, however long the topic is kept.
func Unburied(ctx context.Context, cluster *Cluster, topic string, before int64) ([]domain.Incarnation, error) {
	at, err := cluster.logTime(ctx, topic, before)
	if err != nil {
		return nil, err
	}
	starts, err := cluster.listOffsets(ctx, topic, []int{0}, sinceMillis(at, SessionRetention))
	if err != nil {
		return nil, err
	}
	// A node that hung may have given a sign of life after its burial, which counts for ever.
	unburied, buried := make(map[domain.Incarnation]struct{}), make(map[domain.Incarnation]struct{})
	err = cluster.scan(ctx, topic, map[int]int64{0: starts[0]}, map[int]int64{0: before}, func(r *TailRecord) error {
		record, err := readSession(r)
		if err != nil || record.Incarnation == (domain.Incarnation{}) {
			return nil //nolint:nilerr // it says nothing of a node
		}
		if record.Kind == domain.SessionDead {
			buried[record.Incarnation] = struct{}{}
		} else {
			unburied[record.Incarnation] = struct{}{}
		}
		return nil
	})
	for node := range buried {
		delete(unburied, node)
	}
	return slices.Collect(maps.Keys(unburied)), err
}

// logTime returns when the record before an offset of partition 0 was stamped, or what the own clock tells if that is
// earlier or there is none.
func (c *Cluster) logTime(ctx context.Context, topic string, before int64) (time.Time, error) {
	starts, err := c.listOffsets(ctx, topic, []int{0}, timestampEarliest)
	if err != nil || before <= starts[0] {
		return now(), err
	}
	at, err := c.timeOf(ctx, topic, 0, before-1)
	if own := now(); err != nil || at.IsZero() || own.Before(at) {
		return own, err
	}
	return at, nil
}

// EndsOf returns where the committed records of each partition of a topic end now, up to which a tail can read.
func EndsOf(ctx context.Context, cluster *Cluster, topic string, partitions int) (map[int]int64, error) {
	ends, err := cluster.listOffsets(ctx, topic, partitionNumbers(partitions), timestampLatest)
	if err != nil {
		return nil, err
	}
	return byPartition(ends), nil
}

func byPartition(offsets []int64) map[int]int64 {
	m := make(map[int]int64, len(offsets))
	for partition, offset := range offsets {
		m[partition] = offset
	}
	return m
}
