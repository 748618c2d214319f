package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatting/test/harness"
)

// background is what /readyz tells of the history and the consumer groups.
type background struct {
	History struct {
		Behind int64 `json:"records_behind"`
		Still  int64 `json:"standing_still_seconds"`
	} `json:"history"`
	Groups map[string]struct {
		Member  bool  `json:"member"`
		Foreign int64 `json:"foreign_consumers"`
		KeptOut int64 `json:"kept_out_seconds"`
	} `json:"consumer_groups"`
}

// readiness waits until a node says that it is ready, whatever its history does, and returns what else it says.
func readiness(ctx context.Context, t *testing.T, node *harness.Node) (b background) {
	t.Helper()
	// It is asked again, because on a machine under load one of its checks may be late.
	for {
		a, err := request(ctx, node.HTTP, "", http.MethodGet, "/readyz", nil)
		if err == nil && a.status == http.StatusOK {
			if err := json.Unmarshal(a.body, &b); err != nil {
				t.Fatal(err)
			}
			return b
		}
		if harness.Pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			t.Logf("a node whose history stands still is not ready: %v %d %s", err, a.status, a.body)
			return b // whoever waits says what for
		}
	}
}

// Whoever joins the group of the history, before a node or after it, takes no partition for long, or is told of.
func TestConsumersOfOtherProgramsInTheGroupOfTheHistory(t *testing.T) {
	for name, consume := range harness.GroupConsumers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			c := newCluster(t, harness.SharedParts(t))
			if err := c.start().Stop(); err != nil { // makes the topics
				t.Fatal(err)
			}
			group := c.prefix + ".history"
			stop := consume(c.parts.Brokers, c.conversations(), group)
			harness.AwaitMembers(ctx, t, c.parts.Brokers, group)
			node := c.start()
			db := c.open()
			one, two := connect(t, node, 1), connect(t, node, 2)
			strangers{cluster: c}.talk(ctx, one, two)
			harness.Until(ctx, t, "the consumer is noticed", func() bool {
				return readiness(ctx, t, node).Groups[group].Foreign > 0
			})
			if strings.HasSuffix(name, ", consumer") { // it cannot be taken out
				harness.Until(ctx, t, "the history is known to stand still", func() bool {
					told := readiness(ctx, t, node)
					return told.History.Behind == 2 && told.History.Still > 0 && told.Groups[group].KeptOut > 0 && !told.Groups[group].Member
				})
				stop()
			}
			harness.Until(ctx, t, "the history goes on", func() bool {
				told := readiness(ctx, t, node)
				return c.entries(ctx, db) == 2 && told.History == background{}.History && told.Groups[group].Member
			})
			stop()

			stop = consume(c.parts.Brokers, c.conversations(), group) // it is refused, whenever it asks
			defer stop()
			strangers{cluster: c}.talk(ctx, two, one)
			harness.Until(ctx, t, "the history goes on", func() bool { return c.entries(ctx, db) == 4 })
			if told := readiness(ctx, t, node).Groups[group]; !told.Member || told.KeptOut > 0 {
				t.Errorf("afterwards, the group is %+v", told)
			}
		})
	}
}

// mustBeRefused starts a node that must end by itself, and returns what it said.
func (c *cluster) mustBeRefused(ctx context.Context, arguments []string, settings ...string) string {
	c.t.Helper()
	command := exec.CommandContext(ctx, harness.Binary, arguments...)
	command.Dir, command.Env = c.t.TempDir(), harness.Environ(settings...)
	out, err := command.CombinedOutput()
	if ctx.Err() != nil || command.ProcessState.ExitCode() != 1 {
		c.t.Fatalf("%v: %v\n%s", arguments, err, out)
	}
	return string(out)
}

