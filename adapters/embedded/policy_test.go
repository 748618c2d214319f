package embedded

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

// ownTopics are as a server makes them.
var ownTopics = map[string]map[string]string{
	"chatting.conversations": {"retention.ms": "604800000", "max.message.bytes": "1048576", "cleanup.policy": "delete"},
	"chatting.sessions":      {"retention.ms": "3600000", "max.message.bytes": "1048576", "cleanup.policy": "delete"},
}

// startServer runs a broker whose own topics are there.
func startServer(t *testing.T, dir string, log *bytes.Buffer) *Broker {
	t.Helper()
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Own: ownTopics, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	request := kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest())
	for name, configs := range ownTopics {
		topic := kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 2, ReplicationFactor: 1}
		for key, value := range configs {
			topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: key, Value: kmsg.StringPtr(value)})
		}
		request.Topics = append(request.Topics, topic)
	}
	ownAsks(t, b, request)
	return b
}

const (
	policyViolation = 44
	invalidConfig   = 40
)

func TestTopicsThatWouldHarmTheBrokerAreNotMade(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	const invalidPartitions, invalidTopic = 37, 17
	for _, name := range []string{"../../x", "a/b", "..", ".", strings.Repeat("x", 250), "space ", "nul\x00"} {
		if code := kafkawire.CreateTopic(t, b.Addr(), name, 1); code != invalidTopic {
			t.Errorf("%q: error %d", name, code)
		}
	}
	for _, config := range [][]string{
		{"retention.ms", "soon"}, {"max.message.bytes", "100000000"}, {"cleanup.policy", "compact"}, {"retention.bytes", "1"},
		{"message.timestamp.type", "LogAppendTime"}, {"no.such.setting", "1"}, {"compression.type", strings.Repeat("x", 10_000)},
	} {
		if code := kafkawire.CreateTopic(t, b.Addr(), "configured", 1, config...); code != invalidConfig {
			t.Errorf("%s: error %d", config[0], code)
		}
	}
	if code := kafkawire.CreateTopic(t, b.Addr(), "many", 1<<31-1); code != invalidPartitions {
		t.Errorf("2^31-1 partitions: error %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, topicsFile)); err == nil {
		if topics := topicsIn(t, dir); len(topics) != 0 {
			t.Errorf("topics: %v", topics)
		}
	}
	kafkawire.CreateTopic(t, b.Addr(), "a.b", 1)
	if code := kafkawire.CreateTopic(t, b.Addr(), "a_b", 1); code != invalidTopic {
		t.Errorf("a name that collides: error %d", code)
	}
	if code := kafkawire.CreateTopic(t, b.Addr(), "most", 1000-1); code != 0 {
		t.Errorf("as many partitions as there may be: error %d", code)
	}
	if code := kafkawire.CreateTopic(t, b.Addr(), "more", 1); code != invalidPartitions {
		t.Errorf("one more: error %d", code)
	}
}

// TestOneOfSeveralTopicsIsRefused: the others are made.
func TestOneOfSeveralTopicsIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	request := kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest())
	for _, name := range []string{"good", "not/good", "fine"} {
		request.Topics = append(request.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1})
	}
	codes := make(map[string]int16)
	for _, topic := range kafkawire.Answered(t, b.Addr(), request).(*kmsg.CreateTopicsResponse).Topics {
		codes[topic.Topic] = topic.ErrorCode
		if topic.ErrorCode != 0 && topic.ErrorMessage == nil {
			t.Errorf("%s: nothing says why", topic.Topic)
		}
	}
	if len(codes) != 3 || codes["good"] != 0 || codes["not/good"] != 17 || codes["fine"] != 0 {
		t.Errorf("errors: %v", codes)
	}
	if topics := readTopics(t, readKept(t, dir).Topics); len(topics) != 2 { // at once, as a later start needs them
		t.Errorf("kept: %v", topics)
	}
}

