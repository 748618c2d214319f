package kafka

import (
	"log/slog"
	"strconv"
	"sync"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

// Sessions is the topic of session records as the use cases know it: port.SessionLog.
type Sessions struct{ appender appender }

// NewSessions makes a topic's appender the session log. The caller closes the appender.
func NewSessions(appender appender) *Sessions { return &Sessions{appender: appender} }

var _ port.SessionLog = (*Sessions)(nil)

// Append implements port.SessionLog.
func (s *Sessions) Append(r domain.SessionRecord, done func(error)) {
	partition, key := 0, []byte(r.Incarnation.String())
	if r.User != 0 {
		key = []byte(r.User.String())
		partition = s.appender.PartitionOf(key)
	}
	s.append(partition, key, r, done)
}

// Bury implements port.SessionLog.
func (s *Sessions) Bury(incarnation domain.Incarnation, done func(error)) {
	all := &joinedOutcome{left: s.Partitions(), done: done}
	for partition := range s.Partitions() {
		r := domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation}
		s.append(partition, []byte(incarnation.String()), r, all.add)
	}
}

// joinedOutcome makes one outcome of several: their first error, once all have come.
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
	// Records of nodes have no owner: no user can keep them out.
	var owner appending.Owner
	if r.User != 0 && r.Kind != domain.ConnectionsAsked {
		owner = appending.OwnedBy(int64(r.User))
	}
	s.appender.AppendAs(owner, partition, recordbatch.Record{Key: key, Value: value}, done)
}

// PartitionOf implements port.SessionLog.
func (s *Sessions) PartitionOf(user domain.UserID) int {
	return s.appender.PartitionOf(strconv.AppendInt(make([]byte, 0, 20), int64(user), 10))
}

// Partitions implements port.SessionLog.
func (s *Sessions) Partitions() int { return s.appender.Partitions() }

// SessionTail hands session records to presence: the handler of the node's tail.
type SessionTail struct {
	Presence *presence.SetPresence
	Notices  *notice.Log
	// FlushWanted is called when somebody waits for the history; nil if this node projects none.
	FlushWanted func()
	// Connections are asked and told where users are connected; nil if nobody asks.
	Connections *ConnectionQuestions
	// Lost is called when records were lost: presence can no longer be trusted.
	Lost func()
}

// Record implements logclient.TailHandler.
func (t *SessionTail) Record(r *recordbatch.StoredRecord) {
	record, err := decodeSession(r.Value)
	if err != nil {
		t.Notices.Warn("skipped a record of the sessions topic",
			slog.Int("partition", r.Partition), slog.Int64("offset", r.Offset), slog.Any("error", err))
		return
	}
	switch record.Kind { //nolint:exhaustive // the others are about presence
	case domain.FlushWanted:
		if t.FlushWanted != nil {
			t.FlushWanted()
		}
		return
	case domain.ConnectionsAsked, domain.ConnectionsTold:
		if t.Connections != nil {
			t.Connections.read(record)
		}
		return
	}
	t.Presence.Apply(r.Partition, record, r.Time)
}

// BatchEnd implements logclient.TailHandler.
func (t *SessionTail) BatchEnd(int, int64) {}

// LeftOut implements logclient.TailHandler. No node wrote that, so it says nothing of presence.
func (t *SessionTail) LeftOut(recordbatch.LeftOut) {}

// Hole implements logclient.TailHandler.
func (t *SessionTail) Hole(int, int64, int64) { t.Lost() }
