package metrics

import (
	"testing"
	"time"
)

// BenchmarkAMessage is what one message costs on the node of its sender and its recipient: a frame is read, two are queued, and the
// answer is measured. A batch of the log is measured once, whatever it holds. A message itself costs 20 to 40 µs.
func BenchmarkAMessage(b *testing.B) {
	m := New("v1")
	s, appends, deliveries := m.Sockets(), m.Log().To("conversations"), m.Deliveries()
	began := time.Now()
	for i := range b.N {
		s.FrameReceived("chat_message", 100)
		s.FrameSent("chat_message", 200)
		s.FrameSent("chat_message", 200)
		s.Answered(true, time.Since(began)%time.Second)
		if i%10 == 0 { // a small batch
			appends.Appended(10, time.Since(began)%time.Second)
			deliveries.Delivered(time.Since(began) % time.Second)
		}
	}
}
