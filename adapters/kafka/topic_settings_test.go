package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// The settings are a contract with operators who make the topics themselves.
func TestTheSettingsThatTopicsAreMadeWith(t *testing.T) {
	got := NamesFor("p").Configs()
	common := map[string]string{"cleanup.policy": "delete", "unclean.leader.election.enable": "false"}
	for topic, own := range map[string]map[string]string{
		"p.conversations":       {"retention.ms": "604800000", "max.message.bytes": "1048576"},
		"p.presence":            {"retention.ms": "604800000", "max.message.bytes": "1048576"},
		"p.sessions":            {"retention.ms": "3600000", "max.message.bytes": "1048576", "segment.ms": "600000"},
		"p.system-messages":     {"retention.ms": "604800000", "max.message.bytes": "4194304"},
		"p.audit":               {"retention.ms": "7776000000", "max.message.bytes": "1048576"},
		"p.system-messages.dlt": {"retention.ms": "2592000000", "max.message.bytes": "5242880"},
	} {
		for name, value := range common {
			own[name] = value
		}
		if fmt.Sprint(got[topic]) != fmt.Sprint(own) {
			t.Errorf("%s is made with %v, not %v", topic, got[topic], own)
		}
	}
	if len(got) != 6 {
		t.Errorf("there are %d topics", len(got))
	}
	for brokers, replicas := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 9: 3} {
		made := NamesFor("p").settings()[0].config(16, brokers)
		i := slices.IndexFunc(made.ConfigEntries, func(e kafkago.ConfigEntry) bool { return e.ConfigName == "min.insync.replicas" })
		if made.ReplicationFactor != replicas || made.NumPartitions != 16 || (i >= 0) != (replicas == 3) || i >= 0 && made.ConfigEntries[i].ConfigValue != "2" {
			t.Errorf("on %d brokers a topic is made as %+v", brokers, made)
		}
	}
}

func TestWhatIsWrongWithTheSettingsOfATopic(t *testing.T) {
	s := topicSettings{retention: time.Hour, maxMessage: 1000}
	for _, c := range []struct {
		name, value string
		complains   bool
	}{
		{configCleanup, "delete", false},
		{configCleanup, "compact", true},
		{configCleanup, "compact,delete", true},
		{configRetention, "3600000", false},
		{configRetention, "3599999", true},
		{configRetention, "0", true},
		{configRetention, "-1", false}, // for ever
		{configRetention, "", false},
		{configMaxMessage, "1000", false},
		{configMaxMessage, "999", true},
		{configMaxMessage, "", false},
		{configUnclean, "false", false},
		{configUnclean, "true", true},
		{"segment.ms", "1", false},
	} {
		if got := s.complaint(c.name, c.value); (got != "") != c.complains || c.complains && !strings.Contains(got, c.name+"="+c.value) {
			t.Errorf("%s=%s: %q", c.name, c.value, got)
		}
	}
}

// describing has a broker describe its topics as told.
func describing(broker *kfake.Cluster, brokers int, topics ...kmsg.MetadataResponseTopic) {
	host, port, _ := net.SplitHostPort(broker.ListenAddrs()[0])
	number, _ := strconv.Atoi(port)
	broker.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		asked, _ := request.(*kmsg.MetadataRequest)
		response, _ := asked.ResponseKind().(*kmsg.MetadataResponse)
		for id := range brokers {
			response.Brokers = append(response.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(id), Host: host, Port: int32(number)})
		}
		id := "the cluster"
		response.ClusterID, response.ControllerID, response.Topics = &id, 0, topics
		return response, nil, true
	})
}

// described is a topic of partitions with so many replicas each; below zero: without a leader.
func described(name string, code int16, replicas ...int) kmsg.MetadataResponseTopic {
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic, topic.ErrorCode = kmsg.StringPtr(name), code
	for i, count := range replicas {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = int32(i)
		if count < 0 {
			p.Leader, count = -1, -count
		}
		p.Replicas = make([]int32, count)
		topic.Partitions = append(topic.Partitions, p)
	}
	return topic
}

