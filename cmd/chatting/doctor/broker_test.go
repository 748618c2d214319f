package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/test/brokertest"
)

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.DiscardHandler)
}

// brokers starts brokers of a test's own.
func brokers(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

// withBrokers returns a set-up of a server on brokers that somebody has.
func withBrokers(t *testing.T, addresses []string, settings ...string) setUp {
	t.Helper()
	return newSetUp(t, append([]string{
		"CHATTING_KAFKA_BROKERS=" + strings.Join(addresses, ","), "CHATTING_KAFKA_PARTITIONS=4", "CHATTING_JWT_SECRET=" + secret,
		"CHATTING_S2S_TOKEN=0123456789abcdef",
	}, settings...)...)
}

// The findings about every set-up on brokers without PostgreSQL, and on one broker.
var (
	fileBesideBrokers = finding{"configuration", Warning, "the database is a file of this node", "database.url"}
	oneBroker         = finding{"broker", Warning, "less than three brokers (1)", "until there are three"}
)

// makeTopics makes the topics as a server does, and then changes some of them.
func makeTopics(t *testing.T, addresses []string, prefix string, partitions int) {
	t.Helper()
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: addresses})
	defer cluster.Close()
	setup := kafka.TopicSetup{Names: kafka.NamesFor(prefix), Partitions: partitions, Logger: testLogger(t)}
	if err := setup.Ensure(brokertest.Context(t), cluster); err != nil {
		t.Fatal(err)
	}
}

