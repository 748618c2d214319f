package embedded

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFetchBytes bounds the records of one answer. As with Kafka, a first batch that is larger comes whole.
	maxFetchBytes = 1 << 20
	// fetchRoom is what an answer can have at most.
	fetchRoom    = maxProduceFrame
	maxFetchWait = 30 * time.Second
)

// fetch answers a Fetch. The waiting for records is done here, and kfake is asked again when some came: a fetch that
// waits costs it nothing, and no more answers are made at a time than there is room for.
//
// Three things differ from what the request says. The broker keeps no fetch sessions, of which clients are told and do
// without. It waits for one byte at least, whatever the least is that the client wants. And it makes no answer above
// maxFetchBytes.
func (c *client) fetch(frame []byte) ([]byte, error) {
	r, err := parse(frame)
	if err != nil {
		return nil, err
	}
	body, ok := r.body.(*kmsg.FetchRequest)
	if !ok {
		return nil, refuse("no Fetch")
	}
	if body.SessionEpoch > 0 {
		response := responseTo(body).(*kmsg.FetchResponse)
		response.ErrorCode = kerr.FetchSessionIDNotFound.Code
		return frameAnswer(r.correlation, response), nil
	}
	wait := min(time.Duration(body.MaxWaitMillis)*time.Millisecond, maxFetchWait)
	if body.MinBytes <= 0 {
		wait = 0
	}
	body.SessionID, body.SessionEpoch, body.ForgottenTopics = 0, -1, nil
	body.MaxWaitMillis, body.MinBytes, body.MaxBytes = 0, 0, min(body.MaxBytes, maxFetchBytes)

	grown, stop := c.guard.appends.watch(fetchedFrom(body))
	defer stop()
	patience, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	for {
		answer, err := c.fetchOnce(r, body)
		if err != nil || patience.Err() != nil || hasNews(answer, body.Version) {
			return answer, err
		}
		c.answer.shrink(0)
		watched := c.untilGone()
		select {
		case <-grown:
			watched()
		case <-patience.Done():
			watched()
			if c.ctx.Err() != nil {
				return nil, errGone
			}
			return answer, nil
		}
	}
}

// fetchOnce asks kfake what there is now. The client holds room for the answer afterwards.
func (c *client) fetchOnce(r request, body *kmsg.FetchRequest) (answer []byte, err error) {
	if err := c.answer.take(c.ctx, fetchRoom); err != nil {
		return nil, err
	}
	err = c.turn(func(l *lane) (err error) {
		answer, err = l.send(r.frame(body), laneLimit)
		return err
	})
	c.answer.shrink(int64(len(answer)))
	return answer, err
}

// hasNews tells whether an answer has records or an error.
func hasNews(answer []byte, version int16) bool {
	const surelyRecords = 256 << 10
	if len(answer) > surelyRecords {
		return true
	}
	response := kmsg.NewPtrFetchResponse()
	response.SetVersion(version)
	if err := response.ReadFrom(answer[answerHead:]); err != nil || response.ErrorCode != 0 {
		return true
	}
	for _, topic := range response.Topics {
		for _, of := range topic.Partitions {
			if of.ErrorCode != 0 || len(of.RecordBatches) > 0 {
				return true
			}
		}
	}
	return len(response.Topics) == 0
}

// fetchedFrom lists the partitions of a request.
func fetchedFrom(body *kmsg.FetchRequest) (all []partition) {
	for _, topic := range body.Topics {
		for _, of := range topic.Partitions {
			all = append(all, partition{topic: topic.Topic, number: of.Partition})
		}
	}
	return all
}

// keyOf reads the API key of a frame, which is at least minFrame long.
func keyOf(frame []byte) kmsg.Key { return kmsg.Key(binary.BigEndian.Uint16(frame)) }
