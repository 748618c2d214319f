package security

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

// manual tells operators what to grant, one command a line.
const manual = "../../docs/operations.md"

// right is one line of it.
type right struct {
	topics, groups, operations []string
	only                       string // what it is for: a value of kafka.topics or a command; "" for every server
}

// commands returns the lines of the manual that run a program.
func commands(t *testing.T, program string) []string {
	t.Helper()
	content, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, program+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s has no line that begins with %s", manual, program)
	}
	return lines
}

// documentedRights reads the commands of the manual that grant the rights of every server, and what else is needed for some
// purposes.
func documentedRights(t *testing.T, purposes ...string) []right {
	t.Helper()
	var rights []right
	for _, line := range commands(t, "kafka-acls.sh") {
		command, comment, _ := strings.Cut(line, "#")
		words := strings.Fields(command)
		var r right
		var principal, server string
		flags := flag.NewFlagSet(line, flag.ContinueOnError)
		flags.StringVar(&server, "bootstrap-server", "", "")
		flags.StringVar(&principal, "allow-principal", "", "")
		flags.Bool("add", false, "")
		for name, list := range map[string]*[]string{"topic": &r.topics, "group": &r.groups, "operation": &r.operations} {
			flags.Func(name, "", func(value string) error { *list = append(*list, value); return nil })
		}
		if err := flags.Parse(words[1:]); err != nil || flags.NArg() > 0 || principal != "User:chatting" || server == "" {
			t.Fatalf("%s: %s: %v %v", manual, line, err, flags.Args())
		}
		if comment = strings.TrimSpace(comment); comment != "" {
			var known bool
			if r.only, known = strings.CutPrefix(comment, "only with kafka.topics: "); !known {
				if r.only, known = strings.CutPrefix(comment, "only for "); !known {
					t.Fatalf("%s: %s: what is it for?", manual, line)
				}
			}
		}
		if r.only == "" || slices.Contains(purposes, r.only) {
			rights = append(rights, r)
		}
	}
	return rights
}

// makeTopics makes the topics as the manual says, under another prefix and on one broker.
func makeTopics(t *testing.T, prefix string) {
	t.Helper()
	var topics []kafka.TopicConfig
	for _, line := range commands(t, "kafka-topics.sh") {
		var topic kafka.TopicConfig
		var name, server string
		flags := flag.NewFlagSet(line, flag.ContinueOnError)
		flags.StringVar(&server, "bootstrap-server", "", "")
		flags.StringVar(&name, "topic", "", "")
		flags.Bool("create", false, "")
		flags.IntVar(&topic.NumPartitions, "partitions", 0, "")
		flags.IntVar(&topic.ReplicationFactor, "replication-factor", 0, "")
		flags.Func("config", "", func(value string) error {
			key, value, _ := strings.Cut(value, "=")
			if key != "min.insync.replicas" {
				topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
			}
			return nil
		})
		if err := flags.Parse(strings.Fields(line)[1:]); err != nil || flags.NArg() > 0 || topic.ReplicationFactor != 3 || server == "" {
			t.Fatalf("%s: %s: %v %v", manual, line, err, flags.Args())
		}
		rest, ours := strings.CutPrefix(name, "chatting.")
		if !ours {
			t.Fatalf("%s: %s has not the prefix", manual, name)
		}
		topic.Topic, topic.ReplicationFactor = prefix+"."+rest, 1
		topics = append(topics, topic)
	}
	client := kafka.Client{Addr: kafka.TCP(secured.plain)}
	response, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	for topic, err := range response.Errors {
		if err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
	}
	// The controller has made them. The broker hears of it in the order of events, so of the rights before.
	eventually(t, "metadata of the topics", func() bool {
		metadata, err := client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: slices.Collect(maps.Keys(response.Errors))})
		return err == nil && !slices.ContainsFunc(metadata.Topics, func(topic kafka.Topic) bool {
			return topic.Error != nil || len(topic.Partitions) == 0
		})
	})
}

// grant gives the rights to a principal, for the topics and groups of another prefix.
func grant(t *testing.T, rights []right, principal, prefix string) {
	t.Helper()
	var entries []kafka.ACLEntry
	add := func(kind kafka.ResourceType, names, operations []string) {
		for _, name := range names {
			rest, ours := strings.CutPrefix(name, "chatting.")
			if !ours {
				t.Fatalf("%s: %s has not the prefix", manual, name)
			}
			for _, operation := range operations {
				var o kafka.ACLOperationType
				if err := o.UnmarshalText([]byte(operation)); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, kafka.ACLEntry{
					ResourceType: kind, ResourceName: prefix + "." + rest, ResourcePatternType: kafka.PatternTypeLiteral,
					Principal: principal, Host: "*", Operation: o, PermissionType: kafka.ACLPermissionTypeAllow,
				})
			}
		}
	}
	for _, r := range rights {
		add(kafka.ResourceTypeTopic, r.topics, r.operations)
		add(kafka.ResourceTypeGroup, r.groups, r.operations)
	}
	client := kafka.Client{Addr: kafka.TCP(secured.plain)}
	response, err := client.CreateACLs(t.Context(), &kafka.CreateACLsRequest{ACLs: entries})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range response.Errors {
		if err != nil {
			t.Fatal(err)
		}
	}
}
