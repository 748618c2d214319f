package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func commitRequest(group, topic, metadata string, partitions ...int32) *kmsg.OffsetCommitRequest {
	request := versioned(kmsg.NewPtrOffsetCommitRequest())
	request.Group, request.Generation = group, -1
	of := kmsg.OffsetCommitRequestTopic{Topic: topic}
	for _, number := range partitions {
		of.Partitions = append(of.Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: number, Offset: 1, Metadata: &metadata})
	}
	request.Topics = append(request.Topics, of)
	return request
}

// TestOffsetsAreKeptForPartitionsThatAre: what anybody makes up would be kept for a week.
func TestOffsetsAreKeptForPartitionsThatAre(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "offsets", 2)
	const unknown, tooLarge = 3, 12
	for _, c := range []struct {
		topic, metadata string
		partition       int32
		code            int16
	}{
		{"offsets", "", 0, 0},
		{"offsets", strings.Repeat("m", maxOffsetMetadata), 1, 0},
		{"offsets", strings.Repeat("m", maxOffsetMetadata+1), 1, tooLarge},
		{"offsets", "", 2, unknown},
		{"offsets", "", -1, unknown},
		{"made-up", "", 0, unknown},
	} {
		answer := answered(t, b.Addr(), commitRequest("g", c.topic, c.metadata, c.partition)).(*kmsg.OffsetCommitResponse)
		if code := answer.Topics[0].Partitions[0].ErrorCode; code != c.code {
			t.Errorf("%s-%d: error %d, want %d", c.topic, c.partition, code, c.code)
		}
	}
}

func TestThereAreOnlySoManyGroups(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "offsets", 1)
	const refused = 30
	commit := func(group string) int16 {
		return answered(t, b.Addr(), commitRequest(group, "offsets", "", 0)).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	}
	for n := range maxGroups {
		if code := commit(fmt.Sprint("group ", n)); code != 0 {
			t.Fatalf("group %d: error %d", n, code)
		}
	}
	if code := commit("one more"); code != refused {
		t.Errorf("one more: error %d", code)
	}
	join := versioned(kmsg.NewPtrJoinGroupRequest())
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = "one more", 6000, 6000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	if code := answered(t, b.Addr(), join).(*kmsg.JoinGroupResponse).ErrorCode; code != refused {
		t.Errorf("joining one more: error %d", code)
	}
	if n := b.guard.refusals.Load(); n != 2 {
		t.Errorf("%d refusals are counted", n)
	}
	if code := commit("group 7"); code != 0 {
		t.Errorf("a group that is there: error %d", code)
	}
	ownAsks(t, b, commitRequest("the server's", "offsets", "", 0)) // under no such bound
	if code := commit("the server's"); code != 0 {
		t.Errorf("a group that the server made: error %d", code)
	}
}

func TestABrokerWhoseLogIsTakenAwayStops(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "taken", 2)
	mustProduce(t, b.Addr(), "taken", batchOf(noStamp, time.Now(), "x"))
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
