package bench

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longestLatency = 5 * time.Minute
	latencyDigits  = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency.Microseconds(), latencyDigits)
}

// window is the time within which messages are measured, since the run began. A message belongs to it by when it was due.
type window struct{ from, to atomic.Int64 }

func newWindow() *window {
	w := &window{}
	w.from.Store(math.MaxInt64)
	w.to.Store(math.MaxInt64)
	return w
}

func (w *window) has(at time.Duration) bool {
	return int64(at) >= w.from.Load() && int64(at) < w.to.Load()
}

// latencies are histograms that many goroutines write to: in parts, so that they seldom wait for each other.
type latencies struct {
	window *window
	parts  []part
}

type part struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram
}

func newLatencies(w *window) *latencies {
	l := &latencies{window: w, parts: make([]part, runtime.GOMAXPROCS(0))}
	for i := range l.parts {
		l.parts[i].histogram = newHistogram()
	}
	return l
}

// record takes the latency of a message that was due at a time, if that is within the window. hint spreads the callers.
func (l *latencies) record(hint int, due, latency time.Duration) {
	if !l.window.has(due) {
		return
	}
	p := &l.parts[hint%len(l.parts)]
	p.mu.Lock()
	record(p.histogram, latency)
	p.mu.Unlock()
}

// record takes a latency; one beyond the histogram's range counts as the longest.
func record(h *hdrhistogram.Histogram, latency time.Duration) {
	_ = h.RecordValue(min(max(latency, 0), longestLatency).Microseconds()) // within the range by now
}

// figures sums up what was recorded.
func (l *latencies) figures() Latency {
	all := newHistogram()
	for i := range l.parts {
		p := &l.parts[i]
		p.mu.Lock()
		all.Merge(p.histogram)
		p.mu.Unlock()
	}
	return figuresOf(all)
}

// Latency is a distribution of times, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func figuresOf(h *hdrhistogram.Histogram) Latency {
	ms := func(microseconds int64) float64 { return float64(microseconds) / 1000 }
	return Latency{
		Count: h.TotalCount(), Mean: math.Round(h.Mean()) / 1000,
		P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)), P99: ms(h.ValueAtQuantile(99)),
		P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()),
	}
}
