package guard

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
)

const (
	// maxFetchBytes bounds the records of one answer. As with Kafka, a first batch that is larger comes whole.
	maxFetchBytes = 1 << 20
	// fetchRoom is what an answer can have at most.
	fetchRoom    = protocol.MaxProduceFrame
	maxFetchWait = 30 * time.Second
)

// fetch answers a Fetch. The waiting for records is done here, and kfake is asked when some are synced: a fetch that waits
// costs it nothing, and no more answers are made at a time than there is room for.
//
// Three things differ from what the request says. The broker keeps no fetch sessions, of which clients are told and do
// without. It waits for one byte at least, whatever the least is that the client wants. And it makes clients no answer
// above maxFetchBytes.
func (c *client) fetch(frame []byte) ([]byte, error) {
	r, err := protocol.Parse(frame)
	if err != nil {
		return nil, err
	}
	body, ok := r.Body.(*kmsg.FetchRequest)
	if !ok {
		return nil, protocol.Refuse("no Fetch")
	}
	if body.SessionEpoch > 0 {
		response := &kmsg.FetchResponse{Version: body.Version, ErrorCode: kerr.FetchSessionIDNotFound.Code}
		return protocol.FrameAnswer(r.Correlation, response), nil
	}
	wait := min(time.Duration(body.MaxWaitMillis)*time.Millisecond, maxFetchWait)
	if body.MinBytes <= 0 {
		wait = 0
	}
	body.SessionID, body.SessionEpoch, body.ForgottenTopics = 0, -1, nil
	body.MaxWaitMillis, body.MinBytes = 0, 0
	if !c.own {
		body.MaxBytes = min(body.MaxBytes, maxFetchBytes)
	}

	grown, stop := c.guard.appends.watch(fetchedFrom(body))
	defer stop()
	patience, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	for {
		if over := patience.Err() != nil; over || !c.guard.shown.isRead(body) {
			answer, news, err := c.fetchOnce(r, body)
			if err != nil || news || over {
				return answer, err
			}
			c.answer.shrink(0)
		}
		if err := c.untilGrown(patience, grown); err != nil {
			return nil, err
		}
	}
}

// untilGrown waits for more records, while there is patience. It returns net.ErrClosed if the client is gone.
func (c *client) untilGrown(patience context.Context, grown <-chan struct{}) error {
	if !c.own { // the server's own fetches are short, and it closes no connection before their end
		defer c.untilGone(c.hangUp)()
	}
	select {
	case <-grown:
	case <-patience.Done():
		if c.ctx.Err() != nil {
			return net.ErrClosed
		}
	}
	return nil
}

// fetchOnce asks kfake what there is now. news tells that the answer says anything. A client holds room for the answer
// afterwards.
func (c *client) fetchOnce(r protocol.Request, body *kmsg.FetchRequest) (answer []byte, news bool, err error) {
	if c.own {
		answer, err = c.wait(r.Frame(body))
	} else {
		if err := c.answer.take(c.ctx, fetchRoom); err != nil {
			return nil, false, err
		}
		err = c.turn(func(l *lane) (err error) {
			answer, err = l.send(r.Frame(body), laneLimit)
			return err
		})
		c.answer.shrink(int64(len(answer)))
	}
	if err != nil {
		return nil, false, err
	}
	answer, news = c.guard.shown.fetched(answer, body.Version)
	return answer, news, nil
}

// fetchedFrom lists the partitions of a request.
func fetchedFrom(body *kmsg.FetchRequest) (all []logdir.Partition) {
	for _, topic := range body.Topics {
		for _, of := range topic.Partitions {
			all = append(all, logdir.Partition{Topic: topic.Topic, Number: of.Partition})
		}
	}
	return all
}

// appends tells fetches that wait that their partitions grew.
type appends struct {
	mu      sync.Mutex
	waiting map[logdir.Partition]map[chan struct{}]struct{}
}

// watch returns a channel that gets an element when one of the partitions may have grown since. stop ends it.
func (a *appends) watch(partitions []logdir.Partition) (grown <-chan struct{}, stop func()) {
	wake := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = make(map[logdir.Partition]map[chan struct{}]struct{})
	}
	for _, p := range partitions {
		if a.waiting[p] == nil {
			a.waiting[p] = make(map[chan struct{}]struct{})
		}
		a.waiting[p][wake] = struct{}{}
	}
	return wake, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, p := range partitions {
			delete(a.waiting[p], wake)
			if len(a.waiting[p]) == 0 {
				delete(a.waiting, p)
			}
		}
	}
}

// happened wakes who watches one of the partitions.
func (a *appends) happened(partitions []logdir.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range partitions {
		for wake := range a.waiting[p] {
			select {
			case wake <- struct{}{}:
			default: // it is to wake up already
			}
		}
	}
}
