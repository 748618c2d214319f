package kafka

import (
	"errors"
	"strings"
	"sync"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestManyNodesMakeTheTopicsOnce(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := NamesFor(brokertest.Name(t))
		// As a server knows it: only by its own topics, which are not there yet.
		cluster = NewCluster(logclient.ClusterOptions{Brokers: logtest.Brokers(cluster), Topics: names.All(), Embedded: cluster.Options().Embedded})
		t.Cleanup(cluster.Close)
		var nodes sync.WaitGroup
		for range 8 {
			nodes.Go(func() {
				setup := TopicSetup{Names: names, Partitions: 4, Logger: brokertest.Logger(t)}
				if err := setup.Ensure(brokertest.Context(t), cluster); err != nil {
					t.Error(err)
				}
			})
		}
		nodes.Wait()
	})
}

func TestTopicsThatAreNotAsTheServerNeedsThemAreRefused(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		for name, c := range map[string]struct {
			partitions int
			change     map[string]string
			says       string
		}{
			"good":            {2, nil, ""},
			"partitions":      {3, nil, "has 3 partitions, not 2"},
			"short retention": {2, map[string]string{"retention.ms": "60000"}, "retention.ms=60000"},
			"small batches":   {2, map[string]string{"max.message.bytes": "1048575"}, "max.message.bytes=1048575, less than 1048576"},
			"unclean":         {2, map[string]string{"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable=true"},
		} {
			t.Run(name, func(t *testing.T) {
				names := NamesFor(brokertest.Name(t))
				setup := TopicSetup{Names: names, Partitions: 2, VerifyOnly: true, Logger: brokertest.Logger(t)}
				var refused *TopicError
				if err := setup.Ensure(brokertest.Context(t), cluster); !errors.As(err, &refused) || !strings.Contains(err.Error(), "is missing") {
					t.Fatalf("missing topics: %v", err)
				}
				var topics []kafkago.TopicConfig
				for _, settings := range names.settings() {
					topic := settings.config(c.partitions, 1)
					for i, entry := range topic.ConfigEntries {
						if value, changed := c.change[entry.ConfigName]; changed {
							topic.ConfigEntries[i].ConfigValue = value
						}
					}
					topics = append(topics, topic)
				}
				if err := createTopics(brokertest.Context(t), cluster, topics); err != nil {
					t.Fatal(err)
				}
				err := setup.Ensure(brokertest.Context(t), cluster)
				switch {
				case c.says == "" && err != nil:
					t.Error(err)
				case c.says != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), c.says)):
					t.Errorf("it says %v, not %q", err, c.says)
				}
			})
		}
	})
}
