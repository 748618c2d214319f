package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/application"
	"chatting/domain"
)

// sessionRecord is a record of the sessions topic at a place.
func sessionRecord(t *testing.T, offset int64, r domain.SessionRecord) *TailRecord {
	t.Helper()
	value, err := encodeSession(r)
	if err != nil {
		t.Fatal(err)
	}
	return &TailRecord{Partition: 4, Offset: offset, Time: time.UnixMilli(offset), Value: value}
}

// auditing is an auditor of partition 4 that publishes from offset 10 on, over a topic of one partition.
type auditing struct {
	*auditor

	t       *testing.T
	cluster *Cluster
	topic   string
	stopped bool

	mu        sync.Mutex
	commits   []int64
	refuse    int16
	partition *auditedPartition
}

func newAuditing(t *testing.T) *auditing {
	t.Helper()
	broker, cluster, topic := controlledTopic(t)
	a := &auditing{t: t, cluster: cluster, topic: topic}
	broker.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		a.mu.Lock()
		defer a.mu.Unlock()
		commit, _ := request.(*kmsg.OffsetCommitRequest)
		asked := commit.Topics[0].Partitions[0]
		if asked.Partition != 4 || a.refuse == 0 {
			a.commits = append(a.commits, asked.Offset)
		}
		response, _ := commit.ResponseKind().(*kmsg.OffsetCommitResponse)
		response.Topics = []kmsg.OffsetCommitResponseTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitResponseTopicPartition{
			{Partition: asked.Partition, ErrorCode: a.refuse},
		}}}
		return response, nil, true
	})
	presence := testAppender(t, cluster, topic, 1)
	t.Cleanup(func() { presence.Close(testContext(t)) })
	a.partition = &auditedPartition{audit: application.NewAuditPresence(4), publishFrom: 10, committed: 10, committedAt: time.Now()}
	a.auditor = &auditor{
		options: AuditOptions{Presence: presence, Logger: testLogger(t)}, ctx: t.Context(),
		generation: &generation{cluster: cluster, group: "g", topic: topic, member: "m", id: 4},
		partitions: map[int]*auditedPartition{4: a.partition}, stop: func() { a.stopped = true },
	}
	return a
}

func (a *auditing) session(offset int64, kind domain.SessionKind, user domain.UserID) {
	a.t.Helper()
	a.Record(sessionRecord(a.t, offset, domain.SessionRecord{Kind: kind, Incarnation: domain.Incarnation{1}, User: user, Count: 1}))
}

