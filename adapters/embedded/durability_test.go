package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

func TestAcknowledgedRecordsSurviveSIGKILLOnceAndInOrder(t *testing.T) {
	dir := t.TempDir()
	const rounds, batches, killAfter = 4, 200, 25
	var (
		producer  kafkawire.Stamp
		sent      []string // of every batch that was begun, in order
		unsettled []byte   // the batch whose answer is missing
	)
	for round := range rounds {
		c := startChild(t, dir)
		if round == 0 {
			if code := kafkawire.CreateTopic(t, c.addr, "kill", 1); code != 0 {
				t.Fatalf("create: error %d", code)
			}
			producer = kafkawire.NewProducer(t, c.addr)
		}
		enough, gone := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(gone)
			<-enough
			c.kill()
		}()
		for n := range batches {
			if n == killAfter {
				close(enough) // from here on the kill meets a batch somewhere
			}
			if unsettled == nil {
				values := make([]string, 1+n%3)
				for i := range values {
					values[i] = strconv.Itoa(len(sent))
					sent = append(sent, values[i])
				}
				unsettled = kafkawire.BatchOf(producer, time.Now(), values...)
				producer.First += int32(len(values))
			}
			_, code, err := kafkawire.Produce(t, c.addr, "kill", unsettled)
			if err != nil && n >= killAfter {
				break
			}
			if err != nil || code != 0 {
				t.Fatalf("round %d, batch %d: error %d, %v", round, n, code, err)
			}
			unsettled = nil
		}
		<-gone
	}
	b := start(t, dir)
	if unsettled != nil {
		kafkawire.MustProduce(t, b.Addr(), "kill", unsettled)
	}
	var got []string
	for i, record := range kafkawire.ReadAll(t, b.Addr(), "kill") {
		if record.Offset != int64(i) {
			t.Fatalf("record %d stands at offset %d", i, record.Offset)
		}
		got = append(got, record.Value)
	}
	if !slices.Equal(got, sent) {
		t.Fatalf("sent %d records, the log has %d:\n%v", len(sent), len(got), got)
	}
}

func TestSameStampedBatchSurvivesSIGKILL(t *testing.T) {
	for _, end := range []string{"SIGKILL", "Close"} {
		t.Run(end, func(t *testing.T) {
			dir := t.TempDir()
			c := startChild(t, dir)
			kafkawire.CreateTopic(t, c.addr, "again", 1)
			producer := kafkawire.NewProducer(t, c.addr)
			var batches [][]byte
			for i := range 8 {
				producer.First = int32(2 * i)
				batches = append(batches, kafkawire.BatchOf(producer, time.Now(), "a", "b"))
				kafkawire.MustProduce(t, c.addr, "again", batches[i])
			}
			for range 2 { // the second start finds what the first wrote
				if end == "SIGKILL" {
					c.kill()
				} else if err := c.stop(); err != nil {
					t.Fatal(err)
				}
				c = startChild(t, dir)
				for i := 3; i < 8; i++ {
					if offset := kafkawire.MustProduce(t, c.addr, "again", batches[i]); offset != int64(2*i) {
						t.Errorf("batch %d sent again: offset %d", i, offset)
					}
				}
				const outOfOrder = 45
				gap := producer
				gap.First = 18
				if _, code, err := kafkawire.Produce(t, c.addr, "again", kafkawire.BatchOf(gap, time.Now(), "c")); code != outOfOrder || err != nil {
					t.Errorf("after a gap: error %d, %v", code, err)
				}
			}
			producer.First = 16
			if offset := kafkawire.MustProduce(t, c.addr, "again", kafkawire.BatchOf(producer, time.Now(), "next")); offset != 16 {
				t.Errorf("the next batch: offset %d", offset)
			}
			// An epoch bumped by the client, sequence from 0; then a late batch of the old epoch.
			const fenced = 47
			bumped := kafkawire.Stamp{ID: producer.ID, Epoch: producer.Epoch + 1}
			kafkawire.MustProduce(t, c.addr, "again", kafkawire.BatchOf(bumped, time.Now(), "bumped"))
			c.kill()
			c = startChild(t, dir)
			late := kafkawire.Stamp{ID: producer.ID, Epoch: producer.Epoch}
			if _, code, err := kafkawire.Produce(t, c.addr, "again", kafkawire.BatchOf(late, time.Now(), "late")); code != fenced || err != nil {
				t.Errorf("a late batch of the old epoch: error %d, %v", code, err)
			}
			if end := kafkawire.ListOffset(t, c.addr, "again", -1); end != 18 {
				t.Errorf("the log ends at %d", end)
			}
		})
	}
}