func TestOnlyTopicsSettingsCanBeAltered(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "alter", 1)
	for _, c := range []struct {
		kind       kmsg.ConfigResourceType
		name       string
		key, value string
		op         kmsg.IncrementalAlterConfigOp
		code       int16
	}{
		{kmsg.ConfigResourceTypeTopic, "alter", "retention.ms", "60000", kmsg.IncrementalAlterConfigOpSet, 0},
		{kmsg.ConfigResourceTypeTopic, "alter", "retention.ms", "x", kmsg.IncrementalAlterConfigOpSet, invalidConfig},
		{kmsg.ConfigResourceTypeTopic, "alter", "cleanup.policy", "compact", kmsg.IncrementalAlterConfigOpAppend, invalidConfig},
		{kmsg.ConfigResourceTypeBroker, "", "log.cleaner.backoff.ms", "0", kmsg.IncrementalAlterConfigOpSet, policyViolation},
		{kmsg.ConfigResourceTypeBroker, "0", "offsets.retention.check.interval.ms", "0", kmsg.IncrementalAlterConfigOpSet, policyViolation},
	} {
		if code := alter(t, b, c.kind, c.name, c.op, c.key, c.value); code != c.code {
			t.Errorf("%s=%s: error %d, want %d", c.key, c.value, code, c.code)
		}
	}
}

func alter(t *testing.T, b *Broker, kind kmsg.ConfigResourceType, name string, op kmsg.IncrementalAlterConfigOp, key, value string) int16 {
	t.Helper()
	return kafkawire.Answered(t, b.Addr(), alterRequest(kind, name, op, key, value)).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
}

func alterRequest(kind kmsg.ConfigResourceType, name string, op kmsg.IncrementalAlterConfigOp, key, value string) kmsg.Request {
	request := kafkawire.Versioned(kmsg.NewPtrIncrementalAlterConfigsRequest())
	request.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kind, ResourceName: name,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Op: op, Value: &value}},
	}}
	return request
}

