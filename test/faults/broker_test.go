// Package faults stops and kills a real broker under the append path.
package faults

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/domain"
	"chatting/test/harness"
)

const partitions = 4

// ownBroker starts a Kafka of this test's own: others must not suffer from what is done to it.
type ownBroker struct {
	t    *testing.T
	dir  string
	addr string
}

func startOwnBroker(t *testing.T) *ownBroker {
	t.Helper()
	if os.Getenv("CHATTING_TEST_KAFKA") == "" {
		t.Skip("CHATTING_TEST_KAFKA is not set: a real Kafka may not be started here")
	}
	dir := t.TempDir()
	run := func(script string) string {
		command := exec.Command("../infra/" + script)
		command.Env = append(os.Environ(), "CHATTING_TEST_INFRA_DIR="+dir)
		command.Stderr = t.Output()
		out, err := command.Output()
		if err != nil {
			t.Fatalf("test/infra/%s: %v", script, err)
		}
		return string(out)
	}
	t.Cleanup(func() { run("down") })
	for line := range strings.Lines(run("up")) {
		if addr, ok := strings.CutPrefix(line, "export CHATTING_TEST_KAFKA="); ok {
			return &ownBroker{t: t, dir: dir, addr: strings.TrimSpace(addr)}
		}
	}
	t.Fatal("test/infra/up names no broker")
	return nil
}

func (b *ownBroker) pid() int {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "broker-1.pid"))
	if err != nil {
		b.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

func (b *ownBroker) signal(signal syscall.Signal) {
	b.t.Helper()
	if err := syscall.Kill(b.pid(), signal); err != nil {
		b.t.Fatal(err)
	}
}

// restart kills the broker and starts it again.
func (b *ownBroker) restart(ctx context.Context) {
	b.t.Helper()
	b.signal(syscall.SIGKILL)
	// A killed process may stand in the table for a while, and would pass for a running broker.
	for line := filepath.Join("/proc", strconv.Itoa(b.pid()), "cmdline"); ; pause(ctx, 10*time.Millisecond) {
		if text, err := os.ReadFile(line); err != nil || len(text) == 0 {
			break
		}
		if ctx.Err() != nil {
			b.t.Fatal("the broker does not end")
		}
	}
	if err := exec.Command(filepath.Join(b.dir, "broker-1.start")).Run(); err != nil {
		b.t.Fatal(err)
	}
}

// pause lets a fault last. What is asserted does not depend on it.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func TestABrokerThatIsStoppedAndKilledLosesNothingThatWasAcknowledged(t *testing.T) {
	broker := startOwnBroker(t)
	harness.PromiseEvents(t, broker.addr, "faults")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{broker.addr}})
	defer cluster.Close()
	const writers = 16
	names := kafka.NamesFor("faults")
	if err := (kafka.TopicSetup{Names: names, Partitions: partitions, Logger: logger}).Ensure(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	appender := kafka.NewAppender(cluster, appending.AppenderOptions{
		Topic: names.Conversations, Partitions: partitions, Deadline: 5 * time.Second, QueueBytes: 4 << 20, Logger: logger,
	})
	log := kafka.NewConversations(cluster, appender)

	outcomes := make([][]error, writers) // of the messages 0, 1, 2, … of each writer
	var writing sync.WaitGroup
	writingCtx, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	for writer := range writers {
		writing.Go(func() { outcomes[writer] = write(writingCtx, t, log, writer) })
	}
	progress(ctx, t)
	for range 3 {
		broker.signal(syscall.SIGSTOP)
		pause(ctx, 2*time.Second)
		broker.signal(syscall.SIGCONT)
		progress(ctx, t)
		broker.restart(ctx)
		progress(ctx, t)
	}
	stopWriting()
	writing.Wait()
	appender.Close(ctx)
	log.Close()

	logged := readTexts(ctx, t, broker.addr, names.Conversations)
	acknowledged, unconfirmed := 0, 0
	for writer, results := range outcomes {
		found := make(map[int]int)
		last := -1
		for _, n := range logged[domain.UserID(writer+1)] {
			if n < last {
				t.Errorf("writer %d: %d stands after %d", writer, n, last)
			}
			last = n
			found[n]++
		}
		for n, err := range results {
			switch code := domain.CodeOf(err); {
			case found[n] > 1:
				t.Errorf("writer %d: %d is there %d times", writer, n, found[n])
			case err == nil:
				acknowledged++
				if found[n] == 0 {
					t.Errorf("writer %d: %d was acknowledged and is lost", writer, n)
				}
			case code == domain.CodeUnconfirmed:
				unconfirmed++
			case code == domain.CodeUnavailable && found[n] > 0:
				t.Errorf("writer %d: %d was refused and is there", writer, n)
			}
		}
	}
	t.Logf("%d acknowledged, %d unconfirmed", acknowledged, unconfirmed)
	if acknowledged < 1000 {
		t.Error("too little was appended for the test to mean anything")
	}
}

