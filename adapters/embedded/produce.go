package embedded

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce has kfake append the batches of a request that it may store. Each of the others is answered with an error that
// says why, and counted.
func (c *client) produce(l *lane, r request, body *kmsg.ProduceRequest) (*kmsg.ProduceResponse, error) {
	all := kmsg.NewPtrProduceResponse()
	all.SetVersion(body.Version)
	parts, err := split(body.Topics, func(t *kmsg.ProduceRequestTopic) *[]kmsg.ProduceRequestTopicPartition {
		return &t.Partitions
	}, producePart)
	if err != nil {
		return nil, err
	}
	if body.Acks == 0 {
		body.Acks = 1 // so that each request has an answer; the client gets none
	}
	for _, part := range parts {
		kept, refused := c.judge(part, body.TransactionID != nil, c.guard.now())
		answers := [][]kmsg.ProduceResponseTopic{refused}
		if len(kept) > 0 {
			body.Topics = kept
			more := kmsg.NewPtrProduceResponse()
			if err := c.forward(l, r, body, more); err != nil {
				return nil, err
			}
			c.guard.appends.happened(producedTo(body))
			answers = append(answers, more.Topics)
		}
		for _, answer := range answers {
			all.Topics = merge(all.Topics, answer,
				func(t *kmsg.ProduceResponseTopic) string { return t.Topic },
				func(t *kmsg.ProduceResponseTopic) *[]kmsg.ProduceResponseTopicPartition { return &t.Partitions })
		}
	}
	return all, nil
}

// judge parts the batches that kfake may store from the answers to the others.
func (c *client) judge(
	topics []kmsg.ProduceRequestTopic, inTransaction bool, now time.Time,
) (kept []kmsg.ProduceRequestTopic, refused []kmsg.ProduceResponseTopic) {
	for _, topic := range topics {
		good := topic
		good.Partitions = nil
		bad := kmsg.NewProduceResponseTopic()
		bad.Topic = topic.Topic
		for _, batch := range topic.Partitions {
			err := checkBatch(batch.Records, now)
			if inTransaction {
				err = batchError{noTransaction, noTransactions}
			}
			if err == nil {
				good.Partitions = append(good.Partitions, batch)
				continue
			}
			c.guard.refused("records for "+printable(topic.Topic), c.conn.RemoteAddr(), err)
			one := kmsg.NewProduceResponseTopicPartition()
			one.Partition, one.BaseOffset, one.ErrorCode, one.ErrorMessage =
				batch.Partition, -1, codeOf(err), kmsg.StringPtr(err.Error())
			bad.Partitions = append(bad.Partitions, one)
		}
		if good.Partitions != nil {
			kept = append(kept, good)
		}
		if bad.Partitions != nil {
			refused = append(refused, bad)
		}
	}
	return kept, refused
}

// printable is a topic's name for the log. What is no name does not get there.
func printable(topic string) string {
	if !topicName.MatchString(topic) {
		return "a topic without a legal name"
	}
	return topic
}

// batchError is why a batch is not stored.
type batchError struct {
	code int16 // of Kafka's protocol
	text string
}

// Error implements error.
func (e batchError) Error() string { return e.text }

// codeOf returns the protocol's code for why a batch is not stored.
func codeOf(err error) int16 {
	if known := (batchError{}); errors.As(err, &known) {
		return known.code
	}
	return kerr.InvalidRecord.Code
}

// producedTo lists the partitions of a request.
func producedTo(body *kmsg.ProduceRequest) (all []partition) {
	for _, topic := range body.Topics {
		for _, of := range topic.Partitions {
			all = append(all, partition{topic: topic.Topic, number: of.Partition})
		}
	}
	return all
}
