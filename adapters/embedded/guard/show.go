package guard

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/batch"
	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
)

// shown is what clients see of the log: what is synced, as if it were all there is. What kfake answers names records that
// are not synced yet.
type shown struct{ log Log }

// end returns where a partition ends for all who read.
func (s shown) end(topic string, number int32) (offset int64, known bool) {
	return s.log.Synced(logdir.Partition{Topic: topic, Number: number})
}

// isRead tells whether a fetch begins where each of its partitions ends, so that there is nothing to answer.
func (s shown) isRead(body *kmsg.FetchRequest) bool {
	for i := range body.Topics {
		topic := &body.Topics[i]
		for j := range topic.Partitions {
			of := &topic.Partitions[j]
			if end, known := s.end(topic.Topic, of.Partition); !known || of.FetchOffset != end {
				return false
			}
		}
	}
	return len(body.Topics) > 0
}

// fetched returns kfake's answer to a fetch without what is not synced. news tells whether it has records or an error.
func (s shown) fetched(answer []byte, version int16) (cut []byte, news bool) {
	response := kmsg.NewPtrFetchResponse()
	if err := protocol.ReadAnswer(answer, version, response); err != nil || response.ErrorCode != 0 || len(response.Topics) == 0 {
		return answer, true
	}
	isCut := false
	for i := range response.Topics {
		topic := &response.Topics[i]
		for j := range topic.Partitions {
			of := &topic.Partitions[j]
			if end, _ := s.end(topic.Topic, of.Partition); of.HighWatermark > end {
				of.HighWatermark, of.LastStableOffset = end, min(of.LastStableOffset, end)
				of.RecordBatches = batch.Before(of.RecordBatches, end)
				isCut = true
			}
			news = news || of.ErrorCode != 0 || len(of.RecordBatches) > 0
		}
	}
	if !isCut {
		return answer, news
	}
	return protocol.FrameAnswer(protocol.CorrelationOf(answer), response), news
}

// offsets takes out of kfake's answer about offsets what is not synced.
func (s shown) offsets(response *kmsg.ListOffsetsResponse) {
	for i := range response.Topics {
		topic := &response.Topics[i]
		for j := range topic.Partitions {
			of := &topic.Partitions[j]
			end, _ := s.end(topic.Topic, of.Partition)
			if of.Timestamp >= 0 && of.Offset >= end { // the first record of a time, which nobody may see yet
				of.Timestamp, of.Offset, of.LeaderEpoch = -1, -1, -1
			}
			of.Offset = min(of.Offset, end)
			for k := range of.OldStyleOffsets {
				of.OldStyleOffsets[k] = min(of.OldStyleOffsets[k], end)
			}
			of.OldStyleOffsets = slices.Compact(of.OldStyleOffsets)
		}
	}
}

// epochs takes out of kfake's answer about the ends of epochs what is not synced.
func (s shown) epochs(response *kmsg.OffsetForLeaderEpochResponse) {
	for i := range response.Topics {
		topic := &response.Topics[i]
		for j := range topic.Partitions {
			of := &topic.Partitions[j]
			end, _ := s.end(topic.Topic, of.Partition)
			of.EndOffset = min(of.EndOffset, end)
		}
	}
}
