package kafka

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestNodesThatEndedBeforeWhatIsReadBackAreFound(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(brokertest.Context(t))
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
		unburied, err := Unburied(brokertest.Context(t), cluster, names.Sessions, int64(len(before)))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(unburied, domain.Incarnation.Compare)
		if want := []domain.Incarnation{beating, serving, left}; !slices.Equal(unburied, want) {
			t.Errorf("found %v, want %v", unburied, want)
		}
		if none, err := Unburied(brokertest.Context(t), cluster, names.Sessions, 0); err != nil || len(none) != 0 {
			t.Errorf("before the start there are %v, %v", none, err)
		}
	})
}

// A clock in 1970 would ask for a time before all times, which brokers take for another question or refuse.
func TestTheLookbackOfAClockThatIsWrongIsAnswered(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(brokertest.Context(t))
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
			from, to, err := Lookback(brokertest.Context(t), cluster, names.Sessions, 1, c.at, 20*time.Minute)
			if err != nil || from[0] != c.from || to[0] != 3 {
				t.Errorf("%s: from %v to %v, %v, want from %d to 3", name, from, to, err, c.from)
			}
		}
		if at, err := timeBefore(brokertest.Context(t), cluster, names.Sessions, 3); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("the log has come to %s, %v", at, err)
		}
	})
}

// Records are stamped when they are appended, by the clock of the appender.
func TestRecordsAreStampedByTheAppendersClock(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		appender := NewAppender(cluster, appending.AppenderOptions{
			Topic: names.Sessions, Partitions: 1, Deadline: time.Minute, QueueBytes: 1 << 20,
			Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return at },
		})
		defer appender.Close(brokertest.Context(t))
		writeSessions(t, appender, domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: domain.Incarnation{1}, Count: 1})
		if got, err := logclient.TimeOf(brokertest.Context(t), cluster, names.Sessions, 0, 0); err != nil || !got.Equal(at) {
			t.Errorf("stamped %s, %v, want %s", got, err, at)
		}
	})
}

// By a clock that is ahead of the log's, a starting node would not find who was not buried.
func TestTheTimeBeforeAPlaceIsThatOfTheLog(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t)
	for before, want := range map[int64]time.Time{6: brokertest.HoursApart.Add(5 * time.Hour), 10: brokertest.HoursApart.Add(9 * time.Hour)} {
		if at, err := timeBefore(brokertest.Context(t), cluster, topic, before); err != nil || !at.Equal(want) {
			t.Errorf("before %d it is %s, %v; want %s", before, at, err, want)
		}
	}
	began := time.Now()
	if at, err := timeBefore(brokertest.Context(t), cluster, topic, 5); err != nil || at.Before(began) {
		t.Errorf("before all records it is %s, %v", at, err)
	}

	broker, cluster, topic := logtest.Controlled(t, 1)
	appender := NewAppender(cluster, appending.AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: time.Minute, QueueBytes: 1 << 20, Logger: brokertest.Logger(t),
		Now: func() time.Time { return began.Add(24 * time.Hour) },
	})
	logtest.Append(t, appender, 0, "of a clock that is ahead")
	appender.Close(brokertest.Context(t))
	if at, err := timeBefore(brokertest.Context(t), cluster, topic, 1); err != nil || at.Before(began) || at.After(time.Now()) {
		t.Errorf("by a clock that is ahead it is %s, %v", at, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := timeBefore(ended, cluster, topic, 1); err == nil {
		t.Error("with its context ended, it knows the time")
	}

	// The record may be lost before it is read, and the broker away.
	claims := &brokertest.Claims{Start: 0, Stable: 10, End: 10}
	claims.Claim(broker)
	broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		claims.BeginAt(8)
		response, _ := request.ResponseKind().(*kmsg.FetchResponse)
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.ErrorCode = int16(kafkago.OffsetOutOfRange)
		response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition}}}
		return response, nil, true
	})
	if at, err := timeBefore(brokertest.Context(t), cluster, topic, 5); err != nil || at.Before(began) {
		t.Errorf("before a record that was lost it is %s, %v", at, err)
	}
	failing, fail := context.WithCancel(brokertest.Context(t))
	silent, of, _ := logtest.Controlled(t, 7)
	brokertest.Listed(silent, func(request *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		if request.Topics[0].Partitions[0].Timestamp == -1 { // the end
			fail()
			response.Topics[0].Partitions[0].ErrorCode = int16(kafkago.LeaderNotAvailable)
		}
	})
	if at, err := timeBefore(failing, of, "log", 5); err == nil {
		t.Errorf("of a log that does not answer it is %s", at)
	}
}