// Two nodes with a database each would share out the history and the system messages, and each know half of the blocks.
func TestANodeWithAnotherDatabaseDoesNotServeOnTheTopicsOfOthers(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	own := append(c.settings(), "CHATTING_DATABASE_URL=") // a file in its data directory
	first := harness.StartNode(t, t.TempDir(), own...)
	if said := c.mustBeRefused(ctx, nil, own...); strings.Count(said, "nodes with another database") != 1 || strings.Contains(said, `"ready`) {
		t.Errorf("it ends with\n%s", said)
	}
	if told := readiness(ctx, t, first); !told.Groups[c.prefix+".history"].Member || told.Groups[c.prefix+".history"].Foreign > 0 {
		t.Errorf("the first one says %+v", told)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := harness.StartNode(t, t.TempDir(), own...).Stop(); err != nil { // nobody else is there now
		t.Error(err)
	}
}

// A database that was used with a broker inside the server has places in a log that the real cluster does not have.
func TestADatabaseMovesToAnotherKafkaClusterOnlyWhenItIsAdopted(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	inside := append(c.settings(), "CHATTING_KAFKA_BROKERS=", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0")
	trial := harness.StartNode(t, t.TempDir(), inside...)
	db := c.open()
	strangers{cluster: c}.talk(ctx, connect(t, trial, 1), connect(t, trial, 2))
	harness.Until(ctx, t, "the history has it", func() bool { return c.entries(ctx, db) == 2 })
	if err := trial.Stop(); err != nil {
		t.Fatal(err)
	}
	if said := c.mustBeRefused(ctx, nil, c.settings()...); strings.Count(said, "the database belongs to") != 1 ||
		!strings.Contains(said, "chatting-embedded") {
		t.Errorf("it ends with\n%s", said)
	}
	command := exec.CommandContext(ctx, harness.Binary, "adopt")
	command.Dir, command.Env = t.TempDir(), harness.Environ(c.settings("CHATTING_KAFKA_PARTITIONS=5")...)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("adopting: %v\n%s", err, said)
	}
	nodes := c.startAll(2, "CHATTING_KAFKA_PARTITIONS=5")
	one, two := connect(t, nodes[0], 1), connect(t, nodes[0], 2)
	strangers{cluster: c}.talk(ctx, one, two)
	harness.Until(ctx, t, "the history has it, too", func() bool { return c.entries(ctx, db) == 4 })
	c.mustBeRefused(ctx, nil, inside...)
	if said := c.mustBeRefused(ctx, []string{"history", "rebuild"},
		c.settings("CHATTING_KAFKA_PARTITIONS=5", "CHATTING_TOPIC_PREFIX="+c.prefix+"-other")...); !strings.Contains(said, "no topic") {
		t.Errorf("rebuilding from no topic ends with\n%s", said)
	}
	var order int
	err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM messages AS a, messages AS b
		WHERE (a.generation, a.log_offset) > (b.generation, b.log_offset) AND a.occurred_at < b.occurred_at`).Scan(&order)
	if err != nil || order != 0 {
		t.Errorf("%d pairs of messages are in another order than they were said in (%v)", order, err)
	}
}

// A server that was forgotten would take its own log into the history of the new one.
func TestADatabaseIsNotAdoptedUnderAServerAndOneThatWasAwayEnds(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	old := harness.StartNode(t, t.TempDir(), c.settings()...)
	db := c.open()
	one, two := connect(t, old, 1), connect(t, old, 2)
	strangers{cluster: c}.talk(ctx, one, two)
	harness.Until(ctx, t, "the history has it", func() bool { return c.entries(ctx, db) == 2 })

	other := c.settings("CHATTING_TOPIC_PREFIX=" + c.prefix + "-other")
	if said := c.mustBeRefused(ctx, []string{"adopt"}, other...); strings.Count(said, "a server runs on the database") != 1 {
		t.Errorf("adopting under a server ends with\n%s", said)
	}
	strangers{cluster: c}.talk(ctx, one, two)
	harness.Until(ctx, t, "the server goes on", func() bool { return c.entries(ctx, db) == 4 })

	old.Signal(syscall.SIGSTOP) // as a machine that does not get on
	harness.Until(ctx, t, "the database is adopted", func() bool {
		command := exec.CommandContext(ctx, harness.Binary, "adopt")
		command.Dir, command.Env = t.TempDir(), harness.Environ(other...)
		said, err := command.CombinedOutput()
		if err != nil { // the server may have stopped in a transaction, which PostgreSQL ends after a while
			t.Logf("adopting: %v\n%s", err, said)
		}
		return err == nil
	})
	old.Signal(syscall.SIGCONT)
	if code, err := old.AwaitEnd(ctx); err != nil || code != 1 {
		t.Errorf("the server of the old log ends with %d (%v)", code, err)
	}
	next := harness.StartNode(t, t.TempDir(), other...)
	strangers{cluster: c}.talk(ctx, connect(t, next, 1), connect(t, next, 2))
	harness.Until(ctx, t, "the history has it, too", func() bool { return c.entries(ctx, db) == 6 })
}
