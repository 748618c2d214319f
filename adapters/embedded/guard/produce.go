package guard

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/batch"
	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
)

// produce has kfake append the batches of a request that it may store. Each of the others is answered with an error that
// says why, and counted.
func (q question) produce(body *kmsg.ProduceRequest) (*kmsg.ProduceResponse, error) {
	all := &kmsg.ProduceResponse{Version: body.Version}
	parts, err := protocol.Split(body.Topics, func(t *kmsg.ProduceRequestTopic) *[]kmsg.ProduceRequestTopicPartition {
		return &t.Partitions
	}, protocol.ProducePart)
	if err != nil {
		return nil, err
	}
	if namesTwice(body) {
		return nil, protocol.Refuse("a request with two batches for a partition")
	}
	if body.Acks == 0 {
		body.Acks = 1 // so that each request has an answer; the client gets none
	}
	for _, part := range parts {
		kept, refused := q.judge(part, body.TransactionID != nil, q.client.guard.now())
		answers := [][]kmsg.ProduceResponseTopic{refused}
		if len(kept) > 0 {
			body.Topics = kept
			more := kmsg.NewPtrProduceResponse()
			if err := q.forward(body, more); err != nil {
				return nil, err
			}
			q.client.appended = append(q.client.appended, producedTo(body, more)...)
			answers = append(answers, more.Topics)
		}
		for _, answer := range answers {
			all.Topics = protocol.Merge(all.Topics, answer,
				func(t *kmsg.ProduceResponseTopic) string { return t.Topic },
				func(t *kmsg.ProduceResponseTopic) *[]kmsg.ProduceResponseTopicPartition { return &t.Partitions })
		}
	}
	return all, nil
}

// namesTwice tells whether a request names a partition twice, which no client does: of the answers to both only one would
// be known.
func namesTwice(body *kmsg.ProduceRequest) bool {
	named := make(map[logdir.Partition]struct{})
	for _, topic := range body.Topics {
		for _, of := range topic.Partitions {
			p := logdir.Partition{Topic: topic.Topic, Number: of.Partition}
			if _, again := named[p]; again {
				return true
			}
			named[p] = struct{}{}
		}
	}
	return false
}

// judge parts the batches that kfake may store from the answers to the others.
func (q question) judge(
	topics []kmsg.ProduceRequestTopic, inTransaction bool, now time.Time,
) (kept []kmsg.ProduceRequestTopic, refused []kmsg.ProduceResponseTopic) {
	for _, topic := range topics {
		good := topic
		good.Partitions = nil
		bad := kmsg.ProduceResponseTopic{Topic: topic.Topic}
		for _, of := range topic.Partitions {
			wrong := batch.Check(of.Records, now)
			if inTransaction {
				wrong = protocol.ErrTransactional
			}
			if wrong == nil {
				good.Partitions = append(good.Partitions, of)
				continue
			}
			q.client.refused("records for "+printable(topic.Topic), wrong)
			one := kmsg.NewProduceResponseTopicPartition()
			one.Partition, one.BaseOffset, one.ErrorCode, one.ErrorMessage = of.Partition, -1, wrong.Code, &wrong.Text
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
	if !protocol.IsTopicName(topic) {
		return "a topic without a legal name"
	}
	return topic
}

// producedTo returns what kfake has appended by a request: where each batch ends. A request names a partition once.
func producedTo(body *kmsg.ProduceRequest, answer *kmsg.ProduceResponse) (ends []logdir.End) {
	offsets := make(map[logdir.Partition]int64, len(body.Topics))
	for _, topic := range answer.Topics {
		for _, of := range topic.Partitions {
			if of.ErrorCode == 0 {
				offsets[logdir.Partition{Topic: topic.Topic, Number: of.Partition}] = of.BaseOffset
			}
		}
	}
	for _, topic := range body.Topics {
		for _, of := range topic.Partitions {
			p := logdir.Partition{Topic: topic.Topic, Number: of.Partition}
			if offset, appended := offsets[p]; appended {
				ends = append(ends, logdir.End{Partition: p, Offset: offset + batch.Count(of.Records)})
			}
		}
	}
	return ends
}
