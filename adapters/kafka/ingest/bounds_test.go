package ingest

import (
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"what is looked into is less than what can be written": maxForeignValue < kafka.MaxSystemMessageBytes,
		"a run is a part of what may be uncommitted":           maxRun < maxUncommitted && maxUncommitted <= 1024,
		"the ingest takes the largest record, several times":   maxUnderWay >= 4*kafka.MaxDeadLetterBytes,
		"a member beats several times in a session":            session >= 5*time.Second && session <= groups.MaxSession,
		"a deposed leader is not believed before it can know":  logclient.PastEndPatience >= 2*session,
		"a dead letter has room for the server's own headers":  recordbatch.MaxHeaders >= maxHeaders+len(deadLetterHeaders),
		"a name of a topic is within Kafka's limit":            maxTopicName == 249,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}
