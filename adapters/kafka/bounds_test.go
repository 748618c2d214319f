package kafka

import (
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"a broker answers an append before it is given up":            ackTimeout*time.Millisecond < attemptTimeout,
		"an append is sent again before it is unconfirmed (5 s)":      attemptTimeout < 5*time.Second,
		"a batch fits into what brokers take":                         maxBatchBytes+maxBatchRecords*recordOverhead < maxOwnBytes,
		"the default of brokers takes what the topics take":           maxOwnBytes <= 1<<20+12,
		"a leader answers before its answer is given up":              2*fetchWait < fetchTimeout,
		"a whole batch of the server fits into an answer":             fetchPartitionBytes >= maxOwnBytes && fetchBytes > fetchPartitionBytes,
		"a batch that a broker packed is unpacked":                    MaxOwnBatch > maxOwnBytes && MaxOwnBatch < MaxForeignBatch,
		"a dead letter holds the largest system message":              maxDeadLetterBytes > maxSystemMessageBytes+64<<10,
		"what is looked into is less than what can be written":        maxForeignValue < maxSystemMessageBytes,
		"a large buffer is not kept":                                  keptUnpacked < MaxOwnBatch,
		"a run is a part of what may be uncommitted":                  maxRun < maxUncommitted && maxUncommitted <= 1024,
		"the ingest takes the largest record, several times":          maxUnderWay >= 4*maxDeadLetterBytes,
		"a member beats several times in a session":                   ingestSession >= 5*time.Second && projectorSession >= 5*time.Second && auditSession >= 5*time.Second,
		"the coordinator's answer is awaited for less than a session": groupTimeout < ingestSession && groupTimeout < projectorSession,
		"nodes that were killed have left before they count":          otherPatience > auditSession && otherPatience > ingestSession && otherPatience > projectorSession,
		"a deposed leader is not believed before it can know":         pastEndPatience >= 2*ingestSession,
		"a node's stop waits for the leaving of a group (grace 10 s)": leaveTimeout <= 3*time.Second,
		"metadata is older than a leader change for a second at most": metadataTTL <= time.Second,
		"the sessions topic holds what a starting node reads back":    SessionRetention > 2*20*time.Minute,
		"a transaction of the history is no larger than a batch":      maxProjectedBytes <= MaxOwnBatch && maxProjected <= 1000,
		"a dead letter has room for the server's own headers":         maxReadHeaders >= maxHeaders+len(deadLetterHeaders),
		"a name of a topic is within Kafka's limit":                   maxTopicName == 249,
		"grace is an hour at most":                                    maxGraceMillis == 3_600_000,
		"keys of conversations are looked at":                         len(domain.Between(1<<62, 1<<62+1).Key()) < maxKey,
		"a scan waits for several fetches":                            scanPatience > 3*fetchTimeout,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}

// The longest event, every character of it escaped, has to fit into the topics.
func TestTheLongestEventFitsIntoABatch(t *testing.T) {
	event := domain.Event{
		ID: domain.DerivedID("test", "x"), Time: now(), ClientMessageID: domain.ClientMessageID(strings.Repeat("n", 64)),
		Body: domain.ChatMessage{From: 1 << 62, To: 1<<62 + 1, Text: mustText(t, strings.Repeat("\x01", 64<<10))},
	}
	value, err := encodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := encodeBatch([]record{eventRecord([]byte(event.Body.Conversation().Key()), value)})
	if err != nil || len(encoded) > maxOwnBytes {
		t.Errorf("it is a batch of %d bytes, %v", len(encoded), err)
	}
}
