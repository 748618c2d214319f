package embedded

import (
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Frames above these sizes, in bytes without the length field, are refused. Only Produce carries much: one batch of
// the dead letter topic may have 5 MiB, and a client may put several batches into one request.
const (
	maxProduceFrame = 8 << 20
	maxOtherFrame   = 1 << 20
)

// api is what clients may ask under one key: versions from minVersion to maxVersion.
type api struct{ minVersion, maxVersion int16 }

// apis are the requests that pass, by Kafka's API key; everything else closes the connection. Each maximum is the last
// version without tagged fields: kmsg reads the number of tags in a loop of up to 2^32 rounds without looking whether
// bytes are left, so 15 bytes of a later version would occupy a core for a minute. Each minimum is kfake's own.
var apis = map[kmsg.Key]api{
	kmsg.Produce:                 {3, 8},
	kmsg.Fetch:                   {4, 11},
	kmsg.ListOffsets:             {0, 5},
	kmsg.Metadata:                {0, 8},
	kmsg.OffsetCommit:            {0, 7},
	kmsg.OffsetFetch:             {0, 5},
	kmsg.FindCoordinator:         {0, 2},
	kmsg.JoinGroup:               {0, 5},
	kmsg.Heartbeat:               {0, 3},
	kmsg.LeaveGroup:              {0, 3},
	kmsg.SyncGroup:               {0, 3},
	kmsg.DescribeGroups:          {0, 4},
	kmsg.ListGroups:              {0, 2},
	kmsg.ApiVersions:             {0, 2},
	kmsg.CreateTopics:            {0, 4},
	kmsg.InitProducerID:          {0, 1},
	kmsg.OffsetForLeaderEpoch:    {3, 3},
	kmsg.DescribeConfigs:         {0, 3},
	kmsg.IncrementalAlterConfigs: {0, 0},
}

// advertised returns apis as kfake wants them, so that it tells clients what passes here.
func advertised() *kversion.Versions {
	versions := kversion.V2_3_0()
	var drop []int16
	versions.EachMaxKeyVersion(func(key, _ int16) {
		if _, passes := apis[kmsg.Key(key)]; !passes {
			drop = append(drop, key)
		}
	})
	for _, key := range drop {
		versions.SetMaxKeyVersion(key, -1)
	}
	for key, passing := range apis {
		versions.SetMaxKeyVersion(int16(key), passing.maxVersion)
	}
	return versions
}