// set changes a setting of a topic.
func set(t *testing.T, addresses []string, topic, name, value string) {
	t.Helper()
	client := kafkago.Client{Addr: kafkago.TCP(addresses...)}
	response, err := client.IncrementalAlterConfigs(brokertest.Context(t), &kafkago.IncrementalAlterConfigsRequest{
		Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafkago.ConfigOperationSet}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range response.Resources {
		if resource.Error != nil {
			t.Fatal(resource.Error)
		}
	}
	// A broker learns of it from the controller, a moment after the answer.
	brokertest.WaitUntil(t, func() bool { return settingOf(t, addresses, topic, name) == value })
}

func settingOf(t *testing.T, addresses []string, topic, name string) string {
	t.Helper()
	client := kafkago.Client{Addr: kafkago.TCP(addresses...)}
	answer, err := client.DescribeConfigs(brokertest.Context(t), &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Resources) != 1 || len(answer.Resources[0].ConfigEntries) != 1 {
		return ""
	}
	return answer.Resources[0].ConfigEntries[0].ConfigValue
}

// topicsOn lists the topics of a cluster.
func topicsOn(t *testing.T, addresses []string) []string {
	t.Helper()
	client := kafkago.Client{Addr: kafkago.TCP(addresses...)}
	answer, err := client.Metadata(brokertest.Context(t), &kafkago.MetadataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range answer.Topics {
		names = append(names, topic.Name)
	}
	sort.Strings(names)
	return names
}

func TestBrokenTopicsAreNamed(t *testing.T) {
	for name, row := range map[string]struct {
		brokers  int
		made     int // partitions; 0: the topics are not made
		set      [3]string
		settings []string
		want     []finding
	}{
		"as a server makes them": {brokers: 3, made: 4, want: []finding{{"broker", OK, "the brokers answer at", ""}}},
		"none yet": {
			brokers: 3,
			want:    []finding{{"broker", OK, "the first start makes the topics chatting.conversations", ""}},
		},
		"none, and nobody makes them": {
			brokers: 3, settings: []string{"CHATTING_KAFKA_TOPICS=verify"},
			want: []finding{{"broker", Failed, "these topics are not there: chatting.conversations", "make them with 4 partitions"}},
		},
		"one broker": {brokers: 1, made: 4, want: []finding{oneBroker}},
		"compaction": {
			brokers: 3, made: 4, set: [3]string{"chatting.conversations", "cleanup.policy", "compact"},
			want: []finding{{"broker", Failed, "topic chatting.conversations has cleanup.policy=compact", "kafka-configs.sh"}},
		},
		"a short retention": {
			brokers: 3, made: 4, set: [3]string{"chatting.sessions", "retention.ms", "1000"},
			want: []finding{{"broker", Failed, "topic chatting.sessions has retention.ms=1000, less than", "kafka-configs.sh"}},
		},
		"short records": {
			brokers: 3, made: 4, set: [3]string{"chatting.system-messages", "max.message.bytes", "1000"},
			want: []finding{{"broker", Failed, "topic chatting.system-messages has max.message.bytes=1000", "kafka-configs.sh"}},
		},
		"more in-sync replicas than replicas": {
			brokers: 1, made: 4, set: [3]string{"chatting.conversations", "min.insync.replicas", "2"},
			want: []finding{oneBroker, {"broker", Failed, "nothing can be appended", "min.insync.replicas"}},
		},
		"one in-sync replica": {
			brokers: 3, made: 4, set: [3]string{"chatting.presence", "min.insync.replicas", "1"},
			want: []finding{{"broker", Warning, "may be on one broker only", "min.insync.replicas=2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			addresses := brokers(t, kfake.NumBrokers(row.brokers)).ListenAddrs()
			if row.made > 0 {
				makeTopics(t, addresses, "chatting", row.made)
			}
			if row.set[0] != "" {
				set(t, addresses, row.set[0], row.set[1], row.set[2])
			}
			before := topicsOn(t, addresses)
			withBrokers(t, addresses, row.settings...).examine(t).only(t, append(row.want, fileBesideBrokers)...)
			if after := topicsOn(t, addresses); !slices.Equal(before, after) {
				t.Errorf("it made topics: %v, %v", before, after)
			}
		})
	}
}

func TestOtherPartitionsThanConfiguredAreNamed(t *testing.T) {
	addresses := brokers(t, kfake.NumBrokers(3)).ListenAddrs()
	makeTopics(t, addresses, "chatting", 6)
	report := withBrokers(t, addresses).examine(t)
	for _, topic := range kafka.NamesFor("chatting").All() {
		report.has(t, finding{"broker", Failed, "topic " + topic + " has 6 partitions, not 4", "set kafka.partitions to the number"})
	}
}

func TestABrokerThatCannotBeReachedIsNamed(t *testing.T) {
	cluster := brokers(t, kfake.NumBrokers(3))
	addresses := cluster.ListenAddrs()
	makeTopics(t, addresses, "chatting", 4)
	withBrokers(t, append([]string{nobody}, addresses...)).examine(t).only(t, fileBesideBrokers,
		finding{"broker", Warning, "the broker " + nobody + " does not answer: connection refused", "kafka.brokers"})

	// The first says of the others that they are where nobody listens.
	cluster.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		response.Brokers = append(response.Brokers, kmsg.MetadataResponseBroker{NodeID: 0, Host: "127.0.0.1", Port: 1})
		return response, nil, true
	})
	withBrokers(t, addresses[:1]).examine(t).has(t,
		finding{"broker", Failed, "clients reach it at " + nobody + ", but this machine does not: connection refused", "advertised.listeners"})
}

func TestWhatTheListenerDoesNotSpeakIsNamed(t *testing.T) {
	plain := brokers(t, kfake.NumBrokers(1)).ListenAddrs()
	withBrokers(t, plain, "CHATTING_KAFKA_TLS=true").examine(t).only(t, fileBesideBrokers,
		finding{"broker", Failed, "does not answer", "kafka.tls"})
	secured := brokers(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "chatting", "right")).ListenAddrs()
	report := withBrokers(t, secured, "CHATTING_KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "CHATTING_KAFKA_SASL_USERNAME=chatting",
		"CHATTING_KAFKA_SASL_PASSWORD=marker").examine(t)
	report.only(t, fileBesideBrokers, finding{"broker", Failed, "does not answer", "kafka.sasl_"})
	if strings.Contains(fmt.Sprint(report), "marker") {
		t.Error("it shows the password")
	}
}

