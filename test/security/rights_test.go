package security

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

// manual tells operators what to grant, one command a line.
const manual = "../../docs/operations.md"

// right is one line of it.
type right struct {
	topics, groups, operations []string
	only                       string // the value of kafka.topics that it is for; "" for both
}

// documentedRights reads the commands of the manual that grant the server its rights.
func documentedRights(t *testing.T, topics string) []right {
	t.Helper()
	content, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var rights []right
	for line := range strings.Lines(string(content)) {
		command, comment, _ := strings.Cut(line, "#")
		words := strings.Fields(command)
		if len(words) == 0 || words[0] != "kafka-acls.sh" {
			continue
		}
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
		if _, mode, only := strings.Cut(comment, "only with kafka.topics: "); only {
			r.only = strings.TrimSpace(mode)
		}
		if r.only == "" || r.only == topics {
			rights = append(rights, r)
		}
	}
	if len(rights) == 0 {
		t.Fatalf("%s has no line that begins with kafka-acls.sh", manual)
	}
	return rights
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
