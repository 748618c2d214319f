package kafka

import (
	"strings"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/brokertest"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"the default of brokers takes what the topics take":           maxOwnBytes <= 1<<20+12,
		"what appenders send at once fits into the topics":            maxOwnBytes >= 1<<20,
		"a dead letter holds the largest system message":              MaxDeadLetterBytes > MaxSystemMessageBytes+64<<10,
		"a member beats several times in a session":                   auditSession >= 5*time.Second,
		"a node's stop waits for the leaving of a group (grace 10 s)": groups.LeaveTimeout <= 3*time.Second,
		"the sessions topic holds what a starting node reads back":    SessionRetention > 2*20*time.Minute,
		"grace is an hour at most":                                    maxGraceMillis == 3_600_000,
		"keys of conversations are looked at":                         len(domain.Between(1<<62, 1<<62+1).Key()) < recordbatch.MaxKey,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}

// The longest event, every character of it escaped, has to fit into the topics.
func TestTheLongestEventFitsIntoABatch(t *testing.T) {
	event := domain.Event{
		ID: domain.DerivedID("test", "x"), Time: time.Now(), ClientMessageID: domain.ClientMessageID(strings.Repeat("n", 64)),
		Body: domain.ChatMessage{From: 1 << 62, To: 1<<62 + 1, Text: mustText(t, strings.Repeat("\x01", 64<<10))},
	}
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	records := []recordbatch.Record{eventRecord([]byte(event.Body.Conversation().Key()), value)}
	if size := len(brokertest.Batch{Records: records}.Bytes()) + 4; size > maxOwnBytes {
		t.Errorf("it is a batch of %d bytes", size)
	}
}
