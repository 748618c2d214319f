package embedded

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

// TestEveryRequestOfATransactionIsAnsweredWithAFinalError: none of them closes the connection, upon which clients would
// connect again for ever.
func TestEveryRequestOfATransactionIsAnsweredWithAFinalError(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "txn", 1)
	const final = 53
	id := "t"
	find := kafkawire.Versioned(kmsg.NewPtrFindCoordinatorRequest())
	find.CoordinatorType, find.CoordinatorKey = 1, id
	if got := kafkawire.Answered(t, b.Addr(), find).(*kmsg.FindCoordinatorResponse); got.ErrorCode != final {
		t.Errorf("FindCoordinator: error %d", got.ErrorCode)
	}
	initialize := kafkawire.Versioned(kmsg.NewPtrInitProducerIDRequest())
	initialize.TransactionalID = &id
	if got := kafkawire.Answered(t, b.Addr(), initialize).(*kmsg.InitProducerIDResponse); got.ErrorCode != final {
		t.Errorf("InitProducerID: error %d", got.ErrorCode)
	}
	add := kafkawire.Versioned(kmsg.NewPtrAddPartitionsToTxnRequest())
	add.TransactionalID, add.Topics = id, []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "txn", Partitions: []int32{0}}}
	if got := kafkawire.Answered(t, b.Addr(), add).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0]; got.ErrorCode != final {
		t.Errorf("AddPartitionsToTxn: error %d", got.ErrorCode)
	}
	offsets := kafkawire.Versioned(kmsg.NewPtrAddOffsetsToTxnRequest())
	offsets.TransactionalID = id
	if got := kafkawire.Answered(t, b.Addr(), offsets).(*kmsg.AddOffsetsToTxnResponse); got.ErrorCode != final {
		t.Errorf("AddOffsetsToTxn: error %d", got.ErrorCode)
	}
	commit := kafkawire.Versioned(kmsg.NewPtrTxnOffsetCommitRequest())
	commit.TransactionalID = id
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "txn", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{}}}}
	if got := kafkawire.Answered(t, b.Addr(), commit).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0]; got.ErrorCode != final {
		t.Errorf("TxnOffsetCommit: error %d", got.ErrorCode)
	}
	end := kafkawire.Versioned(kmsg.NewPtrEndTxnRequest())
	end.TransactionalID = id
	if got := kafkawire.Answered(t, b.Addr(), end).(*kmsg.EndTxnResponse); got.ErrorCode != final {
		t.Errorf("EndTxn: error %d", got.ErrorCode)
	}
	produce := kafkawire.ProduceRequest("txn", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
	produce.TransactionID = &id
	got := kafkawire.Answered(t, b.Addr(), produce).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if got.ErrorCode != final || got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, "no transactions") {
		t.Errorf("Produce: error %d, %v", got.ErrorCode, got.ErrorMessage)
	}
	if at := kafkawire.ListOffset(t, b.Addr(), "txn", -1); at != 0 {
		t.Errorf("the log ends at %d", at)
	}
}

// TestTransactionalClientsFailAtOnce: franz-go's, and librdkafka's where kcat is installed.
func TestTransactionalClientsFailAtOnce(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "txn", 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("t"), kgo.DefaultProduceTopic("txn"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.BeginTransaction() // it says in its text only which error it was
	if err == nil || !strings.Contains(err.Error(), "TRANSACTIONAL_ID_AUTHORIZATION_FAILED") {
		t.Errorf("franz-go: %v", err)
	}
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Skip("kcat is not installed, which would be librdkafka's client")
	}
	kcat := exec.Command("kcat", "-b", b.Addr(), "-P", "-t", "txn", "-X", "transactional.id=t", "-X", "transaction.timeout.ms=20000")
	kcat.Stdin = strings.NewReader("x\n")
	begin := time.Now()
	out, err := kcat.CombinedOutput()
	if err == nil || time.Since(begin) > 15*time.Second {
		t.Errorf("librdkafka: %v after %s\n%s", err, time.Since(begin), out)
	}
	t.Logf("librdkafka: %s", out)
	if at := kafkawire.ListOffset(t, b.Addr(), "txn", -1); at != 0 {
		t.Errorf("the log ends at %d", at)
	}
}
