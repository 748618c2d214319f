package bench

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// nowhere is a connection that takes everything.
type nowhere struct{ net.Conn }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkMessage is what the client does for one message beside its system calls: it sends the message, and finds it in
// the echo and in the partner's delivery.
func BenchmarkMessage(b *testing.B) {
	s := newChatServer(b)
	target := s.target()
	c, err := target.dial(b.Context(), 0, login{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.drop()
	began := time.Now()
	w := newWindow()
	w.from.Store(0)
	r := &chatRun{Chat: Chat{Rate: 1, TextBytes: 64}, mark: markOf(1), measured: w, echoes: newLatencies(w), deliveries: newLatencies(w)}
	r.began = began
	sender, partner := &chatter{client: c, run: r}, &chatter{client: &client{index: 1, user: 102, wire: c.wire}, run: r}
	r.chatters = []*chatter{sender, partner}
	sender.address(partner)
	server := c.wire.Conn
	c.wire.Conn = nowhere{server}
	defer func() { c.wire.Conn = server }()
	frame := fmt.Appendf(nil, `{"type":"chat_message","message":"%s","from_id":101,"to_id":102,"time":"2026-01-02T03:04:05.678Z","id":"…"}`, sender.message.frame[26:26+64])
	text := frame[len(`{"type":"chat_message","message":"`):]
	b.ReportAllocs()
	for b.Loop() {
		sender.post(r.now())
		copy(text, sender.message.frame[26:26+64])
		c.wire.readAt = r.now()
		sender.handle(frame)
		partner.handle(frame)
		_ = c.wire.flush()
	}
	if got := sender.echoed.Load(); got == 0 || got != int64(sender.sent.Load()) || got != partner.delivered.Load() {
		b.Fatalf("%d sent, %d echoed, %d delivered", sender.sent.Load(), got, partner.delivered.Load())
	}
}
