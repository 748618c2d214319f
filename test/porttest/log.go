package porttest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Fate is what becomes of an append.
type Fate int

// topic is an ordered log in memory. Its fate decides about each append; nil confirms all.
type topic[T any] struct {
	Mu      sync.Mutex
	grown   *sync.Cond
	closed  bool
	Records [][]T
	fate    func(T) Fate
	Waiting []func() // what release does, under no lock
}

func newTopic[T any](partitions int) *topic[T] {
	t := &topic[T]{Records: make([][]T, partitions)}
	t.grown = sync.NewCond(&t.Mu)
	return t
}

// Put appends as the fate says. Callers may share no lock with done.
func (t *topic[T]) Put(partition int, value T, done func(error)) {
	t.Mu.Lock()
	what := Confirmed
	if t.fate != nil {
		what = t.fate(value)
	}
	var outcome error
	switch what {
	case Confirmed:
		t.Add(partition, value)
	case Refused:
		outcome = ErrRefused
	case Lost:
		outcome = ErrUnconfirmed
	case Late:
		outcome = ErrUnconfirmed
		t.Waiting = append(t.Waiting, func() {
			t.Mu.Lock()
			defer t.Mu.Unlock()
			t.Add(partition, value)
		})
	case Delayed:
		t.Waiting = append(t.Waiting, func() {
			t.Mu.Lock()
			t.Add(partition, value)
			t.Mu.Unlock()
			done(nil)
		})
		t.Mu.Unlock()
		return
	}
	t.Mu.Unlock()
	done(outcome)
}

func (t *topic[T]) Add(partition int, value T) {
	t.Records[partition] = append(t.Records[partition], value)
	t.grown.Broadcast()
}

// Decide sets the fate of appends from now on.
func (t *topic[T]) Decide(fate func(T) Fate) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	t.fate = fate
}

// Release puts what waits into the log, in its order, and confirms what is to be confirmed.
func (t *topic[T]) Release() {
	t.Mu.Lock()
	waiting := t.Waiting
	t.Waiting = nil
	t.Mu.Unlock()
	for _, do := range waiting {
		do()
	}
}

// All returns a partition's records so far.
func (t *topic[T]) All(partition int) []T {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	return slices.Clone(t.Records[partition])
}

// Follow calls f with the records of every partition, in order, one goroutine in all, until the topic is closed or stop.
// The returned function waits for its end.
func (t *topic[T]) Follow(f func(partition, offset int, value T)) (stop func()) {
	var stopped bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		next := make([]int, len(t.Records))
		for {
			t.Mu.Lock()
			partition := -1
			for partition < 0 {
				if stopped || t.closed {
					t.Mu.Unlock()
					return
				}
				for p := range t.Records {
					if next[p] < len(t.Records[p]) {
						partition = p
						break
					}
				}
				if partition < 0 {
					t.grown.Wait()
				}
			}
			value := t.Records[partition][next[partition]]
			t.Mu.Unlock()
			f(partition, next[partition], value)
			next[partition]++
		}
	}()
	return func() {
		t.Mu.Lock()
		stopped = true
		t.grown.Broadcast()
		t.Mu.Unlock()
		<-done
	}
}

// Conversations is a port.ConversationLog and its port.LogEnds.
type Conversations struct{ *topic[domain.Event] }

func NewConversations(partitions int) Conversations {
	return Conversations{newTopic[domain.Event](partitions)}
}

func (c Conversations) PartitionOf(conversation domain.Conversation) int {
	return int((conversation.Low() + 3*conversation.High()) % domain.UserID(len(c.Records)))
}

func (c Conversations) Append(event domain.Event, done func(error)) {
	c.Put(c.PartitionOf(event.Body.Conversation()), event, done)
}

func (c Conversations) EndOffsets(context.Context) ([]int64, error) {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	ends := make([]int64, len(c.Records))
	for p := range c.Records {
		ends[p] = int64(len(c.Records[p]))
	}
	return ends, nil
}

// Seen makes it a history.SeenLog: this node has read everything.
func (c Conversations) Seen() []int64 {
	ends, _ := c.EndOffsets(context.Background())
	return ends
}

// Record is a port.Record of Conversations.
type Record struct {
	At    domain.Place
	Event domain.Event
	Err   error
}

func (r Record) Place() domain.Place { return r.At }

func (r Record) Conversation() domain.Conversation { return r.Event.Body.Conversation() }

// Time is that of the event: the log is a moment later at most.
func (r Record) Time() time.Time { return r.Event.Time }

func (r Record) ConcernsInvites() bool {
	switch r.Event.Body.(type) {
	case domain.GameInvite, domain.BlockChanged:
		return true
	default:
		return false
	}
}

func (r Record) Open() (domain.Event, []byte, error) {
	if _, hidden := r.Event.Body.(domain.BlockChanged); hidden || r.Err != nil {
		return r.Event, nil, r.Err
	}
	return r.Event, FrameOf(r.At), nil
}

// FrameOf stands for a frame's bytes: they tell where its record is.
func FrameOf(at domain.Place) []byte {
	return fmt.Appendf(nil, "%d/%d", at.Partition, at.Offset)
}

// SessionEntry is a session record with the time of its append.
type SessionEntry struct {
	Record domain.SessionRecord
	At     time.Time
}

// SessionTopic is a port.SessionLog. Stamps are its own clock's.
type SessionTopic struct {
	*topic[SessionEntry]
	now port.Clock
}

func NewSessionTopic(partitions int, now port.Clock) *SessionTopic {
	return &SessionTopic{topic: newTopic[SessionEntry](partitions), now: now}
}

func (s *SessionTopic) Partitions() int { return len(s.Records) }

func (s *SessionTopic) PartitionOf(user domain.UserID) int { return int(user) % len(s.Records) }

func (s *SessionTopic) Append(record domain.SessionRecord, done func(error)) {
	partition := 0
	if record.Kind != domain.SessionBeat {
		partition = s.PartitionOf(record.User)
	}
	s.Put(partition, SessionEntry{record, s.now()}, done)
}

func (s *SessionTopic) Bury(incarnation domain.Incarnation, done func(error)) {
	var mu sync.Mutex
	var first error
	left := len(s.Records)
	for partition := range s.Records {
		// The count, which a burial does not use, tells fates which partition it is for.
		entry := SessionEntry{domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation, Count: int64(partition)}, s.now()}
		s.Put(partition, entry, func(err error) {
			mu.Lock()
			if first == nil {
				first = err
			}
			left--
			last := left == 0
			mu.Unlock()
			if last {
				done(first)
			}
		})
	}
}

// Kinds returns the records of a user in the log, without beats and burials, in short: "up1 down1".
func (s *SessionTopic) Kinds(user domain.UserID) string {
	text := ""
	for _, entry := range s.All(s.PartitionOf(user)) {
		switch entry.Record.Kind {
		case domain.SessionUp, domain.SessionDown, domain.SessionAway:
			if entry.Record.User == user {
				text += fmt.Sprintf("%s%d ", entry.Record.Kind, entry.Record.Count)
			}
		}
	}
	if text == "" {
		return ""
	}
	return text[:len(text)-1]
}

const (
	Confirmed Fate = iota // in the log, and the caller is told
	Refused               // CodeUnavailable, and never in the log
	Lost                  // CodeUnconfirmed, and never in the log
	Late                  // CodeUnconfirmed; in the log once released
	Delayed               // nothing yet; in the log and confirmed once released
)

var (
	ErrRefused     = domain.NewError(domain.CodeUnavailable, "refused")
	ErrUnconfirmed = domain.NewError(domain.CodeUnconfirmed, "unconfirmed")
)
