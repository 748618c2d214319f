package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

// TestOffsetsAreKeptForPartitionsThatAre: what anybody makes up would be kept for a week.
func TestOffsetsAreKeptForPartitionsThatAre(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "offsets", 2)
	const unknown, tooLarge = 3, 12
	for _, c := range []struct {
		topic, metadata string
		partition       int32
		code            int16
	}{
		{"offsets", "", 0, 0},
		{"offsets", strings.Repeat("m", 256), 1, 0},
		{"offsets", strings.Repeat("m", 257), 1, tooLarge},
		{"offsets", "", 2, unknown},
		{"offsets", "", -1, unknown},
		{"made-up", "", 0, unknown},
	} {
		answer := kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("g", c.topic, c.metadata, c.partition)).(*kmsg.OffsetCommitResponse)
		if code := answer.Topics[0].Partitions[0].ErrorCode; code != c.code {
			t.Errorf("%s-%d: error %d, want %d", c.topic, c.partition, code, c.code)
		}
	}
}

func TestABrokerWhoseLogIsTakenAwayStops(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "taken", 2)
	kafkawire.MustProduce(t, b.Addr(), "taken", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	b.checkFiles()
	if err := os.RemoveAll(filepath.Join(dir, partsDir, "taken-0")); err != nil {
		t.Fatal(err)
	}
	b.checkFiles()
	select {
	case <-b.Failed():
	default:
		t.Fatal("it serves on")
	}
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "taken-0") {
		t.Errorf("Close: %v", err)
	}
}

// ownAsks has the server itself ask for something, as often as it likes.
func ownAsks(t *testing.T, b *Broker, request kmsg.Request) {
	t.Helper()
	conn, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	kafkawire.MustAsk(t, "the server itself", conn, request)
}

func TestOneFetchIsBounded(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "fetch", 1, "max.message.bytes", "5242880")
	for _, size := range []int{3 << 20, 300 << 10, 300 << 10, 300 << 10, 300 << 10} {
		kafkawire.MustProduce(t, b.Addr(), "fetch", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", size)))
	}
	for offset, want := range []int{3 << 20, 900 << 10} {
		response := kafkawire.Answered(t, b.Addr(), kafkawire.FetchRequest("fetch", int64(offset), 0)).(*kmsg.FetchResponse)
		if got := len(response.Topics[0].Partitions[0].RecordBatches); got < want || got > want+1024 {
			t.Errorf("from offset %d: %d bytes, want %d", offset, got, want)
		}
	}
}

// TestManyConsumersWaitAtOnce: each waits for records, and each gets them, whoever writes.
func TestManyConsumersWaitAtOnce(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "many", 1)
	const consumers = 200
	got := make(chan int)
	for range consumers {
		conn := kafkawire.Dial(t, b.Addr())
		go func() {
			frame := kafkawire.FrameOf(kafkawire.FetchRequest("many", 0, 20*time.Second))
			if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
				got <- 0
				return
			}
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				got <- 0
				return
			}
			got <- int(binary.BigEndian.Uint32(size[:]))
		}()
	}
	ownAsks(t, b, kafkawire.ProduceRequest("many", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 1000))))
	begin := time.Now()
	for range consumers {
		if size := <-got; size < 1000 {
			t.Fatalf("a consumer got an answer of %d bytes", size)
		}
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("they were woken after %s", took)
	}
}

