package harness

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// A Producer writes values, of one line each, to a topic: a client that shares nothing with the server.
type Producer func(ctx context.Context, t *testing.T, brokers, topic string, values ...string)

// Producers returns those that are installed here: kafka-go always, kcat, and Kafka's own console producer where
// CHATTING_TEST_INFRA_DIR has its jars.
func Producers(t *testing.T) map[string]Producer {
	t.Helper()
	producers := map[string]Producer{"kafka-go": produceWithKafkaGo}
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Log("kcat is not installed")
	} else {
		producers["kcat"] = produceWithKcat
	}
	if jars, found := kafkaJars(); !found {
		t.Log(noKafkaJars)
	} else {
		producers["console producer"] = func(ctx context.Context, t *testing.T, brokers, topic string, values ...string) {
			t.Helper()
			pipe(ctx, t, values, "java", "-Xmx128m", "-cp", jars,
				"org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", brokers, "--topic", topic)
		}
	}
	return producers
}

// kafkaJars returns the class path of Kafka's own tools, where there are any.
func kafkaJars() (classPath string, found bool) {
	jars := filepath.Join(os.Getenv("CHATTING_TEST_INFRA_DIR"), "libs")
	_, noJava := exec.LookPath("java")
	_, missing := os.Stat(jars)
	return filepath.Join(jars, "*"), noJava == nil && missing == nil && os.Getenv("CHATTING_TEST_INFRA_DIR") != ""
}

const noKafkaJars = "there is no java, or CHATTING_TEST_INFRA_DIR has no jars of Kafka"

func produceWithKafkaGo(ctx context.Context, t *testing.T, brokers, topic string, values ...string) {
	t.Helper()
	messages := make([]kafka.Message, len(values))
	for i, value := range values {
		messages[i].Value = []byte(value)
	}
	ProduceMessages(ctx, t, brokers, topic, messages...)
}

// ProduceMessages writes messages with kafka-go: those with one key to one partition.
func ProduceMessages(ctx context.Context, t *testing.T, brokers, topic string, messages ...kafka.Message) {
	t.Helper()
	transport := &kafka.Transport{} // the default one may have heard of the topics before they were made
	defer transport.CloseIdleConnections()
	writer := kafka.Writer{
		Transport: transport,
		Addr:      kafka.TCP(strings.Split(brokers, ",")...), Topic: topic, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 5 * time.Millisecond, BatchBytes: 5 << 20, Balancer: kafka.Murmur2Balancer{},
	}
	defer writer.Close()
	if err := writer.WriteMessages(ctx, messages...); err != nil {
		t.Fatalf("kafka-go: %v", err)
	}
}

func produceWithKcat(ctx context.Context, t *testing.T, brokers, topic string, values ...string) {
	t.Helper()
	pipe(ctx, t, values, "kcat", "-b", brokers, "-P", "-t", topic)
}

// pipe runs a program with values as its lines of input.
func pipe(ctx context.Context, t *testing.T, values []string, name string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Stdin = strings.NewReader(strings.Join(values, "\n") + "\n")
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	// The console producer ends well even where it could write nothing.
	if err := command.Run(); err != nil || strings.Contains(said.String(), "ERROR") {
		t.Fatalf("%s: %v\n%s", name, err, said.String())
	}
}
