package kafka

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// sessionRecord is a record of the sessions topic at a place.
func sessionRecord(t *testing.T, offset int64, r domain.SessionRecord) *recordbatch.StoredRecord {
	t.Helper()
	value, err := encodeSession(r)
	if err != nil {
		t.Fatal(err)
	}
	return &recordbatch.StoredRecord{Partition: 4, Offset: offset, Time: time.UnixMilli(offset), Value: value}
}

// The records of a user stand in one partition, by the same key for every client.
func TestASessionRecordStandsInThePartitionOfItsUser(t *testing.T) {
	const partitions = 7
	_, cluster, _ := logtest.Controlled(t, partitions)
	appender := testAppender(t, cluster, "log", partitions)
	defer appender.Close(brokertest.Context(t))
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
	err := logclient.ReadTopic(brokertest.Context(t), cluster, logclient.TopicReading{Topic: "log", Logger: brokertest.Logger(t)}, func(r *recordbatch.StoredRecord) error {
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
	log := &appended{}
	nothing := func(error) {}
	sessions, conversations := NewSessions(log), &Conversations{appender: log, own: newOwnMessages()}
	node := domain.Incarnation{1}
	for what, c := range map[string]struct {
		write func()
		want  appending.Owner
	}{
		"a session": {func() {
			sessions.Append(domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: 7, Count: 1}, nothing)
		}, appending.OwnedBy(7)},
		"a beat": {func() {
			sessions.Append(domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: node}, nothing)
		}, appending.Owner{}},
		"a burial": {func() { sessions.Bury(node, nothing) }, appending.Owner{}},
		"a message": {func() {
			conversations.Append(domain.Event{Body: domain.ChatMessage{From: 9, To: 3, Text: mustText(t, "m")}}, nothing)
		}, appending.OwnedBy(9)},
		"a system message": {func() {
			conversations.Append(domain.Event{Body: domain.SystemMessage{To: 3, Text: mustText(t, "m")}}, nothing)
		}, appending.OwnedBy(int64(domain.System))},
	} {
		log.values = nil
		if c.write(); len(log.values) != 1 || log.owner != c.want {
			t.Errorf("%s: %d records, owned by %+v, not %+v", what, len(log.values), log.owner, c.want)
		}
	}
	var outcome error
	conversations.Append(domain.Event{}, func(err error) { outcome = err })
	if codeOf(outcome) != domain.CodeInternal {
		t.Errorf("an event of nothing comes to %v", outcome)
	}
}

// appended is an appender to one partition that takes down what it is given.
type appended struct {
	owner  appending.Owner
	values [][]byte
}

func (a *appended) AppendAs(owner appending.Owner, _ int, r recordbatch.Record, _ func(error)) {
	a.owner, a.values = owner, append(a.values, r.Value)
}
func (a *appended) PartitionOf([]byte) int { return 0 }
func (a *appended) Partitions() int        { return 1 }
func (a *appended) Topic() string          { return "topic" }

// attached is a connection that takes down why it is closed.
type attached struct {
	application.Connection

	closed []port.CloseReason
}

func (a *attached) Refuse(error)                  {}
func (a *attached) Close(reason port.CloseReason) { a.closed = append(a.closed, reason) }

// gathering is a connection that takes down what it is told, in short.
type gathering struct {
	application.Connection

	told []string
}

func (g *gathering) Gather()                                { g.told = append(g.told, "gather") }
func (g *gathering) Flush()                                 { g.told = append(g.told, "flush") }
func (g *gathering) Has(port.Feature) bool                  { return false }
func (g *gathering) Deliver([]byte, domain.ClientMessageID) { g.told = append(g.told, "deliver") }

