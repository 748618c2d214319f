package protocol

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

type listed = kmsg.ListOffsetsRequestTopic

func partitionsOf(t *listed) *[]kmsg.ListOffsetsRequestTopicPartition { return &t.Partitions }

func topicOf(name string, from, to int32) listed {
	topic := listed{Topic: name}
	for number := from; number < to; number++ {
		topic.Partitions = append(topic.Partitions, kmsg.ListOffsetsRequestTopicPartition{Partition: number})
	}
	return topic
}

// written writes topics as name:first-end, for a list that the eye can compare.
func written(topics []listed) string {
	var all []string
	for _, topic := range topics {
		numbers := make([]string, 0, len(topic.Partitions))
		for _, of := range topic.Partitions {
			numbers = append(numbers, fmt.Sprint(of.Partition))
		}
		all = append(all, topic.Topic+":"+strings.Join(numbers, "."))
	}
	return strings.Join(all, " ")
}

func TestARequestIsCutIntoPartsAndPutTogetherAgain(t *testing.T) {
	for _, c := range []struct {
		topics []listed
		want   []string
	}{
		{nil, nil},
		{[]listed{topicOf("a", 0, 0)}, nil},
		{[]listed{topicOf("a", 0, 2)}, []string{"a:0.1"}},
		{[]listed{topicOf("a", 0, 3)}, []string{"a:0.1.2"}},
		{[]listed{topicOf("a", 0, 4)}, []string{"a:0.1.2", "a:3"}},
		{[]listed{topicOf("a", 0, 6)}, []string{"a:0.1.2", "a:3.4.5"}},
		{[]listed{topicOf("a", 0, 2), topicOf("b", 0, 5)}, []string{"a:0.1 b:0", "b:1.2.3", "b:4"}},
		{[]listed{topicOf("a", 0, 1), topicOf("b", 0, 1), topicOf("c", 0, 1), topicOf("d", 0, 1)}, []string{"a:0 b:0 c:0", "d:0"}},
	} {
		parts, err := Split(c.topics, partitionsOf, 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var together []listed
		for _, part := range parts {
			got = append(got, written(part))
			together = Merge(together, part, func(t *listed) string { return t.Topic }, partitionsOf)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s is cut into %q, want %q", written(c.topics), got, c.want)
		}
		if len(c.topics) > 0 && len(c.topics[0].Partitions) > 0 && written(together) != written(c.topics) {
			t.Errorf("%s put together is %s", written(c.topics), written(together))
		}
	}
	half := int32(maxAsked / 2)
	if _, err := Split([]listed{topicOf("a", 0, half), topicOf("b", 0, maxAsked-half)}, partitionsOf, 3); err != nil {
		t.Errorf("as many partitions as there may be: %v", err)
	}
	if _, err := Split([]listed{topicOf("a", 0, half), topicOf("b", 0, maxAsked-half+1)}, partitionsOf, 3); err == nil {
		t.Error("one partition more")
	}
}

func TestFramesAreBoundedByWhatTheyAsk(t *testing.T) {
	for _, c := range []struct {
		key  kmsg.Key
		own  bool
		most uint32
	}{
		{kmsg.Produce, false, MaxProduceFrame}, {kmsg.SyncGroup, false, MaxSyncFrame}, {kmsg.JoinGroup, false, MaxJoinFrame},
		{kmsg.Metadata, false, MaxOtherFrame}, {99, false, MaxOtherFrame}, {kmsg.Metadata, true, MaxProduceFrame}, {kmsg.JoinGroup, true, MaxProduceFrame},
	} {
		for size, good := range map[uint32]bool{minFrame - 1: false, minFrame: true, c.most: true, c.most + 1: false, 1 << 31: false, 0: false} {
			if err := CheckSize(size, c.key, c.own); (err == nil) != good {
				t.Errorf("key %d, own %v, %d bytes: %v", c.key, c.own, size, err)
			}
		}
	}
}

func TestOnlyServedVersionsAreRead(t *testing.T) {
	for key, passing := range apis {
		for version, good := range map[int16]bool{
			passing.minVersion - 1: false, passing.minVersion: true, passing.maxVersion: true, passing.maxVersion + 1: false,
		} {
			request := kmsg.RequestForKey(int16(key))
			request.SetVersion(max(version, 0))
			frame := kafkawire.FrameOf(request)
			frame[2], frame[3] = byte(version>>8), byte(version)
			r, err := Parse(frame)
			if key == kmsg.ApiVersions && version > passing.maxVersion {
				if err != nil || r.Body != nil || r.Correlation != 7 {
					t.Errorf("ApiVersions %d: %+v, %v", version, r, err)
				}
				continue
			}
			if (err == nil) != good || good && (r.Body.GetVersion() != version || r.Correlation != 7) {
				t.Errorf("key %d, version %d: %v", key, version, err)
			}
		}
	}
	frame := kafkawire.FrameOf(kafkawire.Versioned(kmsg.NewPtrMetadataRequest()))
	for size := range len(frame) {
		if _, err := Parse(slices.Clone(frame[:size])); err == nil {
			t.Errorf("%d of %d bytes are taken", size, len(frame))
		}
	}
}

func TestAQuestionIsAboutSoManyThings(t *testing.T) {
	for more, good := range map[int]bool{0: true, 1: false} {
		groups, configs := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrDescribeConfigsRequest()
		for i := range maxNamed + more {
			groups.Groups = append(groups.Groups, fmt.Sprint(i), "0") // the second is one that is there already
			for _, kind := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic} {
				configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: fmt.Sprint(i)})
			}
		}
		if err := WithinReason(groups); (err == nil) != good || good && len(groups.Groups) != maxNamed {
			t.Errorf("%d groups: %v", len(groups.Groups), err)
		}
		if err := WithinReason(configs); (err == nil) != good || good && len(configs.Resources) != maxNamed {
			t.Errorf("the settings of %d resources: %v", len(configs.Resources), err)
		}
	}
	two := kmsg.NewPtrDescribeConfigsRequest()
	two.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "1"}, {ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"},
	}
	if err := WithinReason(two); err != nil || len(two.Resources) != 2 {
		t.Errorf("a broker and a topic of one name: %v, %v", two.Resources, err)
	}
	if err := WithinReason(kafkawire.Versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Error(err)
	}
}

