package presence

import (
	"fmt"
	"time"

	"chatting/domain"
)

// Event is a transition as the public presence topic reports it. Its id is derived from where the transition
// stands in the sessions topic, so that a repetition carries the same one.
type Event struct {
	ID         domain.EventID
	Transition domain.Transition
}

// AuditPresence derives the public events of one partition of the sessions topic. It is not safe for concurrent use.
type AuditPresence struct {
	partition int
	sessions  *domain.Sessions
}

// NewAuditPresence begins a partition with everybody offline.
func NewAuditPresence(partition int) *AuditPresence {
	return &AuditPresence{partition: partition, sessions: domain.NewSessions()}
}

// Rebuild takes over a record whose transitions were published before.
func (a *AuditPresence) Rebuild(record domain.SessionRecord, at time.Time) {
	a.sessions.Apply(record, at)
}

// Apply takes over the record at offset and returns the events that it causes.
func (a *AuditPresence) Apply(offset int64, record domain.SessionRecord, at time.Time) []Event {
	transitions := a.sessions.Apply(record, at)
	events := make([]Event, 0, len(transitions))
	for _, transition := range transitions {
		// The time tells a topic made anew, whose offsets start again, from the earlier one.
		name := fmt.Sprintf("%d:%d:%d:%d", a.partition, offset, transition.User, at.UnixMilli())
		events = append(events, Event{ID: domain.DerivedID("presence", name), Transition: transition})
	}
	return events
}
