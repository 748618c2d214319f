package kafka

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/domain"
)

func TestNodesThatEndedBeforeWhatIsReadBackAreFound(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(testContext(t))
		beating, serving, left, dead, later := domain.Incarnation{1}, domain.Incarnation{2}, domain.Incarnation{3}, domain.Incarnation{4}, domain.Incarnation{5}
		record := func(kind domain.SessionKind, node domain.Incarnation) domain.SessionRecord {
			return domain.SessionRecord{Kind: kind, Incarnation: node, User: 7, Count: 1}
		}
		before := []domain.SessionRecord{
			record(domain.SessionBeat, beating), record(domain.SessionUp, serving), record(domain.SessionUp, dead),
			record(domain.SessionLeaving, left), record(domain.FriendsChanged, domain.Incarnation{}), record(domain.SessionDead, dead),
			record(domain.SessionBeat, dead), // it hung
		}
		writeSessions(t, sessions, before...)
		writeSessions(t, sessions, record(domain.SessionBeat, later), record(domain.SessionDead, left))
		unburied, err := Unburied(testContext(t), cluster, names.Sessions, int64(len(before)))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(unburied, domain.Incarnation.Compare)
		if want := []domain.Incarnation{beating, serving, left}; !slices.Equal(unburied, want) {
			t.Errorf("found %v, want %v", unburied, want)
		}
		if none, err := Unburied(testContext(t), cluster, names.Sessions, 0); err != nil || len(none) != 0 {
			t.Errorf("before the start there are %v, %v", none, err)
		}
	})
}

// A clock in 1970 would ask for a time before all times, which brokers take for another question or refuse.
func TestTheLookbackOfAClockThatIsWrongIsAnswered(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(testContext(t))
		for range 3 {
			writeSessions(t, sessions, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: domain.Incarnation{1}, Count: 1})
		}
		for name, c := range map[string]struct {
			at   time.Time
			from int64
		}{
			"in 1970":          {time.Unix(60, 0), 0},
			"a day behind":     {time.Now().Add(-24 * time.Hour), 0},
			"right":            {time.Now(), 0},
			"a hundred ahead":  {time.Now().Add(100 * 24 * time.Hour), 3},
			"before all times": {time.Time{}, 0},
		} {
			from, to, err := LookbackFrom(testContext(t), cluster, names.Sessions, 1, c.at, 20*time.Minute)
			if err != nil || from[0] != c.from || to[0] != 3 {
				t.Errorf("%s: from %v to %v, %v, want from %d to 3", name, from, to, err, c.from)
			}
		}
		if at, err := cluster.logTime(testContext(t), names.Sessions, 3); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("the log has come to %s, %v", at, err)
		}
	})
}

// Records are stamped when they are appended, by the clock of the appender.
func TestRecordsAreStampedByTheAppendersClock(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		appender := NewAppender(cluster, AppenderOptions{
			Topic: names.Sessions, Partitions: 1, Deadline: 10 * time.Second, QueueBytes: 1 << 20,
			Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return at },
		})
		defer appender.Close(testContext(t))
		writeSessions(t, appender, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: domain.Incarnation{1}, Count: 1})
		if got, err := cluster.timeOf(testContext(t), names.Sessions, 0, 0); err != nil || !got.Equal(at) {
			t.Errorf("stamped %s, %v, want %s", got, err, at)
		}
	})
}

// By a clock that is ahead of the log's, a starting node would not find who was not buried.
func TestTheTimeBeforeAPlaceIsThatOfTheLog(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	for before, want := range map[int64]time.Time{6: hoursApart.Add(5 * time.Hour), 10: hoursApart.Add(9 * time.Hour)} {
		if at, err := cluster.logTime(testContext(t), topic, before); err != nil || !at.Equal(want) {
			t.Errorf("before %d it is %s, %v; want %s", before, at, err, want)
		}
	}
	began := now()
	if at, err := cluster.logTime(testContext(t), topic, 5); err != nil || at.Before(began) {
		t.Errorf("before all records it is %s, %v", at, err)
	}

	broker, cluster, topic := controlledTopic(t)
	appender := NewAppender(cluster, AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: time.Minute, QueueBytes: 1 << 20, Logger: testLogger(t),
		Now: func() time.Time { return began.Add(24 * time.Hour) },
	})
	appendAll(t, appender, 0, "of a clock that is ahead")
	appender.Close(testContext(t))
	if at, err := cluster.logTime(testContext(t), topic, 1); err != nil || at.Before(began) || at.After(now()) {
		t.Errorf("by a clock that is ahead it is %s, %v", at, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := cluster.logTime(ended, topic, 1); err == nil {
		t.Error("with its context ended, it knows the time")
	}

	// The record may be lost before it is read, and the broker away.
	claims := &claimedOffsets{start: 0, stable: 10, end: 10}
	claims.claim(broker)
	broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		claims.mu.Lock()
		claims.start = 8
		claims.mu.Unlock()
		response, _ := request.ResponseKind().(*kmsg.FetchResponse)
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.ErrorCode = int16(kafka.OffsetOutOfRange)
		response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition}}}
		return response, nil, true
	})
	if at, err := cluster.logTime(testContext(t), topic, 5); err != nil || at.Before(began) {
		t.Errorf("before a record that was lost it is %s, %v", at, err)
	}
	failing, fail := context.WithCancel(testContext(t))
	cluster = listed(t, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		if request.Topics[0].Partitions[0].Timestamp == timestampLatest {
			fail()
			response.Topics[0].Partitions[0].ErrorCode = int16(kafka.LeaderNotAvailable)
		}
	})
	if at, err := cluster.logTime(failing, "log", 5); err == nil {
		t.Errorf("of a log that does not answer it is %s", at)
	}
}
