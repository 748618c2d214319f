package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are those of a metric with one label, in the order of the table, and last that of "other". They are made once. To look
// for one hashes nothing: the table has few values, the frequent ones first, and equal strings mostly are the same constant.
type counters []valueCounter

type valueCounter struct {
	value string
	prometheus.Counter
}

func (m *Metrics) counters(name Name) (all counters) {
	vec := m.counterVec(name)
	for _, value := range append(slices.Clone(definitionOf(name).labels[0].values), other) {
		all = append(all, valueCounter{value, vec.WithLabelValues(value)})
	}
	return all
}

// count adds 1 to the counter of a value, or to that of "other".
func (c counters) count(value string) {
	for i := range c {
		if c[i].value == value {
			c[i].Inc()
			return
		}
	}
	c[len(c)-1].Inc()
}

func (m *Metrics) counterVec(name Name) *prometheus.CounterVec {
	d := definitionOf(name)
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: string(name), Help: d.help}, d.labelNames())
	m.registry.MustRegister(vec)
	return vec
}

func (m *Metrics) counter(name Name) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: string(name), Help: definitionOf(name).help})
	m.registry.MustRegister(c)
	return c
}

const (
	// growth is by how much a bucket of a native histogram is wider than the one before it.
	growth = 1.1
	// maxBuckets bounds the memory of a native histogram: beyond it, buckets are merged.
	maxBuckets = 160
	// resetAfter lets a histogram that has merged its buckets become exact again.
	resetAfter = time.Hour
)

func options(name Name) prometheus.HistogramOpts {
	d := definitionOf(name)
	return prometheus.HistogramOpts{
		Name: string(name), Help: d.help, Buckets: d.buckets,
		NativeHistogramBucketFactor: growth, NativeHistogramMaxBucketNumber: maxBuckets, NativeHistogramMinResetDuration: resetAfter,
	}
}

func (m *Metrics) histogram(name Name) prometheus.Histogram {
	h := prometheus.NewHistogram(options(name))
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) histogramVec(name Name) *prometheus.HistogramVec {
	vec := prometheus.NewHistogramVec(options(name), definitionOf(name).labelNames())
	m.registry.MustRegister(vec)
	return vec
}

// Sockets measures what happens on WebSockets.
type Sockets struct {
	logins, received, sent   counters
	login                    prometheus.Observer
	echo, failed             *durations
	bytesReceived, bytesSent prometheus.Counter
}

// Sockets returns the instruments of the WebSockets. It is called once.
func (m *Metrics) Sockets() *Sockets {
	answers := m.family(AnswerDuration)
	return &Sockets{
		logins: m.counters(Logins), received: m.counters(FramesReceived), sent: m.counters(FramesSent),
		login: m.histogram(LoginDuration), echo: answers.with("echo"), failed: answers.with("error"),
		bytesReceived: m.counter(BytesReceived), bytesSent: m.counter(BytesSent),
	}
}

// LoginEnded counts a login, and how long it took if it was accepted.
func (s *Sockets) LoginEnded(outcome string, took time.Duration) {
	s.logins.count(outcome)
	if outcome == "accepted" {
		s.login.Observe(took.Seconds())
	}
}

// FrameReceived counts a frame of a client.
func (s *Sockets) FrameReceived(kind string, bytes int) {
	s.received.count(kind)
	s.bytesReceived.Add(float64(bytes))
}

// FrameSent counts a frame for a client.
func (s *Sockets) FrameSent(kind string, bytes int) {
	s.sent.count(kind)
	s.bytesSent.Add(float64(bytes))
}

// Answered counts how long a frame took until its echo, or until its error frame.
func (s *Sockets) Answered(echoed bool, took time.Duration) {
	if echoed {
		s.echo.observe(took)
		return
	}
	s.failed.observe(took)
}