const (
	policyViolation = 44
	invalidConfig   = 40
)

func TestSettingsAreTakenWithinTheirBounds(t *testing.T) {
	for name, c := range map[string]struct{ good, bad []string }{
		"retention.ms":           {[]string{"-1", "0", "9223372036854775807"}, []string{"-2", "9223372036854775808", "", "1h", "1.5"}},
		"retention.bytes":        {[]string{"-1"}, []string{"-2", "0", "1"}},
		"max.message.bytes":      {[]string{"0", "6291456"}, []string{"-1", "6291457"}},
		"segment.bytes":          {[]string{"1048576", "1073741824"}, []string{"1048575", "1073741825"}},
		"segment.ms":             {[]string{"0"}, []string{"-1"}},
		"cleanup.policy":         {[]string{"delete"}, []string{"compact", "delete,compact", "Delete", ""}},
		"message.timestamp.type": {[]string{"CreateTime"}, []string{"LogAppendTime"}},
		"min.insync.replicas":    {[]string{"1"}, []string{"0", "2"}},
		"compression.type":       {[]string{"zstd", strings.Repeat("x", maxConfigValue)}, []string{strings.Repeat("x", maxConfigValue+1)}},
		"flush.messages":         {[]string{"1"}, []string{"0"}},
		"preallocate":            {[]string{"true", "false"}, []string{"yes"}},
		"remote.storage.enable":  {[]string{"false"}, []string{"true"}},
		"segment.index.bytes":    {[]string{"4"}, []string{"3"}},
	} {
		if wrong := judgeConfig(name, nil); wrong != nil {
			t.Errorf("the default of %s: %v", name, wrong)
		}
		for _, value := range c.good {
			if wrong := judgeConfig(name, &value); wrong != nil {
				t.Errorf("%s=%.20s: %v", name, value, wrong)
			}
		}
		for _, value := range c.bad {
			if wrong := judgeConfig(name, &value); wrong == nil || wrong.Code != invalidConfig || !strings.Contains(wrong.Text, name) {
				t.Errorf("%s=%.20s: %v", name, value, wrong)
			}
		}
	}
	if wrong := judgeConfig("no.such", nil); wrong == nil || wrong.Code != invalidConfig {
		t.Errorf("an unknown name: %v", wrong)
	}
}

