package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkAMessage is what one message costs on the node of its sender and its recipient: a frame is read, two are queued, and the
// answer is measured, for which the clock is asked once more. A batch of the log is measured once, whatever it holds. A message itself
// costs 20 to 40 µs.
func BenchmarkAMessage(b *testing.B) {
	m := New("v1")
	s, appends, deliveries := m.Sockets(), m.Log().To("conversations"), m.Deliveries()
	perMessage(b, s, func(took time.Duration) { s.Answered(true, took) }, appends.Appended, deliveries.Delivered, func() {})
}

// BenchmarkAMessageByTheLibrary is the same with the histograms of the library, and with a clock that is asked when the frame is read,
// for comparison. The server takes the time for which it asks because of limit.frames_per_second.
func BenchmarkAMessageByTheLibrary(b *testing.B) {
	s := New("v1").Sockets()
	histogram := func(name Name) func(time.Duration) {
		h := prometheus.NewHistogram(options(name))
		return func(took time.Duration) { h.Observe(took.Seconds()) }
	}
	appended, records := histogram(AppendDuration), prometheus.NewCounter(prometheus.CounterOpts{Name: "records_total"})
	perMessage(b, s, histogram(AnswerDuration), func(count int, waited time.Duration) {
		records.Add(float64(count))
		appended(waited)
	}, histogram(DeliveryDuration), func() { _ = time.Now() })
}

func perMessage(
	b *testing.B, s *Sockets, answered func(time.Duration), appended func(int, time.Duration), delivered func(time.Duration), read func(),
) {
	began := time.Now()
	for i := range b.N {
		read()
		s.FrameReceived("chat_message", 100)
		s.FrameSent("chat_message", 200)
		s.FrameSent("chat_message", 200)
		answered(time.Since(began) % time.Second)
		if i%10 == 0 { // a small batch
			appended(10, time.Since(began)%time.Second)
			delivered(time.Since(began) % time.Second)
		}
	}
}

// BenchmarkAClock is what of that is the clock.
func BenchmarkAClock(b *testing.B) {
	began := time.Now()
	for range b.N {
		_ = time.Since(began)
	}
}
