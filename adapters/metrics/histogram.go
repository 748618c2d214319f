package metrics

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// durations is a histogram of what happens with each message, for which the library's is too slow. It serves the same: native
// buckets, and the classic ones of the table. It may be slow to read and not to write: a duration costs three additions, wherever it
// falls. The buckets are made at once, as many as there can be, so nothing has to be looked for, locked or bounded.
type durations struct {
	family  *family
	labels  []string
	created time.Time

	sum     atomic.Uint64 // the bits of a float64, in seconds
	counted [buckets]atomic.Uint64
	// within counts by classic bucket, those beyond the last bound last. Bounds of native buckets are no bounds of classic ones.
	within []atomic.Uint64
}

const (
	// schema gives each doubling eight native buckets: a bucket is 9% wider than the one before it.
	schema = 3
	each   = 1 << schema
	// lowest and highest are the powers of two between which durations lie, in seconds: from less than a nanosecond to all that a
	// time.Duration can hold. The first bucket is for 0.
	lowest, highest = -30, 34
	buckets         = 1 + each*(highest-lowest)
)

// bounds are the upper bounds of the native buckets from 0.5 to 1, and guess has, for the first bits of a fraction between these, the
// bucket in which the smallest number with these bits is. No two bounds have the same first bits.
var bounds, guess = func() (b [each + 1]float64, g [1 << 6]uint8) {
	for i := range b {
		b[i] = math.Exp2(float64(i)/each - 1)
	}
	for i := range g {
		for math.Float64frombits(uint64(i)<<46|1022<<52) > b[g[i]] {
			g[i]++
		}
	}
	return b, g
}()

// family has the histograms of a metric, one for each combination of the values of its labels.
type family struct {
	of *definition
	// classic are the upper bounds of the classic buckets, and first has, for each native bucket, the classic one in which its shortest
	// duration is. No two bounds of classic buckets are in one native bucket.
	classic []time.Duration
	first   [buckets]uint8

	mu  sync.Mutex
	all []*durations
}

// family returns the family of a metric, without a histogram. It is called once for a metric.
func (m *Metrics) family(name Name) *family {
	f := &family{of: definitionOf(name)}
	for i := range f.first {
		f.first[i] = uint8(len(f.of.buckets))
	}
	for _, bound := range slices.Backward(f.of.buckets) {
		exact := time.Duration(math.Round(bound * float64(time.Second)))
		f.classic = append(f.classic, exact)
		for i := range f.first[:bucketOf(exact)+1] {
			f.first[i] = uint8(len(f.of.buckets) - len(f.classic))
		}
	}
	slices.Reverse(f.classic)
	m.registry.MustRegister(f)
	return f
}

// with returns a new histogram for these values of labels. It is called once for them.
func (f *family) with(labels ...string) *durations {
	h := &durations{family: f, labels: labels, created: time.Now(), within: make([]atomic.Uint64, len(f.classic)+1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, h)
	return h
}

// Describe implements prometheus.Collector.
func (f *family) Describe(to chan<- *prometheus.Desc) { to <- f.of.desc() }

// Collect implements prometheus.Collector.
func (f *family) Collect(to chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.all {
		to <- h.read()
	}
}

// longest is what a longer duration adds to the sum: some are made of times that other programs write.
const longest = time.Hour

// observe counts a duration. A negative one counts as 0.
func (h *durations) observe(d time.Duration) {
	d = max(0, d)
	native := bucketOf(d)
	h.counted[native].Add(1)
	i := int(h.family.first[native])
	if i < len(h.family.classic) && d > h.family.classic[i] {
		i++
	}
	h.within[i].Add(1)
	for {
		before := h.sum.Load()
		if h.sum.CompareAndSwap(before, math.Float64bits(math.Float64frombits(before)+min(d, longest).Seconds())) {
			return
		}
	}
}

// bucketOf returns the number of the native bucket of a duration that is not negative.
func bucketOf(d time.Duration) int {
	if d == 0 {
		return 0
	}
	// As math.Frexp, for numbers that are neither subnormal nor negative: from 0.5 to 1, times a power of two.
	bits := math.Float64bits(float64(d) * 1e-9)
	fraction := math.Float64frombits(bits&(1<<52-1) | 1022<<52)
	i := int(guess[bits>>46&(1<<6-1)])
	if fraction > bounds[i] {
		i++
	}
	return 1 + (int(bits>>52)-1022-1-lowest)*each + i
}

// read returns what was counted. What is counted meanwhile may be in one part of it and not in another, so the number of all is that
// of the native buckets.
func (h *durations) read() prometheus.Metric {
	desc, positive := h.family.of.desc(), make(map[int]int64)
	zero, count := h.counted[0].Load(), uint64(0)
	for i := 1; i < buckets; i++ {
		if n := h.counted[i].Load(); n > 0 {
			positive[i-1+lowest*each] = int64(n)
			count += n
		}
	}
	count += zero
	native, err := prometheus.NewConstNativeHistogram(desc, count, math.Float64frombits(h.sum.Load()), positive, nil, zero, schema,
		prometheus.DefNativeHistogramZeroThreshold, h.created, h.labels...)
	if err != nil {
		native = prometheus.NewInvalidMetric(desc, err)
	}
	full := withClassic{Metric: native}
	below := uint64(0)
	for i, bound := range h.family.classic {
		below = min(below+h.within[i].Load(), count)
		full.buckets = append(full.buckets, &dto.Bucket{CumulativeCount: new(below), UpperBound: new(bound.Seconds())})
	}
	return full
}

// withClassic is a native histogram with classic buckets.
type withClassic struct {
	prometheus.Metric
	buckets []*dto.Bucket
}

// Write implements prometheus.Metric.
func (w withClassic) Write(to *dto.Metric) error {
	err := w.Metric.Write(to)
	if err == nil {
		to.Histogram.Bucket = slices.Clone(w.buckets)
	}
	return err
}