func (a *auditing) want(when string, published []string, commits ...int64) {
	a.t.Helper()
	var values []string
	err := a.cluster.ReadTopic(testContext(a.t), TopicReading{Topic: a.topic, Logger: testLogger(a.t)}, func(r *TailRecord) error {
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
	a.BatchEnd(4, 9)
	a.BatchEnd(4, 10)
	a.partition.committedAt = time.Time{}
	a.BatchEnd(4, 10)
	a.want("before its place", nil)
	a.partition.committedAt = time.Now()
	a.session(10, domain.SessionDown, 7)
	a.session(11, domain.SessionUp, 8)
	a.BatchEnd(4, 12)
	both := []string{"7 offline", "8 online"}
	a.want("with something published", both, 12)
	a.Record(&TailRecord{Partition: 4, Offset: 12, Value: []byte("poison")})
	a.session(13, domain.SessionUp, 8) // again
	a.BatchEnd(4, 14)
	a.want("with nothing published", both, 12)
	a.partition.committedAt = time.Now().Add(-commitInterval)
	a.BatchEnd(4, 15)
	a.want("with nothing published for a while", both, 12, 15)
	if age := time.Since(a.partition.committedAt); age > time.Minute/2 {
		t.Errorf("it commits again after %s", age)
	}
	a.Hole(4, 15, 20)
	a.session(18, domain.SessionDown, 8)
	a.BatchEnd(4, 19)
	a.want("behind a hole", append(both, "8 offline"), 12, 15, 19)
	a.Hole(4, 20, 3) // made anew
	a.session(2, domain.SessionUp, 9)
	a.session(3, domain.SessionUp, 6)
	a.BatchEnd(4, 4)
	a.want("in a topic made anew", append(both, "8 offline", "6 online"), 12, 15, 19, 4)
	if a.err != nil || a.stopped {
		t.Errorf("it fails with %v", a.err)
	}
}

// The audit starts over from what is committed: nothing behind a failure may be published or committed.
func TestAnAuditThatFailsDoesNothingMore(t *testing.T) {
	away := errors.New("away")
	for what, fail := range map[string]func(*auditing){
		"a commit": func(a *auditing) { a.refuse = int16(kafka.IllegalGeneration) },
		"an append": func(a *auditing) {
			outcome := make(chan error, 1)
			outcome <- away
			a.partition.outcomes = append(a.partition.outcomes, outcome)
		},
	} {
		a := newAuditing(t)
		a.session(10, domain.SessionUp, 7)
		fail(a)
		a.BatchEnd(4, 11)
		if a.err == nil || !a.stopped || !errors.Is(a.err, kafka.IllegalGeneration) && !errors.Is(a.err, away) {
			t.Errorf("%s: it goes on, with %v", what, a.err)
		}
		a.refuse = 0
		a.session(11, domain.SessionUp, 8)
		a.BatchEnd(4, 12)
		a.want(what, []string{"7 online"})
	}
	a := newAuditing(t)
	ended, end := context.WithCancel(t.Context())
	end()
	a.ctx = ended
	a.partition.outcomes = append(a.partition.outcomes, make(chan error))
	a.BatchEnd(4, 11)
	a.want("an append without an outcome", nil)
}

// The records of a user stand in one partition, by the same key for every client.
func TestASessionRecordStandsInThePartitionOfItsUser(t *testing.T) {
	const partitions = 7
	_, m := controlledGroup(t)
	appender := testAppender(t, m.cluster, "log", partitions)
	defer appender.Close(testContext(t))
	sessions := NewSessions(appender)
	node := domain.Incarnation{1}
	await := func(write func(func(error))) {
		t.Helper()
		outcome := make(chan error, 1)
		write(func(err error) { outcome <- err })
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	}
	user := domain.UserID(12)
	if sessions.PartitionOf(user) == 0 || sessions.Partitions() != partitions {
		t.Fatalf("user %d is in partition %d of %d", user, sessions.PartitionOf(user), sessions.Partitions())
	}
	await(func(done func(error)) {
		sessions.Append(domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: 1}, done)
	})
	await(func(done func(error)) {
		sessions.Append(domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: node}, done)
	})
	await(func(done func(error)) { sessions.Bury(node, done) })
	got := make(map[int][]string)
	err := m.cluster.ReadTopic(testContext(t), TopicReading{Topic: "log", Logger: testLogger(t)}, func(r *TailRecord) error {
		record, err := decodeSession(r.Value)
		got[r.Partition] = append(got[r.Partition], fmt.Sprintf("%s %s of %d", r.Key, record.Kind, record.User))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		want := []string{node.String() + " dead of 0"}
		switch p {
		case 0:
			want = append([]string{node.String() + " beat of 0"}, want...)
		case sessions.PartitionOf(user):
			want = append([]string{"12 up of 12"}, want...)
		}
		if !slices.Equal(got[p], want) {
			t.Errorf("partition %d holds %q, not %q", p, got[p], want)
		}
	}
}

// A burial counts once it stands in every partition.
func TestABurialEndsOnceWithTheFirstErrorOfAllPartitions(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	for what, c := range map[string]struct {
		outcomes []error
		want     error
	}{
		"all":      {[]error{nil, nil, nil}, nil},
		"one not":  {[]error{nil, first, nil}, first},
		"two not":  {[]error{first, nil, second}, first},
		"the last": {[]error{nil, nil, second}, second},
	} {
		var told []error
		j := &joinedOutcome{left: len(c.outcomes), done: func(err error) { told = append(told, err) }}
		for i, outcome := range c.outcomes {
			if len(told) > 0 {
				t.Errorf("%s: it ends after %d partitions", what, i)
			}
			j.add(outcome)
		}
		if len(told) != 1 || !errors.Is(told[0], c.want) {
			t.Errorf("%s: it ends with %v", what, told)
		}
	}
}

// A user must not be able to keep out what nodes say of themselves, nor what others say.
func TestWhoOwnsARecord(t *testing.T) {
	_, m := controlledGroup(t)
	options := AppenderOptions{Topic: "log", Partitions: 1, Deadline: time.Minute, QueueBytes: 1 << 20, Now: time.Now, Logger: testLogger(t)}
	appender := &Appender{options: options, numbers: partitionNumbers(1), lanes: []*lane{newLane(m.cluster, options, 0)}} // nobody sends
	ownerOf := func(write func()) owner {
		t.Helper()
		write()
		queue := appender.lanes[0].queue
		return queue[len(queue)-1].record.owner
	}
	nothing := func(error) {}
	sessions, conversations := NewSessions(appender), NewConversations(m.cluster, appender)
	node := domain.Incarnation{1}
	for what, c := range map[string]struct {
		write func()
		want  owner
	}{
		"a session": {func() {
			sessions.Append(domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: 7, Count: 1}, nothing)
		}, ownedBy(7)},
		"a beat":   {func() { sessions.Append(domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: node}, nothing) }, owner{}},
		"a burial": {func() { sessions.Bury(node, nothing) }, owner{}},
		"a message": {func() {
			conversations.Append(domain.Event{Body: domain.ChatMessage{From: 9, To: 3, Text: mustText(t, "m")}}, nothing)
		}, ownedBy(9)},
		"a system message": {func() {
			conversations.Append(domain.Event{Body: domain.SystemMessage{To: 3, Text: mustText(t, "m")}}, nothing)
		}, ownedBy(domain.System)},
	} {
		if got := ownerOf(c.write); got != c.want {
			t.Errorf("%s: it is owned by %+v, not %+v", what, got, c.want)
		}
	}
	var outcome error
	conversations.Append(domain.Event{}, func(err error) { outcome = err })
	if codeOf(outcome) != domain.CodeInternal {
		t.Errorf("an event of nothing comes to %v", outcome)
	}
}