// acl grants an operation on something of one name.
func acl(kind kmsg.ACLResourceType, name string, operations ...kmsg.ACLOperation) (list []kfake.ACL) {
	for _, operation := range operations {
		list = append(list, kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true})
	}
	return list
}

func TestMissingRightsAreNamedWithTheCommandThatGrantsThem(t *testing.T) {
	const topic, group = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	const read, write, describe = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribeConfigs
	all := map[string][]kfake.ACL{
		"conversations": acl(topic, "chatting.conversations", read, write, describe),
		"sessions":      acl(topic, "chatting.sessions", read, write, describe),
		"presence":      acl(topic, "chatting.presence", write, describe),
		"system":        acl(topic, "chatting.system-messages", read, describe),
		"dead letters":  acl(topic, "chatting.system-messages.dlt", write, describe),
		"history":       acl(group, "chatting.history", read),
		"ingest":        acl(group, "chatting.system-messages", read),
		"audit":         acl(group, "chatting.presence-audit", read),
	}
	for name, row := range map[string]struct {
		without string
		instead []kfake.ACL
		want    []finding
	}{
		"all of them": {},
		"no right to write": {
			without: "conversations", instead: acl(topic, "chatting.conversations", read, describe),
			want: []finding{{"broker", Failed, "chatting has not the right to Write on the topic chatting.conversations",
				"--allow-principal User:chatting --operation Write --topic chatting.conversations"}},
		},
		"a topic of which it may not know": {
			without: "sessions",
			want: []finding{
				{"broker", Failed, "Read on the topic chatting.sessions", "--operation Read"},
				{"broker", Failed, "Write on the topic chatting.sessions", "--operation Write"},
			},
		},
		"no right on a group": {
			without: "history",
			want:    []finding{{"broker", Failed, "Read on the group chatting.history", "--operation Read --group chatting.history"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			granted := row.instead
			for of, list := range all {
				if of != row.without {
					granted = append(granted, list...)
				}
			}
			cluster := brokers(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
				kfake.User("SCRAM-SHA-512", "chatting", "right", granted...),
				kfake.SeedTopics(4, append(kafka.NamesFor("chatting").All(), "__consumer_offsets")...))
			report := withBrokers(t, cluster.ListenAddrs(), "CHATTING_KAFKA_SASL_MECHANISM=SCRAM-SHA-512",
				"CHATTING_KAFKA_SASL_USERNAME=chatting", "CHATTING_KAFKA_SASL_PASSWORD=right").examine(t)
			for _, want := range row.want {
				report.has(t, want)
			}
			rights := 0
			for _, f := range report.Findings {
				if strings.Contains(f.Found, "has not the right") {
					rights++
				}
			}
			if rights != len(row.want) {
				t.Errorf("%d rights are missing, not %d: %+v", rights, len(row.want), report.Findings)
			}
			if len(row.want) == 0 {
				report.has(t, finding{"broker", OK, "has the rights on topics and groups", ""})
			}
		})
	}
}

// TestARealBrokerTellsTheSame: of settings, and of a topic that is not there.
func TestARealBrokerTellsTheSame(t *testing.T) {
	brokertest.Each(t, func(t *testing.T, addresses []string, isEmbedded bool) {
		prefix := brokertest.Name(t)
		names := kafka.NamesFor(prefix)
		makeTopics(t, addresses, prefix, 4)
		client := kafkago.Client{Addr: kafkago.TCP(addresses...)}
		t.Cleanup(func() {
			_, _ = client.DeleteTopics(context.Background(), &kafkago.DeleteTopicsRequest{Topics: names.All()})
		})
		s := withBrokers(t, addresses, "CHATTING_TOPIC_PREFIX="+prefix)
		report := s.examine(t)
		report.only(t, fileBesideBrokers, oneBroker)
		if !isEmbedded {
			report.has(t, finding{"broker", OK, "has the rights on topics and groups", ""})
			set(t, addresses, names.Sessions, "retention.ms", "1000")
			s.examine(t).only(t, fileBesideBrokers, oneBroker, finding{"broker", Failed, names.Sessions + " has retention.ms=1000", "kafka-configs.sh"})
		}
	})
}
