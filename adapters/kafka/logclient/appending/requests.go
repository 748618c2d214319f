package appending

import (
	"context"
	"sync"
	"time"
)

// Batches of partitions with the same leader share requests. At most maxRequests that are not slow are under way to a leader.
// What is queued meanwhile goes with the next one, so requests grow with the load. A batch goes alone if its partition has no
// producer id or no known leader, or if the last attempt of its partition failed: it must not hold up the others.

const (
	maxRequests = 4
	slowRequest = 5 * time.Millisecond
	// leadersAge is how old what is known of leaders may be.
	leadersAge = 100 * time.Millisecond
	// maxRequestBytes is up to how many bytes a request takes further batches.
	maxRequestBytes = 1 << 20
)

// shipment is a lane's batch under way.
type shipment struct {
	lane  *lane
	batch *batch
}

// signal has run look at the lanes.
func (a *Appender) signal() {
	select {
	case a.wake <- struct{}{}:
	default: // it will
	}
}

// run sends what lanes have queued until all are closed and empty, or ctx ends, which it does only after they were closed.
func (a *Appender) run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	late := time.NewTimer(0)
	defer late.Stop()
	for first := 0; ctx.Err() == nil; first++ {
		ready, over, next := a.look(first)
		if over {
			return
		}
		a.dispatch(ctx, &sending, ready)
		late.Reset(max(time.Until(next), time.Millisecond)) // a late batch may be about to be given up
		select {
		case <-a.wake:
		case <-late.C:
		case <-ctx.Done():
		}
	}
	sending.Wait()
	// What is still queued is not sent any more: after a batch of unknown outcome it could be taken for that one.
	for _, l := range a.lanes {
		l.expire(time.Now().Add(l.deadline)) // everything
	}
}

// look reports what reached its deadline and returns the lanes that have something to send, beginning with another one each
// time, whether all of them are over, and when the next deadline is.
func (a *Appender) look(first int) (ready []*lane, over bool, next time.Time) {
	now := time.Now()
	over, next = true, now.Add(a.options.Deadline)
	for i := range a.lanes {
		l := a.lanes[(first+i)%len(a.lanes)]
		if late := l.expire(now); late.Before(next) {
			next = late
		}
		isReady, isOver := l.state()
		if isReady {
			ready = append(ready, l)
		}
		over = over && isOver
	}
	return ready, over, next
}

// dispatch sends the next batch of each lane that goes alone, or whose leader may get one more request.
func (a *Appender) dispatch(ctx context.Context, sending *sync.WaitGroup, ready []*lane) {
	together := make(map[int][]shipment)
	bytes := make(map[int]int)
	for _, l := range ready {
		leader, known := -1, false
		if l.sender.known && !l.complained {
			leader, known = a.leaderOf(ctx, l.sender.partition)
		}
		switch {
		case !known:
			b := l.take()
			sending.Go(func() {
				l.finish(b, l.deliver(ctx, b))
				a.signal()
			})
		case bytes[leader] < maxRequestBytes && (together[leader] != nil || a.underWay.begin(leader)):
			b := l.take()
			together[leader] = append(together[leader], shipment{l, b})
			bytes[leader] += b.size
		}
	}
	for leader, shipments := range together {
		sending.Go(func() { a.sendTogether(ctx, sending, leader, shipments) })
	}
}

// leaderOf returns who led a partition a moment ago. If that has changed, the request fails before it is sent.
func (a *Appender) leaderOf(ctx context.Context, partition int) (leader int, known bool) {
	if now := time.Now(); a.leaders == nil || now.Sub(a.leadersAt) >= leadersAge {
		a.leaders, a.leadersAt = a.cluster.Leaders(ctx, a.options.Topic), now
	}
	leader, known = a.leaders[partition]
	return leader, known
}

// requestCounts counts the requests under way to each leader. The zero value is ready for use.
type requestCounts struct {
	mu       sync.Mutex
	byLeader map[int]int
}

// begin counts one more request to a leader; false if there are enough.
func (c *requestCounts) begin(leader int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byLeader[leader] >= maxRequests {
		return false
	}
	if c.byLeader == nil {
		c.byLeader = make(map[int]int)
	}
	c.byLeader[leader]++
	return true
}

func (c *requestCounts) end(leader int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byLeader[leader]--; c.byLeader[leader] == 0 {
		delete(c.byLeader, leader)
	}
}

// endRequest counts one request to a leader less. Lanes may wait for that.
func (a *Appender) endRequest(leader int) {
	a.underWay.end(leader)
	a.signal()
}

// sendTogether sends batches in one request. A batch that it does not append goes on alone.
func (a *Appender) sendTogether(ctx context.Context, sending *sync.WaitGroup, leader int, shipments []shipment) {
	end := sync.OnceFunc(func() { a.endRequest(leader) })
	results := attempt(ctx, shipments, end)
	for i, result := range results {
		l, b := shipments[i].lane, shipments[i].batch
		if result.verdict == verdictAppended {
			l.finish(b, l.conclude(ctx, b, result))
			continue
		}
		sending.Go(func() {
			l.finish(b, l.conclude(ctx, b, result))
			a.signal()
		})
	}
	end()
	a.signal() // also if the request ended before its lanes were ready
}

// attempt sends batches once and returns what became of each. slow is called if that takes long.
func attempt(ctx context.Context, shipments []shipment, slow func()) []sendResult {
	parcels := make([]parcel, len(shipments))
	before := make([]bool, len(shipments))
	for i, s := range shipments {
		parcels[i] = parcel{sender: s.lane.sender, records: s.batch.pending}
		before[i] = s.lane.sends(s.batch)
	}
	slows := time.AfterFunc(slowRequest, slow)
	defer slows.Stop()
	results := send(ctx, parcels)
	for i, s := range shipments {
		s.lane.sent(s.batch, before[i] || results[i].maybeSent)
	}
	return results
}
