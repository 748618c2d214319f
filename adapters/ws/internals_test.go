package ws

import (
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"chatting/adapters/httpconn"
	"chatting/adapters/ws/rfc6455"
	"chatting/adapters/ws/socket"
	"chatting/application/ledger"
	"chatting/application/notice"
	"chatting/application/port"
)

const (
	finalBit = rfc6455.FinalBit
	opText   = rfc6455.Text
	opClose  = rfc6455.Close
	opPing   = rfc6455.Ping
	opPong   = rfc6455.Pong
)

var appendFrame = rfc6455.Append

// withDefaults returns the options with what the configuration would set.
func withDefaults(o Options) Options {
	o.MaxFrame = cmp.Or(o.MaxFrame, 64<<10)
	o.QueueBytes = cmp.Or(o.QueueBytes, 1<<20)
	o.Times.FirstFrame = cmp.Or(o.Times.FirstFrame, 10*time.Second)
	o.Times.Silence = cmp.Or(o.Times.Silence, 20*time.Second)
	o.Times.Pong = cmp.Or(o.Times.Pong, 30*time.Second)
	o.Times.Write = cmp.Or(o.Times.Write, 10*time.Second)
	if o.ClientAddress == nil {
		o.ClientAddress = httpconn.NewProxies(nil).ClientAddress
	}
	return o
}

// partsOf returns what a server calls, for users of the chat.
func partsOf(chat *chat, logger *slog.Logger) Deps {
	bytesHeld := chat.bytes
	if bytesHeld == nil {
		bytesHeld = ledger.NewByteLedger(0, 0, time.Now)
	}
	var checks TextChecks
	if chat.check != nil {
		checks = chat.check
	}
	return Deps{
		Checks: checks, Login: chat.login, Messages: messagesOf{chat}, Invites: invitesOf{chat}, Bytes: bytesHeld, Now: time.Now, Logger: logger,
		Notices: notice.NewLog(logger, time.Now),
	}
}

func (o *outbound) isClosing() bool { return o.State().Closing }

// awaitWriter waits until nothing is left to be written.
func (o *outbound) awaitWriter() {
	o.Await(context.Background(), func(now socket.State) bool { return !now.Writing })
}

// keepTime gives the connection another clock.
func (s *stuck) keepTime(now port.Clock) { s.server.deps.Now, s.feed.now, s.token.now = now, now, now }

// ask asks the client at once for what was noted, and returns how many questions are open.
func (s *stuck) ask() int {
	s.receipts.mu.Lock()
	defer s.receipts.mu.Unlock()
	s.receipts.askLocked()
	return len(s.receipts.open.asked)
}

// gives hands over a pong; false if it answers no question.
func (s *stuck) gives(pong string) bool {
	places, answer := s.receipts.answered(pong)
	s.received(places)
	return answer
}

// answers takes the pong to the question that was asked n-th of those that are open.
func (s *stuck) answers(n int) bool {
	s.receipts.mu.Lock()
	name := s.receipts.open.asked[n].name
	s.receipts.mu.Unlock()
	return s.gives(string(binary.BigEndian.AppendUint64(nil, name)))
}
