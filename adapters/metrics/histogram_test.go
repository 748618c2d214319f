package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// The histogram of this package and that of the library serve the same, whatever they count.
func TestDurationsAreServedAsTheLibraryWould(t *testing.T) {
	m := New("v1")
	ours := m.family(DeliveryDuration).with()
	observed := []time.Duration{
		0, 1, 2, 3, 500 * time.Microsecond, 500*time.Microsecond + 1, time.Second, time.Second + 1, 10 * time.Second, time.Hour,
	}
	for shift := range 60 {
		observed = append(observed, 1<<shift, 1<<shift+1, 1<<shift-1)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		observed = append(observed, time.Duration(math.Exp(random.Float64()*25)))
	}
	// It would merge buckets if there were too many.
	opts := options(DeliveryDuration)
	opts.NativeHistogramMaxBucketNumber = 0
	theirs := prometheus.NewHistogram(opts)
	for _, d := range observed {
		ours.observe(d)
		theirs.Observe(d.Seconds())
	}
	if got, want := written(t, ours.read()), written(t, theirs); !proto.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// written returns what a histogram serves, without the sum, which is rounded, and the time of its birth.
func written(t *testing.T, from prometheus.Metric) *dto.Histogram {
	t.Helper()
	var m dto.Metric
	if err := from.Write(&m); err != nil {
		t.Fatal(err)
	}
	h := m.GetHistogram()
	h.SampleSum, h.CreatedTimestamp = nil, nil
	return h
}

func TestTheSumOfDurationsIsThatOfAll(t *testing.T) {
	h := New("v1").family(AppendDuration).with("sessions")
	const forged = time.Duration(math.MaxInt64)
	for _, d := range []time.Duration{time.Second, 1500 * time.Millisecond, -time.Second, forged, forged, forged} {
		h.observe(d)
	}
	var m dto.Metric
	if err := h.read().Write(&m); err != nil {
		t.Fatal(err)
	}
	if got := m.GetHistogram(); got.GetSampleSum() != 2.5+3*time.Hour.Seconds() || got.GetSampleCount() != 6 || got.GetZeroCount() != 1 {
		t.Errorf("%v", got)
	}
	if m.GetLabel()[0].GetValue() != "sessions" {
		t.Errorf("the labels are %v", m.GetLabel())
	}
}
