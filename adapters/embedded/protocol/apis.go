package protocol

import (
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Frames above these sizes, in bytes without the length field, are refused. Only Produce carries much: one batch of
// the dead letter topic may have 5 MiB, and a client may put several batches into one request. A group's leader sends
// what each member gets, and kfake keeps what a member sends when it joins.
const (
	MaxProduceFrame = 8 << 20
	MaxSyncFrame    = 256 << 10
	MaxJoinFrame    = 8 << 10
	MaxOtherFrame   = 64 << 10
)

// api is what clients may ask under one key: versions from minVersion to maxVersion.
type api struct {
	minVersion, maxVersion int16
	// refused tells that the answer is always an error that says why. kfake never sees the request. Clients are told of
	// these keys as well: what they cannot do they shall learn from an answer, not from a closed connection.
	refused bool
}

// apis are the requests that are answered, by Kafka's API key; everything else closes the connection. Each maximum is the
// last version without tagged fields: kmsg reads the number of tags in a loop of up to 2^32 rounds without looking whether
// bytes are left, so 15 bytes of a later version would occupy a core for a minute. Each minimum is kfake's own.
var apis = map[kmsg.Key]api{
	kmsg.Produce:                 {3, 8, false},
	kmsg.Fetch:                   {4, 11, false},
	kmsg.ListOffsets:             {0, 5, false},
	kmsg.Metadata:                {0, 8, false},
	kmsg.OffsetCommit:            {0, 7, false},
	kmsg.OffsetFetch:             {0, 5, false},
	kmsg.FindCoordinator:         {0, 2, false},
	kmsg.JoinGroup:               {0, 5, false},
	kmsg.Heartbeat:               {0, 3, false},
	kmsg.LeaveGroup:              {0, 3, false},
	kmsg.SyncGroup:               {0, 3, false},
	kmsg.DescribeGroups:          {0, 4, false},
	kmsg.ListGroups:              {0, 2, false},
	kmsg.ApiVersions:             {0, 2, false},
	kmsg.CreateTopics:            {0, 4, false},
	kmsg.InitProducerID:          {0, 1, false},
	kmsg.OffsetForLeaderEpoch:    {3, 3, false},
	kmsg.DescribeConfigs:         {0, 3, false},
	kmsg.IncrementalAlterConfigs: {0, 0, false},

	kmsg.DeleteTopics:       {0, 3, true},
	kmsg.DeleteRecords:      {0, 1, true},
	kmsg.AddPartitionsToTxn: {0, 2, true},
	kmsg.AddOffsetsToTxn:    {0, 2, true},
	kmsg.EndTxn:             {0, 2, true},
	kmsg.TxnOffsetCommit:    {0, 2, true},
	kmsg.AlterConfigs:       {0, 1, true},
	kmsg.CreatePartitions:   {0, 1, true},
	kmsg.DeleteGroups:       {0, 1, true},
	kmsg.OffsetDelete:       {0, 0, true},
}

// MaxVersion is the last version of a request that clients may ask in.
func MaxVersion(key kmsg.Key) int16 { return apis[key].maxVersion }

// EngineVersions are the requests that kfake is to serve. It serves nothing else, and of a later Kafka than 2.3 it does
// nothing.
func EngineVersions() *kversion.Versions {
	versions := kversion.V2_3_0()
	var drop []int16
	versions.EachMaxKeyVersion(func(key, _ int16) {
		if passing, known := apis[kmsg.Key(key)]; !known || passing.refused {
			drop = append(drop, key)
		}
	})
	for _, key := range drop {
		versions.SetMaxKeyVersion(key, -1)
	}
	for key, passing := range apis {
		if !passing.refused {
			versions.SetMaxKeyVersion(int16(key), passing.maxVersion)
		}
	}
	return versions
}

// Versions answers an ApiVersions request of a version: it names the requests that are answered.
func Versions(version int16) *kmsg.ApiVersionsResponse {
	response := kmsg.NewPtrApiVersionsResponse()
	response.SetVersion(version)
	for key := range int16(kmsg.MaxKey + 1) {
		if passing, known := apis[kmsg.Key(key)]; known {
			one := kmsg.NewApiVersionsResponseApiKey()
			one.ApiKey, one.MinVersion, one.MaxVersion = key, passing.minVersion, passing.maxVersion
			response.ApiKeys = append(response.ApiKeys, one)
		}
	}
	return response
}
