package harness

import (
	"bytes"
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
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