func TestANameIsTheServersIfKafkaTakesItForTheSame(t *testing.T) {
	p := Policy{Own: map[string]map[string]string{"chatting.system-messages": nil, "a_b": nil}}
	for name, own := range map[string]bool{
		"chatting.system-messages": true, "chatting_system-messages": true, "a_b": true, "a.b": true,
		"chatting-system-messages": false, "chatting.system-messages.dlt": false, "chatting.system": false, "a..b": false, "": false,
	} {
		if p.Owns(name) != own {
			t.Errorf("%q: %v", name, !own)
		}
	}
	for name, code := range map[string]int16{
		"a": 0, strings.Repeat("x", 249): 0, strings.Repeat("x", 250): 17, "": 17, ".": 17, "..": 17, "...": 0, "a.b": policyViolation, "a\n": 17,
	} {
		topic := kmsg.CreateTopicsRequestTopic{Topic: name}
		if wrong := p.JudgeTopic(topic, maxOthersPartitions); (wrong == nil) != (code == 0) || wrong != nil && wrong.Code != code {
			t.Errorf("%.20q: %v", name, wrong)
		}
	}
	if wrong := p.JudgeTopic(kmsg.CreateTopicsRequestTopic{Topic: "a"}, maxOthersPartitions+1); wrong == nil || wrong.Code != 37 {
		t.Errorf("a partition too many: %v", wrong)
	}
}

// TestRefusalsAnswerForEachPartition: clients wait for the answer about each one that they named.
func TestRefusalsAnswerForEachPartition(t *testing.T) {
	add := kafkawire.Versioned(kmsg.NewPtrAddPartitionsToTxnRequest())
	add.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "a", Partitions: []int32{4, 5}}, {Topic: "b", Partitions: []int32{6}}}
	commit := kafkawire.Versioned(kmsg.NewPtrTxnOffsetCommitRequest())
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{
		{Topic: "a", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 4}, {Partition: 5}}},
		{Topic: "b", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 6}}},
	}
	records := kafkawire.Versioned(kmsg.NewPtrDeleteRecordsRequest())
	records.Topics = []kmsg.DeleteRecordsRequestTopic{
		{Topic: "a", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 4}, {Partition: 5}}},
		{Topic: "b", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 6}}},
	}
	got := make(map[string]string)
	for _, topic := range Refusal(add).(*kmsg.AddPartitionsToTxnResponse).Topics {
		for _, of := range topic.Partitions {
			got["add"] += fmt.Sprint(topic.Topic, of.Partition, " ", of.ErrorCode, ", ")
		}
	}
	for _, topic := range Refusal(commit).(*kmsg.TxnOffsetCommitResponse).Topics {
		for _, of := range topic.Partitions {
			got["commit"] += fmt.Sprint(topic.Topic, of.Partition, " ", of.ErrorCode, ", ")
		}
	}
	for _, topic := range Refusal(records).(*kmsg.DeleteRecordsResponse).Topics {
		for _, of := range topic.Partitions {
			got["delete"] += fmt.Sprint(topic.Topic, of.Partition, " ", of.ErrorCode, " ", of.LowWatermark, ", ")
		}
	}
	want := map[string]string{
		"add": "a4 53, a5 53, b6 53, ", "commit": "a4 53, a5 53, b6 53, ", "delete": "a4 44 -1, a5 44 -1, b6 44 -1, ",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	names := kafkawire.Versioned(kmsg.NewPtrDeleteTopicsRequest())
	names.TopicNames = []string{"a", "b"}
	topics := Refusal(names).(*kmsg.DeleteTopicsResponse).Topics
	groups := kafkawire.Versioned(kmsg.NewPtrDeleteGroupsRequest())
	groups.Groups = []string{"a", "b"}
	deleted := Refusal(groups).(*kmsg.DeleteGroupsResponse).Groups
	grow := kafkawire.Versioned(kmsg.NewPtrCreatePartitionsRequest())
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "a"}, {Topic: "b"}}
	grown := Refusal(grow).(*kmsg.CreatePartitionsResponse).Topics
	alter := kafkawire.Versioned(kmsg.NewPtrAlterConfigsRequest())
	alter.Resources = []kmsg.AlterConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "a"}, {ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "b"},
	}
	altered := Refusal(alter).(*kmsg.AlterConfigsResponse).Resources
	for i, name := range []string{"a", "b"} {
		if *topics[i].Topic != name || topics[i].ErrorCode != policyViolation || topics[i].ErrorMessage == nil {
			t.Errorf("DeleteTopics of %s: %+v", name, topics[i])
		}
		if deleted[i].Group != name || deleted[i].ErrorCode != policyViolation {
			t.Errorf("DeleteGroups of %s: %+v", name, deleted[i])
		}
		if grown[i].Topic != name || grown[i].ErrorCode != policyViolation || grown[i].ErrorMessage == nil {
			t.Errorf("CreatePartitions of %s: %+v", name, grown[i])
		}
		if altered[i].ResourceName != name || altered[i].ResourceType != alter.Resources[i].ResourceType ||
			altered[i].ErrorCode != policyViolation || altered[i].ErrorMessage == nil {
			t.Errorf("AlterConfigs of %s: %+v", name, altered[i])
		}
	}
	// What is no transaction is served.
	group := kafkawire.Versioned(kmsg.NewPtrFindCoordinatorRequest())
	for _, served := range []kmsg.Request{group, kafkawire.Versioned(kmsg.NewPtrInitProducerIDRequest()), kafkawire.Versioned(kmsg.NewPtrMetadataRequest())} {
		if answer := Refusal(served); answer != nil {
			t.Errorf("%T: %+v", served, answer)
		}
	}
	group.CoordinatorType = coordinatorOfTransactions
	if answer := Refusal(group).(*kmsg.FindCoordinatorResponse); answer.NodeID != -1 || answer.ErrorMessage == nil {
		t.Errorf("FindCoordinator: %+v", answer)
	}
}

