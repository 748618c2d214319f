package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/adapters/embedded"
)

// eachBroker runs a suite with a topic of its own on an embedded broker and, where CHATTING_TEST_KAFKA names one, on a
// real one.
func eachBroker(t *testing.T, suite func(t *testing.T, brokers, topic string)) {
	t.Run("embedded", func(t *testing.T) {
		broker, err := embedded.Start(t.Context(), embedded.Options{
			Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = broker.Close() })
		suite(t, broker.Addr(), newTopic(t, broker.Addr()))
	})
	t.Run("kafka", func(t *testing.T) {
		brokers := os.Getenv("CHATTING_TEST_KAFKA")
		if brokers == "" {
			t.Skip("CHATTING_TEST_KAFKA names no real Kafka")
		}
		topic := newTopic(t, brokers)
		t.Cleanup(func() {
			client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Timeout: time.Minute}
			if _, err := client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
				t.Error(err)
			}
		})
		suite(t, brokers, topic)
	})
}

// newTopic makes a topic with two partitions.
func newTopic(t *testing.T, brokers string) string {
	t.Helper()
	topic := "example-" + strings.ToLower(rand.Text()[:8])
	client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Timeout: time.Minute}
	made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: topic, NumPartitions: 2, ReplicationFactor: 1},
	}})
	if err != nil || made.Errors[topic] != nil {
		t.Fatal(err, made)
	}
	return topic
}

// write appends values, in turn to both partitions.
func write(t *testing.T, brokers, topic string, values ...string) {
	t.Helper()
	writer := &kafka.Writer{
		Addr: kafka.TCP(strings.Split(brokers, ",")...), Topic: topic, Balancer: &kafka.RoundRobin{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: time.Millisecond, MaxAttempts: 30,
	}
	defer writer.Close()
	for _, value := range values {
		if err := writer.WriteMessages(t.Context(), kafka.Message{Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
}

// released returns an example of docs/schemas.
func released(t *testing.T, name string) string {
	t.Helper()
	value, err := os.ReadFile(filepath.Join("..", "..", "schemas", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func TestMessagesAreCountedByTheMinuteAndOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers, topic string) {
		chat := released(t, "chat_message.v1/text.json")
		at := func(id int, time string) string {
			changed := strings.NewReplacer("3f0c1e9e-6a57-4f0e-9d0a-0f2b6c1d7e28", fmt.Sprintf("3f0c1e9e-6a57-4f0e-9d0a-0f2b6c1d%04d", id),
				"2026-01-02T03:04:05.678Z", time).Replace(chat)
			if changed == chat {
				t.Fatal("the example is another")
			}
			return changed
		}
		write(t, brokers, topic,
			at(1, "2026-01-02T03:04:00.000Z"), at(2, "2026-01-02T03:04:59.999Z"), at(3, "2026-01-02T03:05:00.000Z"),
			at(1, "2026-01-02T03:04:00.000Z"), at(2, "2026-01-02T03:04:59.999Z"), // again
			at(4, "2026-01-02T03:03:00.000Z"), // another server's clock
			released(t, "invite_game.v1/invite.json"), released(t, "system_message.v1/plain.json"), released(t, "user_blocked.v1/change.json"),
			strings.ReplaceAll(at(5, "2026-01-02T03:04:00.000Z"), "chat_message.v1", "chat_message.v2"),
			"", "poison", "null", "[]", `{"specversion":"1.0","type":"chatting.chat_message.v1","id":7}`,
			strings.Replace(at(6, "2026-01-02T03:06:00.000Z"), `"data":`, `"of_a_later_version":{},"data":`, 1))
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-brokers", brokers, "-topic", topic}, &out); err != nil {
			t.Fatal(err)
		}
		want := "2026-01-02T03:03Z 1\n2026-01-02T03:04Z 2\n2026-01-02T03:05Z 1\n2026-01-02T03:06Z 1\n"
		if out.String() != want {
			t.Errorf("%s\nwant\n%s", out.String(), want)
		}
	})
}

func TestATopicWithoutRecordsHasNoMinutes(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers, topic string) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-brokers", brokers, "-topic", topic}, &out); err != nil || out.Len() > 0 {
			t.Errorf("%q %v", out.String(), err)
		}
	})
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := run(ctx, []string{"-brokers", "127.0.0.1:1"}, nil); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Error(err)
	}
}
