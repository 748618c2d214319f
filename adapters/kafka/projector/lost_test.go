package projector

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/application/blocks"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// The log has lost the block under which it goes on, before that was projected: by then it was 7 days away.
func TestAProjectorThatWasAwayForTooLongKnowsTheBlocksThatItMissed(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		projector := testProjector(t, cluster, topic, store)
		stop := project(t, projector)
		k.say(30)
		wantHistory(t, store, k.want)
		stop()

		if k.blocked {
			k.block(false)
		}
		k.block(true)
		lost := len(k.want)
		k.hidden(20)
		ends, err := logclient.Ends(brokertest.Context(t), cluster, topic, 1)
		if err != nil {
			t.Fatal(err)
		}
		k.want = k.want[:lost] // the others go with the start
		kept := ends[0]
		k.hidden(20)
		deleteRecords(t, cluster, topic, kept)
		store.stored = []blocks.Stored{{State: blocks.State{
			Pair: blocks.Pair{Blocker: 2, Target: 1}, Blocked: true, Version: k.version,
		}}}
		project(t, projector)
		wantHistory(t, store, k.want)
	})
}

func TestARebuildLeavesAloneWhatTheLogHasNoMore(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		projector := testProjector(t, cluster, topic, store)
		project(t, projector)
		k.say(50)
		wantHistory(t, store, k.want)
		deleteRecords(t, cluster, topic, 20)
		rebuilt, err := projector.Rebuild(brokertest.Context(t), 0)
		if err != nil || rebuilt.From.Offset < 20 {
			t.Fatalf("rebuilt %+v, %v", rebuilt, err)
		}
		k.say(10)
		wantHistory(t, store, k.want)
	})
}

// hidden appends messages that the history has to hide.
func (k *talk) hidden(n int) {
	k.t.Helper()
	for range n {
		text, err := domain.NewText("hello")
		if err != nil {
			k.t.Fatal(err)
		}
		event := domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.ChatMessage{From: 1, To: 2, Text: text}}
		k.append(event)
		k.want = append(k.want, entryLine(k.generation, event.ID, true))
	}
}

// deleteRecords has the log of a topic with one partition start at an offset, as retention does.
func deleteRecords(t *testing.T, cluster *logclient.Cluster, topic string, start int64) {
	t.Helper()
	if strings.HasSuffix(t.Name(), "/embedded") {
		t.Skip("the broker inside the process deletes no records on request")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(logtest.Brokers(cluster)...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = start
	named := kmsg.NewDeleteRecordsRequestTopic()
	named.Topic, named.Partitions = topic, []kmsg.DeleteRecordsRequestTopicPartition{partition}
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis, request.Topics = 10_000, []kmsg.DeleteRecordsRequestTopic{named}
	response, err := request.RequestWith(brokertest.Context(t), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}