func TestTheLayoutOfAClusterIsReadOfAllItsPartitions(t *testing.T) {
	broker, cluster, _ := logtest.Controlled(t, 1)
	failing := described("failing", 0, 3, 3)
	failing.Partitions[1].ErrorCode = int16(kafkago.LeaderNotAvailable)
	describing(broker, 2,
		described("good", 0, 3, 3, 3), described("few", 0, 3, 2, 3), described("leaderless", 0, 3, -3, -1), failing,
		described("missing", int16(kafkago.UnknownTopicOrPartition)), described("empty", 0),
		described("refused", int16(kafkago.TopicAuthorizationFailed), 3))
	got, err := cluster.Layout(brokertest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.ClusterID != "the cluster" || got.Brokers != 2 {
		t.Errorf("it is of %q, with %d brokers", got.ClusterID, got.Brokers)
	}
	for name, want := range map[string]logclient.TopicLayout{
		"good":       {Partitions: 3, Replicas: 3},
		"few":        {Partitions: 3, Replicas: 2},
		"leaderless": {Partitions: 3, Leaderless: 2, Replicas: 1},
		"failing":    {Partitions: 2, Leaderless: 1, Replicas: 3},
		"missing":    {Missing: true},
		"empty":      {},
		"refused":    {Missing: true, Partitions: 1, Replicas: 3},
	} {
		if got := got.Topics[name]; got != want {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
	for name, want := range map[string]int{"good": 3, "leaderless": 3, "missing": 0, "empty": 0, "refused": 0, "unheard of": 0} {
		if count, err := cluster.Partitions(brokertest.Context(t), name); count != want || (err == nil) != (want > 0) {
			t.Errorf("%s has %d partitions, %v", name, count, err)
		}
	}
	id, err := TopicSetup{Logger: brokertest.Logger(t)}.ClusterID(brokertest.Context(t), cluster)
	if err != nil || id != "the cluster" {
		t.Errorf("its id is %q, %v", id, err)
	}
}

func TestTopicsAreReadyOnceAllPartitionsOfAllAreLed(t *testing.T) {
	names := NamesFor("p")
	for what, c := range map[string]struct {
		last      kmsg.MetadataResponseTopic // the topic of dead letters
		brokers   int
		verify    bool
		permanent bool
		says      string // "": ready
		warns     int
		makes     bool
	}{
		"ready":               {described(names.DeadLetters, 0, 3, 3), 3, false, false, "", 0, false},
		"fewer replicas":      {described(names.DeadLetters, 0, 3, 2), 3, false, false, "", 1, false},
		"enough for two":      {described(names.DeadLetters, 0, 3, 2), 2, false, false, "", 0, false},
		"a partition too few": {described(names.DeadLetters, 0, 3), 3, false, true, "has 1 partitions, not 2", 0, false},
		"without a leader":    {described(names.DeadLetters, 0, 3, -3), 3, false, false, "without a leader", 0, false},
		"missing":             {described(names.DeadLetters, int16(kafkago.UnknownTopicOrPartition)), 3, true, true, "is missing", 0, false},
		"another one":         {described("q", 0, 3, 3), 3, true, true, "is missing", 0, false},
		// What was just made may take a moment until every broker has heard of it.
		"missing, to be made": {described(names.DeadLetters, int16(kafkago.UnknownTopicOrPartition)), 3, false, false, "without a leader", 0, true},
	} {
		broker, cluster, _ := logtest.Controlled(t, 1)
		var made []string
		broker.ControlKey(int16(kmsg.CreateTopics), func(request kmsg.Request) (kmsg.Response, error, bool) {
			broker.KeepControl()
			asked, _ := request.(*kmsg.CreateTopicsRequest)
			response, _ := asked.ResponseKind().(*kmsg.CreateTopicsResponse)
			made = append(made, "made")
			for _, topic := range asked.Topics {
				made = append(made, topic.Topic)
				response.Topics = append(response.Topics, kmsg.CreateTopicsResponseTopic{Topic: topic.Topic})
			}
			return response, nil, true
		})
		topics := []kmsg.MetadataResponseTopic{c.last}
		for _, name := range names.All()[:5] {
			topics = append(topics, described(name, 0, 3, 3))
		}
		describing(broker, c.brokers, topics...)
		var out bytes.Buffer
		setup := TopicSetup{Names: names, Partitions: 2, VerifyOnly: c.verify, Logger: slog.New(slog.NewTextHandler(&out, nil))}
		err := setup.try(brokertest.Context(t), cluster)
		var refused *TopicError
		if permanent := errors.As(err, &refused); (err == nil) != (c.says == "") || permanent != c.permanent ||
			err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), names.DeadLetters)) {
			t.Errorf("%s: %v", what, err)
		}
		if c.makes != slices.Equal(made, []string{"made", names.DeadLetters}) || !c.makes && made != nil {
			t.Errorf("%s: %q", what, made)
		}
		if got := strings.Count(out.String(), "fewer replicas"); got != c.warns {
			t.Errorf("%s: %d warnings: %s", what, got, out.String())
		}
	}
}

func TestSettingsThatMayNotBeSeenEndTheSetup(t *testing.T) {
	broker, cluster, topic := logtest.Controlled(t, 1)
	var code kafkago.Error
	broker.ControlKey(int16(kmsg.DescribeConfigs), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		response, _ := request.ResponseKind().(*kmsg.DescribeConfigsResponse)
		resource := kmsg.NewDescribeConfigsResponseResource()
		resource.ResourceType, resource.ResourceName, resource.ErrorCode = kmsg.ConfigResourceTypeTopic, topic, int16(code)
		response.Resources = append(response.Resources, resource)
		return response, nil, true
	})
	setup := TopicSetup{Names: NamesFor("p"), Partitions: 1, Logger: brokertest.Logger(t)}
	for _, code = range []kafkago.Error{kafkago.TopicAuthorizationFailed, kafkago.RequestTimedOut} {
		err := setup.verify(brokertest.Context(t), cluster)
		var refused *TopicError
		if permanent := errors.As(err, &refused); err == nil || permanent != (code == kafkago.TopicAuthorizationFailed) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestASetupIsTriedAgainUnlessThatDoesNotHelp(t *testing.T) {
	var out bytes.Buffer
	setup := TopicSetup{Logger: slog.New(slog.NewTextHandler(&out, nil))}
	away, refused := errors.New("away"), &TopicError{"t", "is wrong"}
	for what, c := range map[string]struct {
		outcomes []error
		want     error
		lines    int
	}{
		"at once":                 {[]error{nil}, nil, 0},
		"the third time":          {[]error{away, away, nil}, nil, 1},
		"never":                   {[]error{refused}, refused, 0},
		"never, once it is there": {[]error{away, fmt.Errorf("so: %w", refused)}, refused, 1},
	} {
		tries := 0
		out.Reset()
		err := setup.repeat(brokertest.Context(t), logtest.Cluster(t, []string{"127.0.0.1:1"}), func(context.Context, *logclient.Cluster) error {
			tries++
			return c.outcomes[tries-1]
		})
		if !errors.Is(err, c.want) || tries != len(c.outcomes) || strings.Count(out.String(), "\n") != c.lines {
			t.Errorf("%s: %v after %d tries: %s", what, err, tries, out.String())
		}
	}
}