// TestARequestForManyPartitionsIsAnsweredWhole: it is worked on in parts, of which the client sees nothing.
func TestARequestForManyPartitionsIsAnsweredWhole(t *testing.T) {
	b := start(t, t.TempDir())
	const partitions = 50
	kafkawire.CreateTopic(t, b.Addr(), "parts", partitions)
	at := time.Now()
	produce := kafkawire.ProduceRequest("parts", 0, nil)
	produce.Topics[0].Partitions = nil
	list := kafkawire.Versioned(kmsg.NewPtrListOffsetsRequest())
	list.ReplicaID = -1
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "parts"}}
	commit := kafkawire.Versioned(kmsg.NewPtrOffsetCommitRequest())
	commit.Group, commit.Generation = "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "parts"}}
	for number := range int32(partitions) {
		produce.Topics[0].Partitions = append(produce.Topics[0].Partitions,
			kmsg.ProduceRequestTopicPartition{Partition: number, Records: kafkawire.BatchOf(kafkawire.NoStamp, at, "x")})
		list.Topics[0].Partitions = append(list.Topics[0].Partitions,
			kmsg.ListOffsetsRequestTopicPartition{Partition: number, Timestamp: at.UnixMilli(), CurrentLeaderEpoch: -1})
		commit.Topics[0].Partitions = append(commit.Topics[0].Partitions,
			kmsg.OffsetCommitRequestTopicPartition{Partition: number, Offset: 1})
	}
	produce.Topics[0].Partitions[20].Records = kafkawire.BatchOf(kafkawire.NoStamp, at.Add(48*time.Hour), "x")
	produced := kafkawire.Answered(t, b.Addr(), produce).(*kmsg.ProduceResponse).Topics
	listed := kafkawire.Answered(t, b.Addr(), list).(*kmsg.ListOffsetsResponse).Topics
	committed := kafkawire.Answered(t, b.Addr(), commit).(*kmsg.OffsetCommitResponse).Topics
	if len(produced) != 1 || len(listed) != 1 || len(committed) != 1 || len(produced[0].Partitions) != partitions ||
		len(listed[0].Partitions) != partitions || len(committed[0].Partitions) != partitions {
		t.Fatalf("answers: %v, %v, %v", produced, listed, committed)
	}
	seen := make(map[int32]bool)
	for i := range partitions {
		p, l, c := produced[0].Partitions[i], listed[0].Partitions[i], committed[0].Partitions[i]
		seen[p.Partition] = true
		wantCode, wantOffset := int16(0), int64(0)
		if p.Partition == 20 {
			wantCode = 32
		}
		if l.Partition == 20 {
			wantOffset = -1
		}
		if p.ErrorCode != wantCode || l.ErrorCode != 0 || l.Offset != wantOffset || c.ErrorCode != 0 {
			t.Errorf("partition %d: produce %d, list %d at %d, commit %d", i, p.ErrorCode, l.ErrorCode, l.Offset, c.ErrorCode)
		}
	}
	if len(seen) != partitions {
		t.Errorf("%d partitions were answered", len(seen))
	}
}

// TestQuestionsWithoutReasonAreNotAnswered: each asks for an answer that is thousands of times as long.
func TestQuestionsWithoutReasonAreNotAnswered(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "wide", 500)
	metadata := kafkawire.Versioned(kmsg.NewPtrMetadataRequest())
	for range 1000 { // kfake answers once
		metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("wide")})
	}
	if topics := kafkawire.Answered(t, b.Addr(), metadata).(*kmsg.MetadataResponse).Topics; len(topics) != 1 || len(topics[0].Partitions) != 500 {
		t.Errorf("%d topics", len(topics))
	}
	none := kafkawire.Versioned(kmsg.NewPtrMetadataRequest())
	none.Topics = []kmsg.MetadataRequestTopic{} // of no topic, as opposed to all
	if topics := kafkawire.Answered(t, b.Addr(), none).(*kmsg.MetadataResponse).Topics; len(topics) != 0 {
		t.Errorf("%d topics", len(topics))
	}
	describe := kafkawire.Versioned(kmsg.NewPtrDescribeConfigsRequest())
	for range 1000 {
		describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "wide"})
	}
	if resources := kafkawire.Answered(t, b.Addr(), describe).(*kmsg.DescribeConfigsResponse).Resources; len(resources) != 1 {
		t.Errorf("%d resources", len(resources))
	}
	for i := range describe.Resources {
		describe.Resources[i].ResourceName = fmt.Sprint("t", i)
	}
	if err := kafkawire.Ask(t.Context(), b.Addr(), describe, describe.ResponseKind()); err == nil {
		t.Error("a question about 1000 resources was answered")
	}
	kafkawire.IsAlive(t, b.Addr())
}

