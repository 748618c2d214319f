package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// transactions is a cluster whose topics a transactional producer of another make writes, while two others write, too.
type transactions struct {
	*cluster

	t        *testing.T
	ctx      context.Context
	producer *harness.Transactional
	node     *harness.Node
}

func eachTransactionalProducer(t *testing.T, test func(w *transactions)) {
	parts := harness.SharedParts(t)
	for name, start := range harness.TransactionalProducers(t, "testdata") {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, parts)
			w := &transactions{cluster: c, t: t, ctx: testContext(t), node: c.start()}
			w.producer = start(t, parts.Brokers, c.prefix)
			test(w)
		})
	}
}

// write writes to a partition of the topic of system messages, in no transaction.
func (w *transactions) write(partition int, messages ...kafka.Message) {
	w.t.Helper()
	client := harness.Dial(w.t, w.parts.Brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	for _, m := range messages {
		r := &kgo.Record{Topic: w.systemMessages(), Partition: int32(partition), Key: m.Key, Value: m.Value}
		if err := client.ProduceSync(w.ctx, r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *transactions) awaitTold(client *harness.Client, text string) {
	w.t.Helper()
	harness.Until(w.ctx, w.t, fmt.Sprintf("user %d is told %s", client.User, text), func() bool {
		return slices.Contains(told(client), text)
	})
}

// events runs events tail to the end of a topic.
func (w *transactions) events(topic string) string {
	w.t.Helper()
	command := exec.CommandContext(w.ctx, harness.Binary, "events", "tail", "--end", "--topic", topic)
	command.Dir, command.Stderr = w.t.TempDir(), w.t.Output()
	command.Env = harness.Environ("CHATTING_KAFKA_BROKERS="+w.parts.Brokers, "CHATTING_TOPIC_PREFIX="+w.prefix)
	out, err := command.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return string(out)
}

func TestSystemMessagesOfTransactionsAreDeliveredOnceTheyAreCommitted(t *testing.T) {
	eachTransactionalProducer(t, func(w *transactions) {
		t := w.t
		seven, eight, nine := connect(t, w.node, 7), connect(t, w.node, 8), connect(t, w.node, 9)
		send := func(texts ...string) {
			for _, text := range texts {
				w.producer.Send(w.systemMessages(), 0, "7", string(says(7, text).Value))
			}
			w.producer.Flush()
		}
		var others sync.WaitGroup // two others write all along, also into the same partition
		const each = 20
		others.Go(func() {
			for i := range each {
				w.write(i%2, says(9, fmt.Sprint("franz ", i)))
			}
		})
		others.Go(func() {
			for i := range each {
				harness.ProduceMessages(w.ctx, t, w.parts.Brokers, w.systemMessages(), says(9, fmt.Sprint("kafka-go ", i)))
			}
		})

		w.producer.Begin()
		send("aborted 1", "aborted 2")
		w.producer.Abort()
		w.write(0, says(7, "after the abort"))
		w.awaitTold(seven, "after the abort")

		w.producer.Begin()
		send("committed 1", "committed 2")
		w.write(0, says(7, "behind it"))
		w.write(1, says(8, "elsewhere"))
		w.awaitTold(eight, "elsewhere")
		if shown := w.events("system-messages"); strings.Contains(shown, "committed") || !strings.Contains(shown, "elsewhere") {
			t.Errorf("with an open transaction, events tail shows\n%s", shown)
		}
		if got := told(seven); !slices.Equal(got, []string{"after the abort"}) {
			t.Errorf("with an open transaction, the user was told %q", got)
		}
		w.producer.Commit()
		w.awaitTold(seven, "behind it")
		if got := told(seven); !slices.Equal(got, []string{"after the abort", "committed 1", "committed 2", "behind it"}) {
			t.Errorf("the user was told %q", got)
		}

		others.Wait()
		harness.Until(w.ctx, t, "all that others wrote is delivered", func() bool { return len(told(nine)) == 2*each })
		shown := w.events("system-messages")
		if strings.Contains(shown, "aborted") || strings.Count(shown, "committed") != 2 {
			t.Errorf("events tail shows\n%s", shown)
		}
		if letters := harness.ReadTopic(w.ctx, t, w.parts.Brokers, w.deadLetters()); len(letters) > 0 {
			t.Errorf("%d dead letters, the first is %s", len(letters), letters[0].Value)
		}
	})
}

// texts returns the chat messages that a connection got, in order.
func texts(client *harness.Client) (got []string) {
	for _, f := range client.Frames() {
		if f.Type == "chat_message" {
			got = append(got, f.Message)
		}
	}
	return got
}

func (w *transactions) awaitText(client *harness.Client, text string) {
	w.t.Helper()
	harness.Until(w.ctx, w.t, fmt.Sprintf("user %d gets %s", client.User, text), func() bool {
		return slices.Contains(texts(client), text)
	})
}

// history returns what the history of the conversation of users 1 and 2 says, the oldest first.
func (w *transactions) history(node *harness.Node) (said []string) {
	w.t.Helper()
	a, err := request(w.ctx, node.HTTP, token(w.t, 1), http.MethodGet, "/api/chatting/messages/?target_id=2", nil)
	if err != nil || a.status != http.StatusOK {
		w.t.Fatalf("the history: %v %d %s", err, a.status, a.body)
	}
	var page struct {
		Messages []struct {
			Message string `json:"message"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		w.t.Fatal(err)
	}
	for _, m := range page.Messages {
		said = append(said, m.Message)
	}
	slices.Reverse(said) // a page has the newest first
	return said
}

func TestConversationsOfTransactionsAreShownOnceTheyAreCommitted(t *testing.T) {
	eachTransactionalProducer(t, func(w *transactions) {
		t := w.t
		one, two := connect(t, w.node, 1), connect(t, w.node, 2)
		if err := one.Send(2, "the first"); err != nil {
			t.Fatal(err)
		}
		w.awaitText(two, "the first")
		// What somebody else writes into the topic is this event, with other texts and ids.
		var first *kgo.Record
		for _, r := range harness.ReadTopic(w.ctx, t, w.parts.Brokers, w.conversations()) {
			if strings.Contains(string(r.Value), "the first") {
				first = r
			}
		}
		forge := func(n int, text string) {
			id := fmt.Sprintf("a1b90ad2-b63b-4d23-9053-16d9a9e5423%d", n)
			value := strings.ReplaceAll(string(first.Value), "the first", text)
			var event struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(first.Value, &event); err != nil {
				t.Fatal(err)
			}
			value = strings.ReplaceAll(value, event.ID, id)
			harness.Poison([]byte(value)) // it has no header content-type
			w.producer.Send(w.conversations(), first.Partition, "1:2", value)
			w.producer.Flush()
		}

		w.producer.Begin()
		forge(1, "aborted")
		w.producer.Abort()
		if err := one.Send(2, "after the abort"); err != nil {
			t.Fatal(err)
		}
		w.awaitText(two, "after the abort")

		w.producer.Begin()
		forge(2, "committed")
		if err := one.Send(2, "behind it"); err != nil {
			t.Fatal(err)
		}
		// Somewhere else nothing is held up: users 1 and 3 write in another partition.
		three := connect(t, w.node, w.elsewhere(first.Partition))
		if err := one.Send(three.User, "elsewhere"); err != nil {
			t.Fatal(err)
		}
		w.awaitText(three, "elsewhere")
		if shown := w.events("conversations"); strings.Contains(shown, "committed") || strings.Contains(shown, "behind") || !strings.Contains(shown, "the first") {
			t.Errorf("with an open transaction, events tail shows\n%s", shown)
		}
		// A node that starts now does not wait for the end of the transaction, nor does a login, also where messages are stored.
		other := w.start("CHATTING_CHAT_OFFLINE=store")
		connect(t, other, 4)
		want := []string{"the first", "after the abort"}
		if got := texts(two); !slices.Equal(got, want) {
			t.Errorf("with an open transaction, the user got %q", got)
		}
		w.producer.Commit()
		w.awaitText(two, "behind it")
		want = append(want, "committed", "behind it")
		if got := texts(two); !slices.Equal(got, want) {
			t.Errorf("the user got %q", got)
		}
		harness.Until(w.ctx, t, "the history has all of it", func() bool { return len(w.history(other)) >= len(want) })
		if got := w.history(other); !slices.Equal(got, want) {
			t.Errorf("the history says %q", got)
		}
	})
}

// elsewhere returns a user whose conversation with user 1 is in another partition.
func (w *transactions) elsewhere(partition int32) int {
	numbers := make([]int, 16)
	for i := range numbers {
		numbers[i] = i
	}
	for user := 3; ; user++ {
		key := fmt.Appendf(nil, "1:%d", user)
		if (kafka.Murmur2Balancer{Consistent: true}).Balance(kafka.Message{Key: key}, numbers...) != int(partition) {
			return user
		}
	}
}
