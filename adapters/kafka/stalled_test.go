package kafka

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// stalledConversations is a conversation log of one partition whose broker gives no answer until release is called.
func stalledConversations(t *testing.T, cluster *logclient.Cluster) (log *Conversations, topic string, release func()) {
	t.Helper()
	gate := make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(gate) }) }
	topic = testTopics(t, cluster, 1).Conversations
	stalled := logtest.Through(t, cluster, brokertest.DialAnswering(topic, func(int64) brokertest.Answer {
		<-gate
		return brokertest.Answer{}
	}))
	appender := NewAppender(stalled, appending.AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: time.Minute, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
	t.Cleanup(func() { appender.Close(brokertest.Context(t)) })
	log = NewConversations(cluster, appender)
	t.Cleanup(log.Close)
	t.Cleanup(release)
	return log, topic, release
}

func TestASenderWhoFloodsAStalledPartitionLeavesRoomForTheOthers(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		log, topic, release := stalledConversations(t, cluster)
		_, read := logtest.Tail(t, cluster, topic, 1)
		outcomes := make(chan error, 1000)
		refused := func() (err error, is bool) {
			select {
			case err = <-outcomes:
				return err, true
			default:
				return nil, false
			}
		}
		long, err := domain.NewText(strings.Repeat("x", 60<<10))
		if err != nil {
			t.Fatal(err)
		}
		said := 0
		say := func(from domain.UserID) (event domain.Event) {
			said++
			event = domain.Event{ID: domain.DerivedID("test", fmt.Sprint(said, " ", from)), Time: time.Now(), Body: domain.ChatMessage{From: from, To: 2, Text: long}}
			log.Append(event, func(err error) { outcomes <- err })
			return event
		}
		var accepted []domain.EventID
		flood := func(from domain.UserID) int {
			for n := range 200 {
				event := say(from)
				if err, is := refused(); is {
					if codeOf(err) != domain.CodeUnavailable {
						t.Fatalf("the flood of %d ends with %v", from, err)
					}
					return n
				}
				accepted = append(accepted, event.ID)
			}
			t.Fatalf("%d filled the queue", from)
			return 0
		}
		first := flood(1)
		second := flood(3)
		if second == 0 || second > first {
			t.Errorf("the queue took %d messages of one sender, then %d of another", first, second)
		}
		for from := domain.UserID(4); from < 8; from++ {
			accepted = append(accepted, say(from).ID)
			if err, is := refused(); is {
				t.Fatalf("%d, who sends one message, is refused: %v", from, err)
			}
		}
		release()
		for range accepted {
			if err := <-outcomes; err != nil {
				t.Fatalf("an accepted message: %v", err)
			}
		}
		brokertest.WaitUntil(t, func() bool { return len(read.Of(0)) >= len(accepted) })
		for i, value := range read.Of(0) {
			if !strings.Contains(value, accepted[i].String()) {
				t.Fatalf("record %d is not the one that was accepted as number %d", i, i)
			}
		}
	})
}
