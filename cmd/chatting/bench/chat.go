package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
)

// Chat is a run in which pairs of users send each other messages. Users 0 and 1 are the first pair, and so on.
type Chat struct {
	Target

	Pairs int
	// Rate is how many messages all users send together in a second (open loop). 0 is a closed loop: each user has Window
	// unanswered messages under way, and sends the next one when an answer comes.
	Rate   float64
	Window int
	// TextBytes is the size of a text, MinTextBytes at least.
	TextBytes int
	// Ramp is how long it takes until all users send, or until the rate is reached. Then follows Warmup, which is not
	// measured, and then Duration, which is.
	Ramp, Warmup, Duration time.Duration
	// Patience is how long after the last answer the run ends if others are still missing. A server has 5 s by default.
	Patience time.Duration
}

// chatRun is what the clients of a chat share.
type chatRun struct {
	Chat

	mark     []byte
	chatters []*chatter
	over     atomic.Bool // nobody sends any more

	measured                *window
	echoes, deliveries, lag *latencies
}

// Run logs the users in, has them chat, and returns what was measured. If ctx ends meanwhile, it returns what was measured
// until then.
func (c Chat) Run(ctx context.Context) (*ChatReport, error) {
	if _, err := usagesOf(c.PIDs); err != nil { // before anybody logs in
		return nil, err
	}
	measured := newWindow()
	r := &chatRun{
		Chat: c, mark: markOf(rand.Uint32()), chatters: make([]*chatter, 2*c.Pairs), //nolint:gosec // a name, no secret
		measured: measured, echoes: newLatencies(measured), deliveries: newLatencies(measured), lag: newLatencies(measured),
	}
	r.began = time.Now()
	defer r.leave()
	if err := r.logInAll(ctx); err != nil {
		return nil, err
	}
	sending, stop := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() { r.send(sending) })
	before, after, err := r.measure(ctx)
	r.over.Store(true)
	stop()
	if err == nil {
		r.drain()
	}
	r.leave() // before the wait: a sender that hangs ends with its connection
	sender.Wait()
	if err != nil {
		return nil, err
	}
	return r.report(before, after), nil
}

func (r *chatRun) logInAll(ctx context.Context) error {
	err := r.logIn(ctx, len(r.chatters), func(user int, c *client, _ time.Duration, err error) error {
		if err != nil {
			return fmt.Errorf("user %d of %d: %w", user+1, len(r.chatters), err)
		}
		r.chatters[user] = &chatter{client: c, run: r, refusals: map[string]int64{}}
		c.listen(r.chatters[user].handle)
		return nil
	})
	if err != nil {
		return err
	}
	for i, c := range r.chatters {
		c.address(r.chatters[i^1])
	}
	return nil
}

// now is the time since the run began.
func (r *chatRun) now() time.Duration { return time.Since(r.began) }

// send sends messages until ctx ends. In a closed loop it only sends the first ones: the others follow the answers.
func (r *chatRun) send(ctx context.Context) {
	if r.Rate > 0 {
		r.sendAtRate(ctx)
		return
	}
	begun := r.now()
	for i, c := range r.chatters {
		for at := begun + r.Ramp*time.Duration(i)/time.Duration(len(r.chatters)); r.now() < at && ctx.Err() == nil; {
			rest(min(at-r.now(), longestRest))
		}
		if ctx.Err() != nil {
			return
		}
		for range r.Window {
			c.post(r.now())
		}
		_ = c.wire.flush() // the reader sees the error, too
	}
}

func (r *chatRun) sendAtRate(ctx context.Context) {
	var waiting []*chatter // those who have something to flush
	p := pacer{
		schedule: schedule{rate: r.Rate, ramp: r.Ramp}, now: r.now, rest: rest,
		send: func(k int64, due time.Duration) {
			c := r.chatters[k%int64(len(r.chatters))]
			c.post(due)
			if !c.waits {
				c.waits = true
				waiting = append(waiting, c)
			}
		},
		flush: func() {
			for _, c := range waiting {
				c.waits = false
				_ = c.wire.flush()
			}
			waiting = waiting[:0]
		},
		late: func(due, by time.Duration) { r.lag.record(0, due, by) },
	}
	p.run(ctx)
}

// sample is the state of a run at one time.
type sample struct {
	at             time.Duration
	echoed         int64
	client         usage
	processes      []usage
	clientMeasured bool
}

func (r *chatRun) sample() (sample, error) {
	s := sample{}
	var err error
	if s.processes, err = usagesOf(r.PIDs); err != nil {
		return sample{}, err
	}
	if own, err := usageOf(os.Getpid()); err == nil { // only Linux tells
		s.client, s.clientMeasured = own, true
	}
	for _, c := range r.chatters {
		s.echoed += c.echoed.Load()
	}
	s.at = r.now()
	return s, nil
}

// measure waits for the end of the warm-up, and then for the end of the run, and returns the state at both.
func (r *chatRun) measure(ctx context.Context) (before, after sample, err error) {
	if r.wait(ctx, r.now()+r.Ramp+r.Warmup, "warming up"); ctx.Err() != nil {
		return before, after, errCancelled
	}
	if before, err = r.sample(); err != nil {
		return before, after, err
	}
	r.measured.from.Store(int64(before.at))
	r.wait(ctx, before.at+r.Duration, "measuring")
	after, err = r.sample()
	r.measured.to.Store(int64(after.at))
	return before, after, err
}