// TestTheServersTopicsAreNotForClientsToChange: whatever they try, the settings stay and the records as well.
func TestTheServersTopicsAreNotForClientsToChange(t *testing.T) {
	dir := t.TempDir()
	b := startServer(t, dir, new(bytes.Buffer))
	const own = "chatting.conversations"
	before := topicsIn(t, dir)
	if len(before) != len(ownTopics) {
		t.Fatalf("%v", before)
	}
	for key, value := range map[string]string{
		"max.message.bytes": "0", "retention.ms": "0", "retention.bytes": "-1", "cleanup.policy": "delete",
		"message.timestamp.type": "CreateTime", "min.insync.replicas": "1", "segment.bytes": "1048576",
	} {
		for _, op := range []kmsg.IncrementalAlterConfigOp{kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete} {
			if code := alter(t, b, kmsg.ConfigResourceTypeTopic, own, op, key, value); code != policyViolation {
				t.Errorf("%s, operation %d: error %d", key, op, code)
			}
		}
	}
	old := kafkawire.Versioned(kmsg.NewPtrAlterConfigsRequest())
	old.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: own}}
	if code := kafkawire.Answered(t, b.Addr(), old).(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode; code != policyViolation {
		t.Errorf("AlterConfigs: error %d", code)
	}
	topics := kafkawire.Versioned(kmsg.NewPtrDeleteTopicsRequest())
	topics.TopicNames = []string{own}
	if code := kafkawire.Answered(t, b.Addr(), topics).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode; code != policyViolation {
		t.Errorf("DeleteTopics: error %d", code)
	}
	records := kafkawire.Versioned(kmsg.NewPtrDeleteRecordsRequest())
	records.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: own, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
	if code := kafkawire.Answered(t, b.Addr(), records).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode; code != policyViolation {
		t.Errorf("DeleteRecords: error %d", code)
	}
	partitions := kafkawire.Versioned(kmsg.NewPtrCreatePartitionsRequest())
	partitions.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: own, Count: 9}}
	if code := kafkawire.Answered(t, b.Addr(), partitions).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode; code != policyViolation {
		t.Errorf("CreatePartitions: error %d", code)
	}
	groups := kafkawire.Versioned(kmsg.NewPtrDeleteGroupsRequest())
	groups.Groups = []string{"chatting.history"}
	if code := kafkawire.Answered(t, b.Addr(), groups).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode; code != policyViolation {
		t.Errorf("DeleteGroups: error %d", code)
	}
	offsets := kafkawire.Versioned(kmsg.NewPtrOffsetDeleteRequest())
	offsets.Group = "chatting.history"
	if code := kafkawire.Answered(t, b.Addr(), offsets).(*kmsg.OffsetDeleteResponse).ErrorCode; code != policyViolation {
		t.Errorf("OffsetDelete: error %d", code)
	}
	for _, name := range []string{own, "chatting_sessions"} { // the latter would keep the server from making its own
		if code := kafkawire.CreateTopic(t, b.Addr(), name, 1, "max.message.bytes", "0"); code != policyViolation {
			t.Errorf("making %s: error %d", name, code)
		}
	}
	after := topicsIn(t, dir)
	if len(after) != len(before) {
		t.Fatalf("%v", after)
	}
	for i := range after {
		for key, value := range before[i].Configs {
			if after[i].Name != before[i].Name || after[i].Configs[key] != value || len(after[i].Configs) != len(before[i].Configs) {
				t.Errorf("%s: %v, not %v", after[i].Name, after[i].Configs, before[i].Configs)
			}
		}
	}
	// What a client of an earlier version did is set right at the next start.
	ownAsks(t, b, alterRequest(kmsg.ConfigResourceTypeTopic, own, kmsg.IncrementalAlterConfigOpSet, "max.message.bytes", "0"))
	ownAsks(t, b, alterRequest(kmsg.ConfigResourceTypeTopic, own, kmsg.IncrementalAlterConfigOpSet, "segment.bytes", "1048576"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b = startServer(t, dir, &logged)
	kafkawire.MustProduce(t, b.Addr(), own, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	if !strings.Contains(logged.String(), "set right") {
		t.Errorf("nothing says so: %s", &logged)
	}
	for _, topic := range topicsIn(t, dir) {
		if _, extra := topic.Configs["segment.bytes"]; extra {
			t.Errorf("%s has %v still", topic.Name, topic.Configs)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	logged.Reset()
	if startServer(t, dir, &logged); logged.Len() > 0 {
		t.Errorf("of what is right: %s", &logged)
	}
}

// TestRecordsOfAnyTimeAreTakenAsARealBrokerDoes: only those that are far ahead are refused, which the log says.
func TestRecordsOfAnyTimeAreTakenAsARealBrokerDoes(t *testing.T) {
	var logged bytes.Buffer
	dir := t.TempDir()
	b := startServer(t, dir, &logged)
	kafkawire.CreateTopic(t, b.Addr(), "times", 1)
	now := time.Now()
	for i, at := range []time.Time{now.Add(-31 * time.Minute), now.AddDate(-10, 0, 0), time.UnixMilli(0), time.UnixMilli(-1), now.Add(50 * time.Minute)} {
		if offset := kafkawire.MustProduce(t, b.Addr(), "times", kafkawire.BatchOf(kafkawire.NoStamp, at, "x")); offset != int64(i) {
			t.Errorf("%s: offset %d", at, offset)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged: %s", &logged)
	}
	request := kafkawire.ProduceRequest("times", 0, kafkawire.BatchOf(kafkawire.NoStamp, now.Add(2*time.Hour), "x"))
	answer := kafkawire.Answered(t, b.Addr(), request).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if answer.ErrorCode != 32 || answer.ErrorMessage == nil || !strings.Contains(*answer.ErrorMessage, "ahead") {
		t.Errorf("of the future: error %d, %v", answer.ErrorCode, answer.ErrorMessage)
	}
	if !strings.Contains(logged.String(), "records for times") {
		t.Errorf("the log does not say what is refused: %s", &logged)
	}
	// Old records do not take those with them that came later and are younger.
	kafkawire.MustProduce(t, b.Addr(), "times", kafkawire.BatchOf(kafkawire.NoStamp, now, "young"))
	kafkawire.MustProduce(t, b.Addr(), "times", kafkawire.BatchOf(kafkawire.NoStamp, now.AddDate(-1, 0, 0), "old"))
	if err := (&retention{cluster: b.cluster, guard: b.guard}).apply(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, record := range kafkawire.ReadAll(t, b.Addr(), "times") {
		left = append(left, record.Value)
	}
	if len(left) == 0 || left[len(left)-1] != "old" || left[len(left)-2] != "young" {
		t.Errorf("%v are left", left)
	}
	if err := b.Close(); err != nil { // which writes times down
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "partitions", "times-0", "snapshot.json")); err != nil {
		t.Errorf("%s, %v", raw, err)
	}
}

// TestARequestForNothingIsAnsweredWithNothing.
func TestARequestForNothingIsAnsweredWithNothing(t *testing.T) {
	b := start(t, t.TempDir())
	list := kafkawire.Versioned(kmsg.NewPtrListOffsetsRequest())
	list.ReplicaID = -1
	produce := kafkawire.Versioned(kmsg.NewPtrProduceRequest())
	produce.Acks = -1
	commit := kafkawire.Versioned(kmsg.NewPtrOffsetCommitRequest())
	commit.Group, commit.Generation = "g", -1
	for _, request := range []kmsg.Request{
		list, produce, commit, kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest()), kafkawire.Versioned(kmsg.NewPtrIncrementalAlterConfigsRequest()),
	} {
		response := kafkawire.Answered(t, b.Addr(), request)
		if want := request.ResponseKind(); !bytes.Equal(response.AppendTo(nil), want.AppendTo(nil)) {
			t.Errorf("%T: %+v", request, response)
		}
	}
}

// TestEachSettingOfARequestIsJudged, and each resource answered under its name.
func TestEachSettingOfARequestIsJudged(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	for _, name := range []string{"a", "b", "c"} {
		kafkawire.CreateTopic(t, b.Addr(), name, 1, "segment.ms", "5")
	}
	set, remove := kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete
	config := func(op kmsg.IncrementalAlterConfigOp, name, value string) kmsg.IncrementalAlterConfigsRequestResourceConfig {
		return kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: op, Value: &value}
	}
	request := kafkawire.Versioned(kmsg.NewPtrIncrementalAlterConfigsRequest())
	for _, of := range []struct {
		kind    kmsg.ConfigResourceType
		name    string
		configs []kmsg.IncrementalAlterConfigsRequestResourceConfig
	}{
		{kmsg.ConfigResourceTypeTopic, "a", []kmsg.IncrementalAlterConfigsRequestResourceConfig{config(set, "retention.ms", "7"), config(set, "retention.ms", "soon")}},
		{kmsg.ConfigResourceTypeTopic, "b", []kmsg.IncrementalAlterConfigsRequestResourceConfig{config(remove, "segment.ms", ""), config(set, "retention.ms", "8")}},
		{kmsg.ConfigResourceTypeTopic, "c", []kmsg.IncrementalAlterConfigsRequestResourceConfig{config(remove, "no.such", "")}},
		{kmsg.ConfigResourceTypeBroker, "0", nil},
	} {
		request.Resources = append(request.Resources, kmsg.IncrementalAlterConfigsRequestResource{
			ResourceType: of.kind, ResourceName: of.name, Configs: of.configs,
		})
	}
	got := make(map[string]int16)
	for _, of := range kafkawire.Answered(t, b.Addr(), request).(*kmsg.IncrementalAlterConfigsResponse).Resources {
		got[of.ResourceType.String()+" "+of.ResourceName] = of.ErrorCode
		if of.ErrorCode != 0 && (of.ErrorMessage == nil || *of.ErrorMessage == "") {
			t.Errorf("%s: nothing says why", of.ResourceName)
		}
	}
	if want := map[string]int16{"TOPIC a": invalidConfig, "TOPIC b": 0, "TOPIC c": invalidConfig, "BROKER 0": policyViolation}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	topics := topicsIn(t, dir)
	if len(topics) != 3 {
		t.Fatalf("%v", topics)
	}
	for _, topic := range topics {
		want := map[string]map[string]string{"a": {"segment.ms": "5"}, "b": {"retention.ms": "8"}, "c": {"segment.ms": "5"}}[topic.Name]
		if !maps.Equal(topic.Configs, want) {
			t.Errorf("%s has %v, want %v", topic.Name, topic.Configs, want)
		}
	}
	if keptTopics := readTopics(t, readKept(t, dir).Topics); !reflect.DeepEqual(keptTopics, topics) { // a later start finds the new settings
		t.Errorf("kept: %v", keptTopics)
	}
}

// TestTheServersPartitionsTakeNoPlaceOfClients, who may have as many as if the server had none.
func TestTheServersPartitionsTakeNoPlaceOfClients(t *testing.T) {
	b := startServer(t, t.TempDir(), new(bytes.Buffer))
	request := kafkawire.Versioned(kmsg.NewPtrCreateTopicsRequest())
	request.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "most", NumPartitions: 1000, ReplicationFactor: 1}}
	request.ValidateOnly = true
	if code := kafkawire.Answered(t, b.Addr(), request).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Errorf("error %d", code)
	}
}
