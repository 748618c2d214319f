package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// auditing is an auditor of partition 4 that publishes from offset 10 on, over a topic of one partition.
type auditing struct {
	*auditor

	t       *testing.T
	cluster *logclient.Cluster
	topic   string
	stopped bool

	mu        sync.Mutex
	commits   []int64         // of partition 4
	requests  []map[int]int64 // those of all
	refuse    error
	partition *auditedPartition
}

func newAuditing(t *testing.T) *auditing {
	t.Helper()
	_, cluster, topic := logtest.Controlled(t, 1)
	a := &auditing{t: t, cluster: cluster, topic: topic}
	setPresence := testAppender(t, cluster, topic, 1)
	t.Cleanup(func() { setPresence.Close(brokertest.Context(t)) })
	a.partition = &auditedPartition{audit: presence.NewAuditPresence(4), publishFrom: 10, committed: 10, committedAt: time.Now()}
	a.auditor = &auditor{
		options: AuditOptions{Presence: setPresence, Logger: brokertest.Logger(t)}, ctx: t.Context(),
		commit:     a.committed,
		partitions: map[int]*auditedPartition{4: a.partition}, stop: func() { a.stopped = true },
	}
	return a
}

// committed takes down a commit.
func (a *auditing) committed(_ context.Context, offsets map[int]int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, maps.Clone(offsets))
	if a.refuse != nil {
		return a.refuse
	}
	if offset, ok := offsets[4]; ok {
		a.commits = append(a.commits, offset)
	}
	return nil
}

func (a *auditing) session(offset int64, kind domain.SessionKind, user domain.UserID) {
	a.t.Helper()
	a.Record(sessionRecord(a.t, offset, domain.SessionRecord{Kind: kind, Incarnation: domain.Incarnation{1}, User: user, Count: 1}))
}

// through ends an answer in which partition 4 was read up to next.
func (a *auditing) through(next int64) {
	a.BatchEnd(4, next)
	a.settleAll()
}

func (a *auditing) want(when string, published []string, commits ...int64) {
	a.t.Helper()
	var values []string
	err := logclient.ReadTopic(brokertest.Context(a.t), a.cluster, logclient.TopicReading{Topic: a.topic, Logger: brokertest.Logger(a.t)}, func(r *recordbatch.StoredRecord) error {
		values = append(values, string(r.Value))
		if !strings.Contains(string(r.Value), `"subject":"`+string(r.Key)+`"`) {
			a.t.Errorf("the key %s is not the user's of %s", r.Key, r.Value)
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if events, _ := presenceOf(a.t, values); !slices.Equal(events, published) || !slices.Equal(a.commits, commits) {
		a.t.Errorf("%s: published are %q and committed %v; want %q and %v", when, events, a.commits, published, commits)
	}
}

func TestTheAuditCommitsWhatIsDurableAndElseNowAndThen(t *testing.T) {
	a := newAuditing(t)
	a.session(8, domain.SessionUp, 7) // published before
	a.through(9)
	a.through(10)
	a.partition.committedAt = time.Time{}
	a.through(10)
	a.want("before its place", nil)
	a.partition.committedAt = time.Now()
	a.session(10, domain.SessionDown, 7)
	a.session(11, domain.SessionUp, 8)
	a.through(12)
	both := []string{"7 offline", "8 online"}
	a.want("with something published", both, 12)
	a.Record(&recordbatch.StoredRecord{Partition: 4, Offset: 12, Value: []byte("poison")})
	a.session(13, domain.SessionUp, 8) // again
	a.through(14)
	a.want("with nothing published", both, 12)
	a.partition.committedAt = time.Now().Add(-commitInterval)
	a.through(15)
	a.want("with nothing published for a while", both, 12, 15)
	if age := time.Since(a.partition.committedAt); age > time.Minute/2 {
		t.Errorf("it commits again after %s", age)
	}
	a.Hole(4, 15, 20)
	a.session(18, domain.SessionDown, 8)
	a.through(19)
	a.want("behind a hole", append(both, "8 offline"), 12, 15, 19)
	a.Hole(4, 20, 3) // made anew
	a.session(2, domain.SessionUp, 9)
	a.session(3, domain.SessionUp, 6)
	a.through(4)
	a.want("in a topic made anew", append(both, "8 offline", "6 online"), 12, 15, 19, 4)
	if a.err != nil || a.stopped {
		t.Errorf("it fails with %v", a.err)
	}
}

func TestTheAuditCommitsAllPartitionsOfAnAnswerTogether(t *testing.T) {
	a := newAuditing(t)
	a.partitions[5] = &auditedPartition{audit: presence.NewAuditPresence(5), committedAt: time.Now()}
	a.partitions[6] = &auditedPartition{audit: presence.NewAuditPresence(6), committedAt: time.Now()}
	a.session(10, domain.SessionUp, 7)
	a.BatchEnd(4, 11)
	other := sessionRecord(t, 3, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: 8, Count: 1})
	other.Partition = 5
	a.Record(other)
	a.BatchEnd(5, 4)
	a.BatchEnd(6, 2) // nothing was published
	if len(a.requests) > 0 {
		t.Errorf("before the answer is through, it commits %v", a.requests)
	}
	a.settleAll()
	a.want("once it is through", []string{"7 online", "8 online"}, 11)
	if want := []map[int]int64{{4: 11, 5: 4}}; !slices.EqualFunc(a.requests, want, maps.Equal) {
		t.Errorf("committed %v, want %v", a.requests, want)
	}
	a.settleAll()
	if len(a.requests) != 1 {
		t.Errorf("without anything new, it commits %v", a.requests[1:])
	}
}

// The audit starts over from what is committed: nothing behind a failure may be published or committed.
func TestAnAuditThatFailsDoesNothingMore(t *testing.T) {
	away := errors.New("away")
	for what, fail := range map[string]func(*auditing){
		"a commit": func(a *auditing) { a.refuse = kafkago.IllegalGeneration },
		"an append": func(a *auditing) {
			outcome := make(chan error, 1)
			outcome <- away
			a.partition.outcomes = append(a.partition.outcomes, outcome)
		},
	} {
		a := newAuditing(t)
		a.session(10, domain.SessionUp, 7)
		fail(a)
		a.through(11)
		if a.err == nil || !a.stopped || !errors.Is(a.err, kafkago.IllegalGeneration) && !errors.Is(a.err, away) {
			t.Errorf("%s: it goes on, with %v", what, a.err)
		}
		a.refuse = nil
		a.session(11, domain.SessionUp, 8)
		a.through(12)
		a.want(what, []string{"7 online"})
	}
	a := newAuditing(t)
	ended, end := context.WithCancel(t.Context())
	end()
	a.ctx = ended
	a.partition.outcomes = append(a.partition.outcomes, make(chan error))
	a.through(11)
	a.want("an append without an outcome", nil)
}