// wait returns at a time since the run began, when ctx ends, or when no connection is left.
func (r *chatRun) wait(ctx context.Context, until time.Duration, what string) {
	r.progress("%s", what)
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	end := time.NewTimer(until - r.now())
	defer end.Stop()
	last, lastAt := int64(0), r.now()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-ticks.C:
		}
		var echoed, left int64
		for _, c := range r.chatters {
			echoed += c.echoed.Load()
			if !c.ended.Load() {
				left++
			}
		}
		if left == 0 {
			return
		}
		now := r.now()
		if !first {
			r.progress("%s: %.0f messages/s, %s left", what, float64(echoed-last)/(now-lastAt).Seconds(),
				(until - now).Round(time.Second))
		}
		last, lastAt = echoed, now
	}
}

// drain waits for the answers to what was sent, and for the deliveries, as long as some come within Patience.
func (r *chatRun) drain() {
	last, lastAt := int64(-1), r.now()
	for r.now()-lastAt < r.Patience && !r.settled() {
		var came int64
		for _, c := range r.chatters {
			came += c.echoed.Load() + c.refused.Load() + c.delivered.Load()
		}
		if came != last {
			last, lastAt = came, r.now()
		}
		rest(time.Millisecond)
	}
}

func (r *chatRun) settled() bool {
	for i, c := range r.chatters {
		partner := r.chatters[i^1]
		if !c.ended.Load() && c.echoed.Load()+c.refused.Load() < int64(c.sent.Load()) ||
			!partner.ended.Load() && partner.delivered.Load() < c.echoed.Load() {
			return false
		}
	}
	return true
}

func (r *chatRun) leave() {
	var clients []*client
	for _, c := range r.chatters {
		if c != nil {
			clients = append(clients, c.client)
		}
	}
	leaveAll(clients)
}

// chatter is a client that takes part in a chat.
type chatter struct {
	*client

	run   *chatRun
	waits bool // has something to flush; for the pacer

	sending sync.Mutex
	message message
	sent    atomic.Uint32 // written under sending

	// Counters that others look at while the goroutine that reads counts.
	echoed, refused, delivered atomic.Int64

	// The goroutine that reads has these to itself until it ends.
	own, partner stream
	order        uint64           // a hash of the order in which the messages of both came
	strays       int64            // messages that are not of this conversation
	refusals     map[string]int64 // by code
}

// address makes the frame that goes to the partner.
func (c *chatter) address(partner *chatter) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.message = newMessage(partner.user, c.run.mark, c.run.TextBytes)
}

// post has the next message leave at the next flush.
func (c *chatter) post(due time.Duration) {
	if c.ended.Load() {
		return
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	number := c.sent.Load()
	stamp{sender: uint32(c.index), number: number, at: due}.put(c.message.digits)
	// Before the write: the reader may flush, and then see the echo, before this goroutine goes on.
	c.sent.Store(number + 1)
	_ = c.conn.WriteMessage(websocket.TextMessage, c.message.frame) // if it fails, the connection has ended, and that is reported
}

// handle takes a frame of the server.
func (c *chatter) handle(frame []byte) {
	s, ok := findStamp(frame, c.run.mark)
	if !ok {
		c.handleOther(frame)
		return
	}
	latency := c.wire.readAt - s.at
	switch partner := c.run.chatters[c.index^1]; {
	case s.sender == uint32(c.index) && s.number < c.sent.Load():
		if c.own.saw(s.number) {
			c.echoed.Add(1)
			c.run.echoes.record(c.index, s.at, latency)
			c.answered()
		}
	case s.sender == uint32(partner.index) && s.number < partner.sent.Load():
		if c.partner.saw(s.number) {
			c.delivered.Add(1)
			c.run.deliveries.record(c.index, s.at, latency)
		}
	default:
		c.strays++
		return
	}
	const odd = 0x9e3779b97f4a7c15 // so that no bit is lost
	c.order = (c.order + uint64(s.sender)<<32 + uint64(s.number) + 1) * odd
}

// codeUnconfirmed is the code of an error that refuses nothing: the message may still come, once.
const codeUnconfirmed = "unconfirmed"

// handleOther takes a frame that is no message of this run: a refusal, or something of no interest.
func (c *chatter) handleOther(frame []byte) {
	var refusal struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}
	if json.Unmarshal(frame, &refusal) != nil || refusal.Error == "" {
		return
	}
	if refusal.Code == "" { // the server that this one replaces has none
		refusal.Code = "other"
	}
	c.refusals[refusal.Code]++
	if refusal.Code == codeUnconfirmed {
		return // its echo may still come
	}
	c.refused.Add(1)
	c.answered()
}

// answered sends the next message of a closed loop.
func (c *chatter) answered() {
	if c.run.Rate == 0 && !c.run.over.Load() {
		c.post(c.wire.readAt)
	}
}
