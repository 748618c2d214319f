// Package metrics has the numbers of a node for Prometheus, and the listener that serves them. It is the only package that knows
// the Prometheus library, and it knows no other part of the server.
//
// What a metric is called and what it means is in the table of definitions, which docs/metrics.md shows to operators. There are
// two ways to its value. State is read when somebody scrapes: Read says how. What happens too often, or takes a time that nobody
// keeps, is reported by the part that does it, through a small interface of its own: Sockets, Requests, Appends, Deliveries,
// Letters, Platform, Texts and Queries implement these.
//
// Each label has few values, all of which are in the table. A value that is not there becomes "other".
package metrics

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are those of one node. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	mu       sync.Mutex
	readings map[Name][]reading
}

// reading is how one value of a metric is read.
type reading struct {
	labels []string
	read   func() (value float64, known bool)
}

// New returns metrics without values, but for those of the Go runtime, of the process and of the program, whose version is as
// given.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewPedanticRegistry(), readings: make(map[Name][]reading)}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		readings{m},
	)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: string(BuildInfo), Help: definitionOf(BuildInfo).help,
	}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(build)
	return m
}

// Read has the value of a metric with these label values read at each scrape. If read says that the value is not known, the scrape
// has none. read must not block, because Prometheus waits for it. Read panics for a metric that is not in the table or has other
// labels: both are mistakes in the program.
func (m *Metrics) Read(name Name, read func() (value float64, known bool), labels ...string) {
	d := definitionOf(name)
	if d.kind == histogram || len(labels) != len(d.labels) {
		panic(fmt.Sprintf("metrics: %s cannot be read with the labels %q", name, labels))
	}
	for i, value := range labels {
		labels[i] = d.labels[i].known(value)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.readings[name] {
		if slices.Equal(other.labels, labels) {
			panic(fmt.Sprintf("metrics: %s with the labels %q has two values", name, labels))
		}
	}
	m.readings[name] = append(m.readings[name], reading{labels: labels, read: read})
}

// Known makes a function for Read of one whose value is always known.
func Known[N int | int64 | uint64 | float64](read func() N) func() (float64, bool) {
	return func() (float64, bool) { return float64(read()), true }
}

// readings collects what Read was told.
type readings struct{ of *Metrics }

// Describe implements prometheus.Collector. It announces all that can be read.
func (r readings) Describe(to chan<- *prometheus.Desc) {
	for i := range definitions {
		if d := &definitions[i]; d.kind != histogram && !d.pushed {
			to <- d.desc()
		}
	}
}

// Collect implements prometheus.Collector.
func (r readings) Collect(to chan<- prometheus.Metric) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	for i := range definitions {
		d := &definitions[i]
		kind := prometheus.GaugeValue
		if d.kind == counter {
			kind = prometheus.CounterValue
		}
		for _, reading := range r.of.readings[d.name] {
			if value, known := reading.read(); known && !math.IsNaN(value) {
				to <- prometheus.MustNewConstMetric(d.desc(), kind, value, reading.labels...)
			}
		}
	}
}