// What an answer of the log brings to a connection leaves in one write.
func TestTheFramesOfAnAnswerLeaveTogether(t *testing.T) {
	delivery := delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now))
	conn := &gathering{}
	attachment := delivery.Attach(9, conn)
	attachment.Activate(nil, []int64{0})
	attachment.Release()
	tail := &ConversationTail{Delivery: delivery, From: map[int]int64{0: 0}, Logger: brokertest.Logger(t)}
	for answer := range 2 {
		for offset := range int64(2) {
			_, value := saidBy9(t, fmt.Sprint(answer, offset))
			tail.Record(&recordbatch.StoredRecord{Offset: 2*int64(answer) + offset, Time: time.Now(), Key: []byte("9:10"), Value: value})
		}
		tail.BatchEnd(0, 2*int64(answer)+2)
	}
	answer := []string{"gather", "deliver", "deliver", "flush"}
	if want := slices.Concat(answer, answer); !slices.Equal(conn.told, want) {
		t.Errorf("it is told %q, want %q", conn.told, want)
	}
}

func TestAHoleClosesTheConnectionsAndLeftOutRecordsDoNot(t *testing.T) {
	delivery := delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now))
	conn := &attached{}
	delivery.Attach(9, conn)
	tail := &ConversationTail{Delivery: delivery, From: map[int]int64{0: 100}, Logger: brokertest.Logger(t)}
	tail.LeftOut(recordbatch.LeftOut{Partition: 0, From: 100, To: 110})
	tail.BatchEnd(0, 110)
	if len(conn.closed) != 0 {
		t.Errorf("what no node wrote closes with %v", conn.closed)
	}
	tail.Hole(0, 110, 120)
	if !slices.Equal(conn.closed, []port.CloseReason{port.CloseHole}) || tail.From[0] != 100 {
		t.Errorf("a hole closes with %v, and delivery begins at %d", conn.closed, tail.From[0])
	}
	tail.Hole(0, 120, 5)
	if len(conn.closed) != 2 || tail.From[0] != 5 {
		t.Errorf("a topic made anew closes with %v, and delivery begins at %d", conn.closed, tail.From[0])
	}
	lost := 0
	sessions := &SessionTail{Lost: func() { lost++ }}
	sessions.LeftOut(recordbatch.LeftOut{})
	sessions.BatchEnd(0, 5)
	if sessions.Hole(0, 5, 7); lost != 1 {
		t.Errorf("presence is lost %d times", lost)
	}
}

// judged is an delivery.InviteJudge that takes down what it is told.
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
	value, err := EncodeEvent(domain.Event{
		ID: domain.DerivedID("test", "x"), Time: time.Now(), Body: domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
	})
	if err != nil {
		t.Fatal(err)
	}
	judge := &judged{}
	var delivered readings
	tail := &ConversationTail{
		Delivery: delivery.NewDelivery(&delivered, judge, notice.NewLog(brokertest.Logger(t), time.Now)), From: map[int]int64{3: 100}, Logger: brokertest.Logger(t),
	}
	for _, offset := range []int64{99, 100} {
		tail.Record(&recordbatch.StoredRecord{Partition: 3, Offset: offset, Key: []byte("9:10"), Value: value})
	}
	tail.Hole(3, 101, 5)
	if want := []string{"domain.GameInvite in 3", "domain.GameInvite in 3", "restart of 3"}; !slices.Equal(judge.told, want) || delivered != 1 {
		t.Errorf("invites are told %q, and %d records are delivered", judge.told, delivered)
	}
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
		"a read mark":      {domain.ReadMark{Reader: 9, Partner: 10, Message: domain.DerivedID("test", "m")}, false},
		"a system message": {domain.SystemMessage{To: 9, Text: mustText(t, "m")}, false},
	} {
		value, err := EncodeEvent(domain.Event{ID: domain.DerivedID("test", what), Time: at, Body: c.body, ClientMessageID: domain.ClientMessageID("nnnnnnnnnnnnnnnn")})
		if err != nil {
			t.Fatal(err)
		}
		if got := ConcernsInvites(value); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
	if ConcernsInvites(nil) || ConcernsInvites([]byte("{")) {
		t.Error("what is no event concerns invites")
	}
	if _, _, err := (&conversationRecord{record: &recordbatch.StoredRecord{}, conversation: domain.Between(9, 10)}).Open(); err == nil {
		t.Error("a record without a value opens")
	}
}
