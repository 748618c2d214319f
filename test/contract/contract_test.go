// Package contract replays the table of what clients rely on, over real sockets, against servers that are started for it:
// see table_test.go for the notation and table/ for the rows.
//
// The same table can be pointed at another server that runs already, the original above all. Then the rows that only
// ours answers so are left out, and those come in that only the original does:
//
//	CHATTING_CONTRACT_URL              where it listens, such as http://127.0.0.1:8001
//	CHATTING_CONTRACT_TOKEN_COMMAND    a command that prints a good token of the user whose id is its last argument; or
//	CHATTING_CONTRACT_USER_MANAGEMENT  host:port where this test shall serve the user-management service that the
//	                                   server was configured to ask: then rows about friends and tokens run, too
//
// Without the service, rows that need friends or unusual tokens are skipped.
//
// That only loopback peers may call /s2sapi/ without a token is half covered here: tests stay on loopback. The other half
// is covered in adapters/rest.
package contract

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/lib/pq" // the driver for making a database
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"chatting/test/harness"
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ids.Store(rand.Int64N(20_000) * 100_000)
		dir, err := os.MkdirTemp("", "chatting-contract-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "building the server:", err)
			return 1
		}
		flag.Parse()
		if !flagIsSet("test.parallel") {
			err = flag.Set("test.parallel", "8") // rows wait more than they compute
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if code == 0 {
			if err := goleak.Find(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return code
	}())
}

func flagIsSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func table(t *testing.T) []row {
	t.Helper()
	rows, err := readTable()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// replayAll replays rows side by side, each against the server that it names.
func replayAll(t *testing.T, targets map[string]*target, rows []row) {
	t.Helper()
	if len(rows) < 20 {
		t.Fatalf("there are only %d rows", len(rows))
	}
	t.Run("rows", func(t *testing.T) {
		for _, row := range rows {
			target := targets[row.server]
			if target == nil {
				t.Fatalf("%s:%d: there is no server %s", row.file, row.line, row.server)
			}
			t.Run(fmt.Sprintf("%s:%d %.120s", row.file, row.line, row.name), func(t *testing.T) {
				t.Parallel()
				err := replayRow(t.Context(), target, row)
				// A server of ours with tokens of its own can be asked everything.
				if errors.Is(err, errors.ErrUnsupported) && (target.original || target.service != nil) {
					t.Skip(err)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// answered returns the rows that those given answer so.
func answered(rows []row, by ...string) []row {
	var kept []row
	for _, row := range rows {
		for _, who := range by {
			if row.answers == who {
				kept = append(kept, row)
			}
		}
	}
	return kept
}

func TestServerKeepsTheContract(t *testing.T) {
	rows := table(t)
	if os.Getenv("CHATTING_CONTRACT_URL") != "" {
		other := otherServer(t)
		targets := map[string]*target{"plain": other, dropIn: other}
		var asked []row
		for _, row := range answered(rows, both, original) {
			if targets[row.server] != nil {
				asked = append(asked, row)
			}
		}
		replayAll(t, targets, asked)
		return
	}
	targets := startServers(t)
	replayAll(t, targets, answered(rows, both, ours))
}

// TestClientsOfTheOriginalFindTheSameInDropInMode replays against a server in drop-in mode what holds for the original.
func TestClientsOfTheOriginalFindTheSameInDropInMode(t *testing.T) {
	if os.Getenv("CHATTING_CONTRACT_URL") != "" {
		t.Skip("another server is asked")
	}
	service := startUserManagement(t, "127.0.0.1:0")
	p := newProcess(t, dropIn, []string{"CHATTING_USER_MANAGEMENT_URL=" + service.url, "CHATTING_S2S_TRUST_LOOPBACK=true"})
	server := &target{url: p.awaitReady(), issue: issueBy(service), service: service}
	if server.url == "" {
		t.Fatal("the server did not get ready")
	}
	var asked []row
	for _, row := range answered(table(t), both) {
		if row.server == "plain" {
			asked = append(asked, row)
		}
	}
	replayAll(t, map[string]*target{"plain": server}, asked)
}

func TestServerKeepsTheContractOnRealParts(t *testing.T) {
	brokers, database := os.Getenv("CHATTING_TEST_KAFKA"), os.Getenv("CHATTING_TEST_POSTGRES")
	if brokers == "" || database == "" {
		t.Skip("CHATTING_TEST_KAFKA and CHATTING_TEST_POSTGRES name no real Kafka and PostgreSQL")
	}
	name := fmt.Sprintf("contract_%08x", rand.Uint32())
	topicsAfter(t, brokers, name+".")
	harness.PromiseEvents(t, brokers, name)
	targets := startServers(t, "CHATTING_KAFKA_BROKERS="+brokers, "CHATTING_TOPIC_PREFIX="+name,
		"CHATTING_DATABASE_URL="+newDatabase(t, database, name))
	replayAll(t, targets, slices.DeleteFunc(answered(table(t), both, ours), func(r row) bool { return r.server == storing }))
}

// newDatabase makes a database for the test, on the server of the one at address, and returns its address.
func newDatabase(t *testing.T, address, name string) string {
	t.Helper()
	db, err := sql.Open("postgres", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	own, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	own.Path = "/" + name
	return own.String()
}

// topicsAfter deletes the topics that begin with prefix when the test has ended.
func topicsAfter(t *testing.T, brokers, prefix string) {
	t.Cleanup(func() {
		transport := &kafka.Transport{}
		defer transport.CloseIdleConnections()
		client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Transport: transport, Timeout: patience}
		metadata, err := client.Metadata(context.Background(), &kafka.MetadataRequest{})
		if err != nil {
			t.Error(err)
			return
		}
		var own []string
		for _, topic := range metadata.Topics {
			if strings.HasPrefix(topic.Name, prefix) {
				own = append(own, topic.Name)
			}
		}
		if len(own) == 0 {
			t.Errorf("no topic begins with %s", prefix)
			return
		}
		if _, err := client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: own}); err != nil {
			t.Error(err)
		}
	})
}

// otherServer is the one that the environment points at.
func otherServer(t *testing.T) *target {
	t.Helper()
	other := &target{url: strings.TrimSuffix(os.Getenv("CHATTING_CONTRACT_URL"), "/"), original: true}
	command, address := os.Getenv("CHATTING_CONTRACT_TOKEN_COMMAND"), os.Getenv("CHATTING_CONTRACT_USER_MANAGEMENT")
	switch {
	case address != "":
		other.service = startUserManagement(t, address)
		other.issue = issueBy(other.service)
	case command != "":
		other.issue = issueByCommand(command)
	default:
		t.Fatal("CHATTING_CONTRACT_URL needs CHATTING_CONTRACT_TOKEN_COMMAND or CHATTING_CONTRACT_USER_MANAGEMENT")
	}
	return other
}