// attached is a connection that takes down why it is closed.
type attached struct {
	application.Connection

	closed []application.CloseReason
}

func (a *attached) Close(reason application.CloseReason) { a.closed = append(a.closed, reason) }

func TestAHoleClosesTheConnectionsAndLeftOutRecordsDoNot(t *testing.T) {
	delivery := application.NewDelivery(nobodyWaits{}, application.NewInvites(), application.NewNotices(testLogger(t), now))
	conn := &attached{}
	delivery.Attach(9, conn)
	tail := &ConversationTail{Delivery: delivery, From: map[int]int64{0: 100}, Logger: testLogger(t)}
	tail.LeftOut(LeftOut{Partition: 0, From: 100, To: 110})
	tail.BatchEnd(0, 110)
	if len(conn.closed) != 0 {
		t.Errorf("what no node wrote closes with %v", conn.closed)
	}
	tail.Hole(0, 110, 120)
	if !slices.Equal(conn.closed, []application.CloseReason{application.CloseHole}) || tail.From[0] != 100 {
		t.Errorf("a hole closes with %v, and delivery begins at %d", conn.closed, tail.From[0])
	}
	tail.Hole(0, 120, 5)
	if len(conn.closed) != 2 || tail.From[0] != 5 {
		t.Errorf("a topic made anew closes with %v, and delivery begins at %d", conn.closed, tail.From[0])
	}
	lost := 0
	sessions := &SessionTail{Lost: func() { lost++ }}
	sessions.LeftOut(LeftOut{})
	sessions.BatchEnd(0, 5)
	if sessions.Hole(0, 5, 7); lost != 1 {
		t.Errorf("presence is lost %d times", lost)
	}
}

// judged is an application.InviteJudge that takes down what it is told.
type judged struct{ told []string }

func (j *judged) Judge(partition int, event domain.Event, _ time.Time) domain.InviteVerdict {
	j.told = append(j.told, fmt.Sprintf("%T in %d", event.Body, partition))
	return domain.InviteStands
}

func (j *judged) Restart(partition int) {
	j.told = append(j.told, fmt.Sprint("restart of ", partition))
}

