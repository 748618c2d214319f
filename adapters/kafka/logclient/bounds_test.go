package logclient

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"a leader answers before its answer is given up":              2*fetchWait < fetchTimeout,
		"a whole batch of the server fits into an answer":             fetchPartitionBytes >= 1<<20 && fetchBytes > fetchPartitionBytes,
		"a batch that a broker packed is unpacked":                    DefaultMaxBatch > 1<<20 && DefaultMaxBatch < MaxForeignBatch,
		"a large buffer is not kept":                                  recordbatch.KeptUnpacked < DefaultMaxBatch,
		"metadata is older than a leader change for a second at most": metadataTTL <= time.Second,
		"a scan waits for several fetches":                            scanPatience > 3*fetchTimeout,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}
