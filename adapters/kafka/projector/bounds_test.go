package projector

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/groups"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"a member beats several times in a session":              session >= 5*time.Second && session <= groups.MaxSession,
		"a transaction of the history is no larger than a batch": maxProjectedBytes <= logclient.DefaultMaxBatch && maxProjected <= 1000,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}