// Requests measures HTTP requests.
type Requests struct {
	answered *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// Requests returns the instruments of the HTTP requests. It is called once.
func (m *Metrics) Requests() *Requests {
	return &Requests{answered: m.counterVec(HTTPRequests), took: m.histogramVec(HTTPDuration)}
}

// Answered counts a request. route is a pattern of the router, "" for a request that has none; nothing else bounds how many there
// are.
func (r *Requests) Answered(method, route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	code := other
	if http.StatusText(status) != "" {
		code = strconv.Itoa(status)
	}
	r.answered.WithLabelValues(methods.known(method), route, code).Inc()
	r.took.WithLabelValues(route).Observe(took.Seconds())
}

// Log measures appends to the topics of the log.
type Log struct {
	records *prometheus.CounterVec
	took    *family
}

// Log returns the instruments of the log. It is called once.
func (m *Metrics) Log() *Log {
	return &Log{records: m.counterVec(AppendedRecords), took: m.family(AppendDuration)}
}

// Appends measures appends to one topic.
type Appends struct {
	appended, refused, unconfirmed prometheus.Counter
	took                           *durations
}

// To returns the instruments of a topic, by what it is for: see the label topic. It is called once for each.
func (l *Log) To(topic string) *Appends {
	topic = topics.known(topic)
	return &Appends{
		appended: l.records.WithLabelValues(topic, "appended"), refused: l.records.WithLabelValues(topic, "refused"),
		unconfirmed: l.records.WithLabelValues(topic, "unconfirmed"), took: l.took.with(topic),
	}
}

// Appended counts records that are in the log, the oldest of which waited for so long.
func (a *Appends) Appended(records int, waited time.Duration) {
	a.appended.Add(float64(records))
	a.took.observe(waited)
}

// Failed counts records that are not in the log, or, if unconfirmed, may be.
func (a *Appends) Failed(records int, unconfirmed bool) {
	if unconfirmed {
		a.unconfirmed.Add(float64(records))
		return
	}
	a.refused.Add(float64(records))
}

// Platform counts what the platform does.
type Platform struct{ acts counters }

// Platform returns the instrument of what the platform does. It is called once.
func (m *Metrics) Platform() *Platform { return &Platform{m.counters(PlatformActs)} }

// CarriedOut counts an act, an announcement or a reading of texts.
func (p *Platform) CarriedOut(what string) { p.acts.count(what) }

// Texts measures the text hook.
type Texts struct {
	answers counters
	took    prometheus.Observer
}

// Texts returns the instruments of the text hook. It is called once.
func (m *Metrics) Texts() *Texts {
	return &Texts{m.counters(TextHookAnswers), m.histogram(TextHookDuration)}
}

// Checked counts a message that the hook was asked about, and how long it waited.
func (t *Texts) Checked(outcome string, took time.Duration) {
	t.answers.count(outcome)
	t.took.Observe(took.Seconds())
}

// Deliveries measures how old records are when they are delivered.
type Deliveries struct{ age *durations }

// Deliveries returns the instrument of delivery. It is called once.
func (m *Metrics) Deliveries() *Deliveries { return &Deliveries{m.family(DeliveryDuration).with()} }

// Delivered counts records, the last of which is so old. Clocks that differ may make that negative, which counts as 0.
func (d *Deliveries) Delivered(age time.Duration) { d.age.observe(age) }

// Letters measures the ingest of system messages.
type Letters struct {
	outcomes, codes counters
}

// Letters returns the instruments of the ingest. It is called once.
func (m *Metrics) Letters() *Letters {
	return &Letters{outcomes: m.counters(IngestedMessages), codes: m.counters(DeadLetters)}
}

// Delivered counts a system message that was delivered.
func (l *Letters) Delivered() { l.outcomes.count("delivered") }

// Buried counts one that became a dead letter with a code.
func (l *Letters) Buried(code string) {
	l.outcomes.count("dead_letter")
	l.codes.count(code)
}

// Queries measures the calls of the database.
type Queries struct {
	outcomes counters
	took     prometheus.Observer
}

// Queries returns the instruments of the database. It is called once.
func (m *Metrics) Queries() *Queries {
	return &Queries{outcomes: m.counters(DatabaseCalls), took: m.histogram(DatabaseDuration)}
}

// Called counts a call by its outcome.
func (q *Queries) Called(outcome string, took time.Duration) {
	q.outcomes.count(outcome)
	q.took.Observe(took.Seconds())
}
