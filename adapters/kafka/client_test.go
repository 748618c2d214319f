package kafka

import (
	"errors"
	"testing"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestTheDatabaseIsPartOfTheProtocolOfAGroup(t *testing.T) {
	for database, want := range map[string]string{"": "chatting", "a": "chatting-a"} {
		options := GroupOptions("g", "topic", database)
		var other *OtherDatabaseError
		if options.Protocol != want || options.Type != "chatting" || !errors.As(options.Mismatch, &other) || other.Group != "g" {
			t.Errorf("%q: it is joined with %+v", database, options)
		}
	}
}

// Whoever appends is told in the words of the domain what became of it.
func TestAnAppendThatFailsIsClassified(t *testing.T) {
	const refused, maybe = 29, 6 // TOPIC_AUTHORIZATION_FAILED and NOT_LEADER_OR_FOLLOWER
	for what, c := range map[string]struct {
		codes []int16
		want  domain.Code
	}{
		"refused":               {[]int16{refused}, domain.CodeUnavailable},
		"refused after a doubt": {[]int16{maybe, refused}, domain.CodeUnconfirmed},
	} {
		broker, cluster, topic := logtest.Controlled(t, 1)
		brokertest.Refusing(broker, topic, func(n int64) int16 { return c.codes[min(n, int64(len(c.codes)-1))] })
		appender := testAppender(t, cluster, topic, 1)
		err := appender.Await(brokertest.Context(t), 0, recordbatch.Record{Value: []byte("x")})
		var classified *domain.Error
		if !errors.As(err, &classified) || classified.Code != c.want {
			t.Errorf("%s: %v", what, err)
		}
		appender.Close(brokertest.Context(t))
	}
	_, cluster, topic := logtest.Controlled(t, 1)
	closed := NewAppender(cluster, appending.AppenderOptions{Topic: topic, Partitions: 1, Logger: brokertest.Logger(t)})
	closed.Close(brokertest.Context(t))
	if err := closed.Await(brokertest.Context(t), 0, recordbatch.Record{}); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("after its end: %v", err)
	}
}
