package harness

import (
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsoleConsumer reads the first count records of a topic, of one line each, with Kafka's own console consumer. The test is
// skipped where that is not there.
func ConsoleConsumer(ctx context.Context, t *testing.T, brokers, topic string, count int) []*kgo.Record {
	t.Helper()
	jars, found := kafkaJars()
	if !found {
		t.Skip(noKafkaJars)
	}
	command := exec.CommandContext(ctx, "java", "-Xmx128m", "-cp", jars, "org.apache.kafka.tools.consumer.ConsoleConsumer",
		"--bootstrap-server", brokers, "--topic", topic, "--from-beginning",
		"--max-messages", strconv.Itoa(count), "--timeout-ms", strconv.FormatInt(FrameWait.Milliseconds(), 10),
		"--formatter-property", "print.headers=true", "--formatter-property", "print.key=true")
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	// Where fewer come than that, it ends well nevertheless, and says so.
	if err := command.Run(); err != nil || strings.Contains(said.String(), "ERROR") {
		t.Fatalf("the console consumer: %v\n%s", err, said.String())
	}
	var records []*kgo.Record
	for line := range strings.Lines(out.String()) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(fields) != 3 {
			t.Fatalf("the console consumer printed %q", line)
		}
		r := &kgo.Record{Topic: topic, Key: []byte(fields[1]), Value: []byte(fields[2])}
		for header := range strings.SplitSeq(fields[0], ",") {
			name, value, _ := strings.Cut(header, ":")
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		records = append(records, r)
	}
	return records
}

// GroupConsumers returns programs that consume a topic as members of a group: kcat, and Kafka's own console consumer with both
// of its group protocols, as far as they are installed here. Each runs until the test ends or stop is called. Without any the
// test is skipped.
func GroupConsumers(t *testing.T) map[string]func(brokers, topic, group string) (stop func()) {
	t.Helper()
	consumers := make(map[string]func(brokers, topic, group string) func())
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Log("kcat is not installed")
	} else {
		consumers["kcat"] = func(brokers, topic, group string) func() {
			return background(t, "kcat", "-b", brokers, "-G", group, topic)
		}
	}
	jars, found := kafkaJars()
	if !found {
		t.Log(noKafkaJars)
		if len(consumers) == 0 {
			t.Skip("there is no program that joins a group")
		}
		return consumers
	}
	for _, protocol := range []string{"classic", "consumer"} {
		consumers["console consumer, "+protocol] = func(brokers, topic, group string) func() {
			return background(t, "java", "-Xmx128m", "-cp", jars, "org.apache.kafka.tools.consumer.ConsoleConsumer",
				"--bootstrap-server", brokers, "--topic", topic, "--group", group, "--command-property", "group.protocol="+protocol)
		}
	}
	return consumers
}

// background runs a program until the function that it returns is called, or the test ends.
func background(t *testing.T, name string, arguments ...string) (stop func()) {
	t.Helper()
	command := exec.Command(name, arguments...)
	DiesWithTests(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		// kcat does not leave before its group is shared out, which may be never: a test that has failed would hang here.
		killing := time.AfterFunc(10*time.Second, func() { _ = command.Process.Kill() })
		defer killing.Stop()
		_ = command.Wait() // by either signal
	})
	t.Cleanup(stop)
	return stop
}

// AwaitMembers waits until a group is stable: it has members, which share its partitions.
func AwaitMembers(ctx context.Context, t *testing.T, brokers, group string) {
	t.Helper()
	client := Dial(t, brokers)
	Until(ctx, t, "the group "+group+" is stable", func() bool {
		response, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, client)
		if err != nil {
			return false
		}
		return slices.ContainsFunc(response.Groups, func(g kmsg.ListGroupsResponseGroup) bool {
			return g.Group == group && g.GroupState == "Stable"
		})
	})
}