func TestTopicsConfigsAndGroupOffsetsSurviveSIGKILL(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	configs := map[string]string{"retention.ms": "3600000", "max.message.bytes": "4194304", "segment.ms": "600000"}
	var flat []string
	for name, value := range configs {
		flat = append(flat, name, value)
	}
	if code := kafkawire.CreateTopic(t, c.addr, "kept", 16, flat...); code != 0 {
		t.Fatalf("create: error %d", code)
	}
	groups := filepath.Join(dir, groupsFile)
	commit := kafkawire.Versioned(kmsg.NewPtrOffsetCommitRequest())
	commit.Group, commit.Generation = "readers", -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "kept"
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset = 7, 40
	topic.Partitions = append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	if code := kafkawire.Answered(t, c.addr, commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("commit: error %d", code)
	}
	c.kill()
	// A torn entry at the end, and entries behind it, twice.
	for _, offset := range []int64{41, 42} {
		torn, err := os.OpenFile(groups, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := torn.Write([]byte{40, 0, 0, 0, 1, 2, 3, 4, 1, 0, '{'}); err != nil {
			t.Fatal(err)
		}
		if err := torn.Close(); err != nil {
			t.Fatal(err)
		}
		c = startChild(t, dir)
		commit.Topics[0].Partitions[0].Offset = offset
		kafkawire.Answered(t, c.addr, commit)
		c.kill()
	}
	c = startChild(t, dir)

	describe := kafkawire.Versioned(kmsg.NewPtrDescribeConfigsRequest())
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, "kept"
	describe.Resources = append(describe.Resources, resource)
	found := 0
	for _, config := range kafkawire.Answered(t, c.addr, describe).(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
		if want, set := configs[config.Name]; set {
			found++
			if *config.Value != want {
				t.Errorf("%s is %s", config.Name, *config.Value)
			}
		}
	}
	if found != len(configs) {
		t.Errorf("%d of %d configs", found, len(configs))
	}
	metadata := kafkawire.Versioned(kmsg.NewPtrMetadataRequest())
	if topics := kafkawire.Answered(t, c.addr, metadata).(*kmsg.MetadataResponse).Topics; len(topics) != 1 || len(topics[0].Partitions) != 16 {
		t.Errorf("topics: %v", topics)
	}
	fetch := kafkawire.Versioned(kmsg.NewPtrOffsetFetchRequest())
	fetch.Group = "readers"
	of := kmsg.NewOffsetFetchRequestTopic()
	of.Topic, of.Partitions = "kept", []int32{7}
	fetch.Topics = append(fetch.Topics, of)
	if offset := kafkawire.Answered(t, c.addr, fetch).(*kmsg.OffsetFetchResponse).Topics[0].Partitions[0].Offset; offset != 42 {
		t.Errorf("the group's offset is %d", offset)
	}
}

func TestDamagedTailDoesNotKeepTheBrokerFromStarting(t *testing.T) {
	damages := map[string]struct {
		damage func(raw []byte) []byte
		left   int // records
	}{
		"the last bytes missing":   {func(raw []byte) []byte { return raw[:len(raw)-5] }, 9},
		"half a header at the end": {func(raw []byte) []byte { return append(raw, make([]byte, 30)...) }, 10},
		"zeros at the end":         {func(raw []byte) []byte { return append(raw, make([]byte, 4096)...) }, 10},
		"a bit of the last batch":  {func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw }, 9},
	}
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := start(t, dir)
			kafkawire.CreateTopic(t, b.Addr(), "torn", 1)
			producer := kafkawire.NewProducer(t, b.Addr())
			var last []byte
			for i := range 10 {
				producer.First = int32(i)
				last = kafkawire.BatchOf(producer, time.Now(), fmt.Sprint(i))
				kafkawire.MustProduce(t, b.Addr(), "torn", last)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			unsynced(t, dir)
			file := filepath.Join(dir, "partitions", "torn-0", "0.dat")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			size := len(raw)
			damaged := c.damage(raw)
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}

			b = start(t, dir)
			records := kafkawire.ReadAll(t, b.Addr(), "torn")
			if len(records) != c.left {
				t.Fatalf("%d records are left, want %d", len(records), c.left)
			}
			if cutBytes := len(damaged) - c.left*size/10; cutBytes > 0 { // all batches are of one size
				entries, err := os.ReadDir(filepath.Join(dir, damagedDir))
				if err != nil || len(entries) != 1 {
					t.Fatalf("what was cut is not kept: %v %v", entries, err)
				}
				if info, err := entries[0].Info(); err != nil || info.Size() != int64(cutBytes) {
					t.Errorf("kept %d bytes of %d, %v", info.Size(), cutBytes, err)
				}
			}
			// Whether it was cut or not: sent again, the last batch is there once, at its place.
			if offset := kafkawire.MustProduce(t, b.Addr(), "torn", last); offset != 9 {
				t.Errorf("the last batch sent again: offset %d", offset)
			}
			if records := kafkawire.ReadAll(t, b.Addr(), "torn"); len(records) != 10 {
				t.Errorf("%d records", len(records))
			}
		})
	}
}

func TestAfterAFailedWriteNothingIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "full", 1)
	producer := kafkawire.NewProducer(t, b.Addr())
	// A file where the partition's directory belongs fails the write as a full disk would.
	if err := os.MkdirAll(filepath.Join(dir, "partitions"), 0o700); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "partitions", "full-0")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	batch := kafkawire.BatchOf(producer, time.Now(), "lost?")
	for range 2 {
		if offset, code, err := kafkawire.Produce(t, b.Addr(), "full", batch); err == nil && code == 0 {
			t.Errorf("acknowledged at %d although it cannot be in the log", offset)
		}
	}
	<-b.Failed()
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err == nil {
		t.Error("Close does not tell of the failed write")
	}
	b = start(t, dir)
	if offset := kafkawire.MustProduce(t, b.Addr(), "full", batch); offset != 0 {
		t.Errorf("sent again: offset %d", offset)
	}
	if records := kafkawire.ReadAll(t, b.Addr(), "full"); len(records) != 1 {
		t.Errorf("%d records", len(records))
	}
}
