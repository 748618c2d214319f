package ws

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/socket"
	"chatting/application/delivery"
	"chatting/domain"
)

// receipts sends frames whose receipt matters, and learns which of them the client got, by the places in the log that come with
// them. A client confirms frames by its pong to a ping that was queued behind them, or by closing the connection itself once
// they were written.
type receipts struct {
	out *outbound

	mu   sync.Mutex
	open *unconfirmed // nil while everything is confirmed
}

// unconfirmed is what a client was sent and has not confirmed.
type unconfirmed struct {
	// noted is the latest place of each partition since the last ping, and since when the first of them was noted.
	noted []domain.Place
	since time.Time
	asked []question // oldest first
}

// question is a ping behind the frames of these places. name is the data that its pong brings back.
type question struct {
	name   uint64
	places []domain.Place
}

// maxQuestions bounds the pings without a pong of one connection. At the bound, places are noted until there is an answer.
const maxQuestions = 32

// deliver sends a frame from a place in the log.
func (r *receipts) deliver(frame []byte, at domain.Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out.send(frame) {
		r.noteLocked(at)
	}
}

// replay sends frames from before the login, and asks the client to confirm them.
func (r *receipts) replay(entries []delivery.Replayed) {
	frames := make([][]byte, 0, len(entries))
	for _, entry := range entries {
		if entry.Frame != nil {
			frame := entry.Frame
			if entry.OwnMark {
				frame = wire.AppendWithUnread(nil, frame, entry.Unread)
			}
			frame = wire.WithReplayed(frame, entry.EchoOf)
			if entry.Resume != "" {
				frame = wire.AppendWithResume(nil, frame, entry.Resume)
			}
			frames = append(frames, frame)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.out.send(frames...) {
		return // it closes, and confirms nothing of them
	}
	for _, entry := range entries {
		if entry.At != nil {
			r.noteLocked(*entry.At)
		}
	}
	r.askLocked()
}

// noteLocked remembers that the frame queued last came from at.
func (r *receipts) noteLocked(at domain.Place) {
	if r.open == nil {
		r.open = &unconfirmed{}
	}
	if len(r.open.noted) == 0 {
		r.open.since = time.Now()
	}
	r.open.noted = merge(r.open.noted, at)
}

// merge notes a place that is later than those noted of its partition.
func merge(places []domain.Place, at domain.Place) []domain.Place {
	for i := range places {
		if places[i].Partition == at.Partition {
			places[i] = at
			return places
		}
	}
	return append(places, at)
}

// ask asks the client to confirm what was noted at least wait ago.
func (r *receipts) ask(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open != nil && time.Since(r.open.since) >= wait {
		r.askLocked()
	}
}

func (r *receipts) askLocked() {
	if r.open == nil || len(r.open.noted) == 0 || len(r.open.asked) >= maxQuestions {
		return
	}
	if name, asked := r.out.Ask(); asked {
		r.open.asked = append(r.open.asked, question{name: name, places: r.open.noted})
		r.open.noted = nil
	}
}

// answered takes a pong, and returns the places that it confirms; false if it answers no question.
func (r *receipts) answered(pong string) (places []domain.Place, answer bool) {
	if len(pong) != 8 {
		return nil, false
	}
	name := binary.BigEndian.Uint64([]byte(pong))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return nil, false
	}
	for i, q := range r.open.asked {
		if q.name == name {
			// A client may answer only the latest of several pings (RFC 6455 §5.5.3).
			return r.takeLocked(i+1, false), true
		}
	}
	return nil, false
}

// closePatience is for how long a client's close waits for the write under way: much longer than a write takes that does not
// have to wait for the client.
const closePatience = 100 * time.Millisecond

// closedByClient returns the places of the frames that were written before the client's close. Frames that crossed the close are
// among them: a client that closes needs nothing more.
func (r *receipts) closedByClient() []domain.Place {
	if !r.areOpen() {
		return nil
	}
	awaitWrite(r.out, closePatience)
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.out.State()
	if r.open == nil || state.Dropped {
		return nil
	}
	n := 0
	for n < len(r.open.asked) && int64(r.open.asked[n].name) <= state.Written {
		n++
	}
	return r.takeLocked(n, state.Written == state.Total)
}

// areOpen tells whether the client was sent something that it has not confirmed.
func (r *receipts) areOpen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open != nil
}

// awaitWrite waits until the write under way is done, but not longer than patience. What is being written may have reached the
// client already, whose answer then comes before the writer says so.
func awaitWrite(out *outbound, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := out.State().Writes
	out.Await(ctx, func(now socket.State) bool { return !now.Writing || now.Writes != begun })
}

// closeAnswered returns the places of all frames if the client answered the server's close frame, which stands behind them. With
// the same code, the client's close frame is no close of its own that crossed the server's.
func (r *receipts) closeAnswered(code int) []domain.Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.out.State()
	if r.open == nil || !state.Sent || state.Dropped || code != state.Cause.Code() {
		return nil
	}
	return r.takeLocked(len(r.open.asked), true)
}

// takeLocked returns the places of the first n questions, which are answered, and with noted those that nobody was asked about.
func (r *receipts) takeLocked(n int, noted bool) (places []domain.Place) {
	for _, q := range r.open.asked[:n] {
		for _, at := range q.places {
			places = merge(places, at)
		}
	}
	r.open.asked = r.open.asked[n:]
	if noted {
		places = append(places, r.open.noted...)
		r.open.noted = nil
	}
	if len(r.open.asked) == 0 && len(r.open.noted) == 0 {
		r.open = nil
	}
	return places
}