// acked counts the acknowledged appends.
var acked atomic.Int64

// progress waits until a few hundred more appends are acknowledged: the broker is back, and in the middle of traffic.
func progress(ctx context.Context, t *testing.T) {
	t.Helper()
	for target := acked.Load() + 300; acked.Load() < target; {
		pause(ctx, 10*time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("appends do not go on")
		}
	}
}

// write appends to one conversation, at most four at a time, until ctx ends, and returns the outcomes in order.
func write(ctx context.Context, t *testing.T, log *kafka.Conversations, writer int) []error {
	var outcomes []error
	var mu sync.Mutex
	slots := make(chan struct{}, 4)
	var open sync.WaitGroup
	for n := 0; ctx.Err() == nil; n++ {
		slots <- struct{}{}
		text, err := domain.NewText(strconv.Itoa(n))
		if err != nil {
			t.Error(err)
			break
		}
		mu.Lock()
		outcomes = append(outcomes, nil)
		mu.Unlock()
		open.Add(1)
		log.Append(domain.Event{
			ID: domain.DerivedID("faults", strconv.Itoa(writer)+":"+strconv.Itoa(n)), Time: time.Now(),
			Body: domain.ChatMessage{From: domain.UserID(writer + 1), To: 1000, Text: text},
		}, func(err error) {
			if err == nil {
				acked.Add(1)
			}
			mu.Lock()
			outcomes[n] = err
			mu.Unlock()
			<-slots
			open.Done()
		})
		if domain.CodeOf(outcomeOf(&mu, outcomes, n)) == domain.CodeUnavailable {
			pause(ctx, 20*time.Millisecond) // refused at once: do not spin
		}
	}
	open.Wait()
	return outcomes
}

func outcomeOf(mu *sync.Mutex, outcomes []error, n int) error {
	mu.Lock()
	defer mu.Unlock()
	return outcomes[n]
}

// endOf returns the offset at which a partition ends.
func endOf(ctx context.Context, t *testing.T, client *kgo.Client, topic string, partition int32) int64 {
	t.Helper()
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	wanted := kmsg.NewListOffsetsRequestTopicPartition()
	wanted.Partition, wanted.Timestamp = partition, -1
	request.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{wanted}}}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	answered := response.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answered.ErrorCode); err != nil {
		t.Fatal(err)
	}
	return answered.Offset
}

// readTexts reads the topic with a client that shares nothing with the server, and returns the numbers that each sender
// sent, in the order of the log.
func readTexts(ctx context.Context, t *testing.T, addr, topic string) map[domain.UserID][]int {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	left := int64(0)
	for partition := range partitions {
		left += endOf(ctx, t, client, topic, int32(partition))
	}
	texts := make(map[domain.UserID][]int)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			var event struct {
				Data struct {
					Message string        `json:"message"`
					FromID  domain.UserID `json:"from_id"`
				} `json:"data"`
			}
			if err := json.Unmarshal(r.Value, &event); err != nil {
				t.Fatalf("%s: %v", r.Value, err)
			}
			n, err := strconv.Atoi(event.Data.Message)
			if err != nil {
				t.Fatal(err)
			}
			texts[event.Data.FromID] = append(texts[event.Data.FromID], n)
		})
	}
	return texts
}