func TestATopicThatIsNamedTwiceIsAnsweredOnce(t *testing.T) {
	name := func(t *listed) string { return t.Topic }
	into := Merge(nil, []listed{topicOf("a", 0, 1), topicOf("b", 0, 1), topicOf("a", 1, 2)}, name, partitionsOf)
	into = Merge(into, []listed{topicOf("b", 1, 2), topicOf("c", 0, 1), topicOf("c", 1, 3)}, name, partitionsOf)
	if got := written(into); got != "a:0.1 b:0.1 c:0.1.2" {
		t.Errorf("%s", got)
	}
}

func TestNoVersionWithTaggedFieldsPasses(t *testing.T) {
	for key, passing := range apis {
		request := kmsg.RequestForKey(int16(key))
		if request.SetVersion(passing.maxVersion); request.IsFlexible() {
			t.Errorf("%s version %d has tagged fields", kmsg.NameForKey(int16(key)), passing.maxVersion)
		}
		if passing.maxVersion == request.MaxVersion() {
			continue
		}
		if request.SetVersion(passing.maxVersion + 1); !request.IsFlexible() {
			t.Errorf("%s could pass up to a later version than %d", kmsg.NameForKey(int16(key)), passing.maxVersion)
		}
	}
}

// TestKfakeIsToldToServeWhatClientsMayAskOnly: what is not answered for clients it serves for nobody.
func TestKfakeIsToldToServeWhatClientsMayAskOnly(t *testing.T) {
	versions := EngineVersions()
	for key := range int16(kmsg.MaxKey + 1) {
		passing, known := apis[kmsg.Key(key)]
		version, served := versions.LookupMaxKeyVersion(key)
		if served != (known && !passing.refused) || served && version != passing.maxVersion {
			t.Errorf("%s: served %v, up to version %d", kmsg.NameForKey(key), served, version)
		}
	}
}

// FuzzParse: what can be read is written again as a request that reads the same.
func FuzzParse(f *testing.F) {
	for _, frame := range kafkawire.SeedFrames() {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minFrame {
			return
		}
		first, err := Parse(bytes.Clone(frame))
		if err != nil || first.Body == nil {
			return
		}
		once := first.Frame(first.Body)
		second, err := Parse(bytes.Clone(once))
		if err != nil || second.Correlation != first.Correlation || !bytes.Equal(second.Frame(second.Body), once) {
			t.Fatalf("read as %x, then %+v, %v", once, second, err)
		}
	})
}

func TestWhatIsAnsweredIsAdvertised(t *testing.T) {
	keys := Versions(2).ApiKeys
	if len(keys) != len(apis) {
		t.Errorf("%d keys are advertised, %d answered", len(keys), len(apis))
	}
	for _, key := range keys {
		passing, known := apis[kmsg.Key(key.ApiKey)]
		if !known || key.MinVersion != passing.minVersion || key.MaxVersion != passing.maxVersion {
			t.Errorf("%s: advertised %d to %d, answered %v", kmsg.NameForKey(key.ApiKey), key.MinVersion, key.MaxVersion, passing)
		}
	}
}
