package appending

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsOfAppendsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"a broker answers an append before it is given up":       ackTimeout*time.Millisecond < attemptTimeout,
		"an append is sent again before it is unconfirmed (5 s)": attemptTimeout < 5*time.Second,
		"a batch fits into what brokers take":                    maxBatchBytes+maxBatchRecords*recordbatch.Overhead < 1<<20,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}