func TestOnlyLoopbackIsListenedOnUnlessRemoteIsAllowed(t *testing.T) {
	remote := ownAddress(t)
	var logged bytes.Buffer
	options := Options{Addr: net.JoinHostPort(remote, "0"), Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	if b, err := Start(t.Context(), options); err == nil {
		_ = b.Close()
		t.Fatal("it listens on the address of a network card")
	} else if !errors.As(err, new(AddressError)) || !strings.Contains(err.Error(), "embedded_kafka.allow_remote") {
		t.Errorf("the error does not name the option: %v", err)
	}
	options.AllowRemote = true
	b, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "asks for no password") {
		t.Errorf("no warning: %s", &logged)
	}
	options.AllowRemote = false
	for _, addr := range []string{"localhost:0", "127.0.0.2:0"} {
		options.Addr = addr
		b, err := Start(t.Context(), options)
		if err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// ownAddress returns an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

// TestTheLogIsWatched without anybody asking: the broker ends within seconds when its files are taken away.
func TestTheLogIsWatched(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "watched", 1)
	kafkawire.MustProduce(t, b.Addr(), "watched", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	b.checkFiles()
	if err := os.RemoveAll(filepath.Join(dir, partsDir)); err != nil {
		t.Fatal(err)
	}
	<-b.Failed()
}

// TestRetentionGoesByTheRecordsTimeToTheMillisecond, each topic by its own and by seven days where it has none.
func TestRetentionGoesByTheRecordsTimeToTheMillisecond(t *testing.T) {
	b := start(t, t.TempDir())
	now := time.UnixMilli(time.Now().Add(30 * time.Minute).UnixMilli()) // after what the broker itself applies meanwhile
	for name, keep := range map[string]string{"week": "", "hour": "3600000", "none": "0", "ever": "-1", "eras": "9223372036854775807", "1970": fmt.Sprint(now.UnixMilli() + 1)} {
		var configs []string
		if keep != "" {
			configs = []string{"retention.ms", keep}
		}
		kafkawire.CreateTopic(t, b.Addr(), name, 2, configs...) // the second partition stays empty
		for i := range 3 {
			kafkawire.MustProduce(t, b.Addr(), name, kafkawire.BatchOf(kafkawire.NoStamp, now, fmt.Sprint(i)))
		}
	}
	r := &retention{cluster: b.cluster, guard: b.guard, logger: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		after time.Duration
		left  map[string]int
	}{
		{0, map[string]int{"week": 3, "hour": 3, "none": 3, "ever": 3, "eras": 3, "1970": 3}},
		{time.Millisecond, map[string]int{"week": 3, "hour": 3, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{time.Hour, map[string]int{"week": 3, "hour": 3, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{time.Hour + time.Millisecond, map[string]int{"week": 3, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{7 * 24 * time.Hour, map[string]int{"week": 3, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
		{7*24*time.Hour + time.Millisecond, map[string]int{"week": 1, "hour": 1, "none": 1, "ever": 3, "eras": 3, "1970": 3}},
	} {
		if err := r.apply(t.Context(), now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		for name, want := range c.left {
			if begin := kafkawire.ListOffset(t, b.Addr(), name, -2); begin != int64(3-want) {
				t.Errorf("after %v %s begins at %d, want %d left", c.after, name, begin, want)
			}
		}
	}
}

// TestRetentionBeginsWithTheBroker, not with its clock's first tick.
func TestRetentionBeginsWithTheBroker(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "old", 1, "retention.ms", "3600000")
	for _, age := range []time.Duration{50 * time.Hour, 40 * time.Hour, 0} {
		kafkawire.MustProduce(t, b.Addr(), "old", kafkawire.BatchOf(kafkawire.NoStamp, time.Now().Add(-age), "x"))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	kafkawire.Until(t, func() bool { return kafkawire.ListOffset(t, b.Addr(), "old", -2) == 2 })
	if err := b.Close(); err != nil || logged.Len() > 0 {
		t.Errorf("%v, logged: %s", err, &logged)
	}
}

// TestPartsOfOneAnswerAreOneTopics: what is refused and what is stored of a topic are answered together.
func TestPartsOfOneAnswerAreOneTopics(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "a", 2)
	kafkawire.CreateTopic(t, b.Addr(), "b", 1)
	bad := kafkawire.BatchOf(kafkawire.NoStamp, time.Now().Add(48*time.Hour), "x")
	request := kafkawire.ProduceRequest("a", 0, bad)
	request.Topics[0].Partitions = append(request.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: 1, Records: kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x")})
	request.Topics = append(request.Topics, kafkawire.ProduceRequest("b", 0, bad).Topics...)
	var got []string
	for _, topic := range kafkawire.Answered(t, b.Addr(), request).(*kmsg.ProduceResponse).Topics {
		for _, of := range topic.Partitions {
			got = append(got, fmt.Sprint(topic.Topic, of.Partition, " ", of.ErrorCode, " ", of.BaseOffset))
		}
	}
	if want := []string{"a0 32 -1", "b0 32 -1", "a1 0 0"}; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("%q, want %q", got, want)
	}
}
