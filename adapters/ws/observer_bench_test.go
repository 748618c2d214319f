package ws

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/socket"
	"chatting/domain"
)

// BenchmarkSend queues a frame without an observer, and with one that does nothing: what remains is to find the kind of the frame.
func BenchmarkSend(b *testing.B) {
	text, err := domain.NewText(benchText)
	if err != nil {
		b.Fatal(err)
	}
	frame, err := wire.EncodeEvent(domain.Event{Time: time.Now(), Body: domain.ChatMessage{From: 9, To: 10, Text: text}})
	if err != nil {
		b.Fatal(err)
	}
	for name, observer := range map[string]Observer{"unobserved": nil, "observed": idle{}} {
		b.Run(name, func(b *testing.B) {
			parts := partsOf(newChat(), slog.New(slog.DiscardHandler))
			parts.Observer = observer
			s, err := New(withDefaults(Options{}), parts)
			if err != nil {
				b.Fatal(err)
			}
			c := &connection{}
			c.init(s, &socket.Conn{Conn: nowhere{}}, netip.Addr{})
			b.ReportAllocs()
			for b.Loop() {
				for range 8 {
					c.out.send(frame)
				}
				c.out.awaitWriter()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8, "ns/frame")
		})
	}
}

// idle is an Observer that does nothing.
type idle struct{}

func (idle) LoginEnded(string, time.Duration) {}
func (idle) FrameReceived(string, int)        {}
func (idle) FrameSent(string, int)            {}
func (idle) Answered(bool, time.Duration)     {}