// A node that starts knows the invites from before it, and forgets those of a topic that is gone.
func TestInvitesFromBeforeTheStartAreRecalled(t *testing.T) {
	value, err := encodeEvent(domain.Event{
		ID: domain.DerivedID("test", "x"), Time: now(), Body: domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
	})
	if err != nil {
		t.Fatal(err)
	}
	judge := &judged{}
	var delivered readings
	tail := &ConversationTail{
		Delivery: application.NewDelivery(&delivered, judge, application.NewNotices(testLogger(t), now)), From: map[int]int64{3: 100}, Logger: testLogger(t),
	}
	for _, offset := range []int64{99, 100} {
		tail.Record(&TailRecord{Partition: 3, Offset: offset, Key: []byte("9:10"), Value: value})
	}
	tail.Hole(3, 101, 5)
	if want := []string{"domain.GameInvite in 3", "domain.GameInvite in 3", "restart of 3"}; !slices.Equal(judge.told, want) || delivered != 1 {
		t.Errorf("invites are told %q, and %d records are delivered", judge.told, delivered)
	}
}

func TestWhoAsksForEndsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan int64)
		asking := func(name string) *endOffsets {
			return &endOffsets{topic: name, ask: func(context.Context, string, []int) ([]int64, error) {
				return []int64{<-answer}, nil
			}}
		}
		tail := NewTail(nil, TailOptions{From: map[int]int64{0: 5}, Handler: &tailEvents{}, Logger: testLogger(t)})
		barrier := &ReadBarrier{ends: asking("barrier"), tail: tail}
		conversations := &Conversations{ends: asking("ends"), readable: readableEnds{asking("readable")}}
		for what, c := range map[string]struct {
			ask   func(context.Context) error
			close func()
		}{
			"the barrier":   {barrier.Wait, barrier.Close},
			"the ends":      {func(ctx context.Context) error { _, err := conversations.EndOffsets(ctx); return err }, conversations.Close},
			"what is there": {func(ctx context.Context) error { _, err := conversations.Readable().EndOffsets(ctx); return err }, conversations.Close},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			gaveUp := make(chan error)
			go func() { gaveUp <- c.ask(ctx) }()
			synctest.Wait()
			cancel()
			if err := <-gaveUp; err == nil {
				t.Errorf("%s: who does not wait any longer gets no error", what)
			}
			closed := make(chan struct{})
			go func() { c.close(); close(closed) }()
			synctest.Wait()
			select {
			case <-closed:
				t.Errorf("%s: the request under way is left behind", what)
			default:
			}
			answer <- 5
			<-closed
		}
		// The barrier lets through once the tail is there.
		passed := make(chan error, 1)
		go func() { passed <- barrier.Wait(t.Context()) }()
		answer <- 6
		synctest.Wait()
		if len(passed) > 0 {
			t.Error("the barrier does not wait for the tail")
		}
		tail.move(tail.partitions[0], 6, true)
		if err := <-passed; err != nil {
			t.Error(err)
		}
		barrier.Close()
	})
}

func TestBlocksAndInvitesShowInTheHeadOfTheirRecords(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		body domain.Body
		want bool
	}{
		"a message":        {domain.ChatMessage{From: 9, To: 10, Text: mustText(t, `"type":"chatting.invite_game`)}, false},
		"an invite":        {domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled}, true},
		"a block":          {domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 1}, true},
		"an unblock":       {domain.BlockChanged{Blocker: 9, Target: 10, Version: 2}, true},
		"a system message": {domain.SystemMessage{To: 9, Text: mustText(t, "m")}, false},
	} {
		value, err := encodeEvent(domain.Event{ID: domain.DerivedID("test", what), Time: at, Body: c.body, ClientMessageID: domain.ClientMessageID("nnnnnnnnnnnnnnnn")})
		if err != nil {
			t.Fatal(err)
		}
		if got := concernsInvites(value); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
	if concernsInvites(nil) || concernsInvites([]byte("{")) {
		t.Error("what is no event concerns invites")
	}
	if _, _, err := (conversationRecord{record: &TailRecord{}, conversation: domain.Between(9, 10)}).Open(); err == nil {
		t.Error("a record without a value opens")
	}
}
