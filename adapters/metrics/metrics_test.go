package metrics

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// full returns metrics with a value for every metric of the table, and for every label that has fixed values.
func full(t *testing.T) *Metrics {
	t.Helper()
	m := New("v1")
	s := m.Sockets()
	s.LoginEnded("accepted", time.Second)
	s.FrameReceived("chat_message", 10)
	s.FrameSent("chat_message", 10)
	s.Answered(true, time.Millisecond)
	s.Answered(false, time.Millisecond)
	m.Requests().Answered("GET", "/healthz", 200, time.Millisecond)
	log := m.Log()
	for _, topic := range topics.values {
		appends := log.To(topic)
		appends.Appended(1, time.Millisecond)
		appends.Failed(1, true)
		appends.Failed(1, false)
	}
	m.Deliveries().Delivered(time.Millisecond)
	letters := m.Letters()
	letters.Delivered()
	letters.Buried("chatting.empty")
	m.Platform().CarriedOut("mute")
	m.Texts().Checked("passed", time.Millisecond)
	m.Queries().Called("done", time.Millisecond)
	for i := range definitions {
		if d := &definitions[i]; !d.pushed {
			for _, values := range combinations(d.labels) {
				m.Read(d.name, Known(func() int { return 1 }), values...)
			}
		}
	}
	return m
}

// combinations returns all combinations of the values of labels.
func combinations(labels []label) [][]string {
	all := [][]string{nil}
	for _, l := range labels {
		var longer [][]string
		for _, before := range all {
			for _, value := range append(slices.Clone(l.values), "x")[:max(1, len(l.values))] {
				longer = append(longer, append(slices.Clone(before), value))
			}
		}
		all = longer
	}
	return all
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*dto.MetricFamily)
	for _, family := range families {
		found[family.GetName()] = family
	}
	return found
}

func TestEveryMetricOfTheTableIsServedAsTheTableSays(t *testing.T) {
	found := gather(t, full(t))
	for _, d := range definitions {
		family := found[string(d.name)]
		if family == nil {
			t.Errorf("%s is not served", d.name)
			continue
		}
		if got := strings.ToLower(family.GetType().String()); got != string(d.kind) {
			t.Errorf("%s is a %s, want a %s", d.name, got, d.kind)
		}
		if family.GetHelp() != d.help {
			t.Errorf("%s: the help is %q, want %q", d.name, family.GetHelp(), d.help)
		}
		if !strings.HasSuffix(d.help, ".") {
			t.Errorf("%s: its help is no sentence", d.name)
		}
		for _, metric := range family.GetMetric() {
			names := d.labelNames()
			slices.Sort(names)
			var got []string
			for _, pair := range metric.GetLabel() {
				got = append(got, pair.GetName())
			}
			if !slices.Equal(got, names) {
				t.Errorf("%s has the labels %q, want %q", d.name, got, names)
			}
		}
		delete(found, string(d.name))
	}
	for name := range found {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is served and not in the table", name)
		}
	}
}

func TestNamesFollowOneScheme(t *testing.T) {
	name := regexp.MustCompile(`^chatting_[a-z]+(_[a-z]+)*$`)
	for _, d := range definitions {
		n := string(d.name)
		switch {
		case !name.MatchString(n):
			t.Errorf("%s is no name of this program", n)
		case strings.HasSuffix(n, "_total") != (d.kind == counter):
			t.Errorf("%s is a %s", n, d.kind)
		case d.kind == histogram && !strings.HasSuffix(n, "_seconds"):
			t.Errorf("%s has no unit", n)
		case d.kind == histogram != (len(d.buckets) > 0):
			t.Errorf("%s: buckets are for histograms", n)
		}
		for _, l := range d.labels {
			if slices.Contains(l.values, other) {
				t.Errorf("%s: other is a value of every label", n)
			}
		}
	}
}

// What comes from outside never makes a new series.
func TestAValueThatIsNotInTheTableIsOther(t *testing.T) {
	m := New("v1")
	s, requests, letters := m.Sockets(), m.Requests(), m.Letters()
	count := func() (series int) {
		for _, family := range gather(t, m) {
			if strings.HasPrefix(family.GetName(), "chatting_") {
				series += len(family.GetMetric())
			}
		}
		return series
	}
	requests.Answered("BREW", "/healthz", 799, 0)
	s.Answered(true, 0)
	before := count()
	for i := range 100 {
		value := fmt.Sprint("made-up-", i)
		s.FrameReceived(value, 1)
		s.FrameSent(value, 1)
		s.LoginEnded(value, 0)
		requests.Answered(value, "/healthz", 800+i, 0)
		letters.Buried(value)
	}
	if after := count(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	for _, want := range []string{`value:"other"`} {
		if text := gather(t, m)[string(FramesReceived)].String(); !strings.Contains(text, want) {
			t.Errorf("%s has no %s", text, want)
		}
	}
}

func TestHistogramsAreNativeWithClassicBuckets(t *testing.T) {
	found := gather(t, full(t))
	for _, d := range definitions {
		if d.kind != histogram {
			continue
		}
		h := found[string(d.name)].GetMetric()[0].GetHistogram()
		if h.Schema == nil || len(h.GetBucket()) == 0 {
			t.Errorf("%s: native %t, %d classic buckets", d.name, h.Schema != nil, len(h.GetBucket()))
		}
	}
}

func TestWhatIsNotKnownIsNotServed(t *testing.T) {
	m := New("v1")
	m.Read(HistoryLagRecords, func() (float64, bool) { return 7, false })
	m.Read(OutboxPending, func() (float64, bool) { return 7, true })
	found := gather(t, m)
	if found[string(HistoryLagRecords)] != nil {
		t.Error("a value that is not known is served")
	}
	if got := found[string(OutboxPending)].GetMetric()[0].GetGauge().GetValue(); got != 7 {
		t.Errorf("%v is served, want 7", got)
	}
}

func TestMistakesInTheProgramPanic(t *testing.T) {
	zero := Known(func() int { return 0 })
	for name, mistake := range map[string]func(*Metrics){
		"no such metric":   func(m *Metrics) { m.Read("chatting_nothing", zero) },
		"too few labels":   func(m *Metrics) { m.Read(Connections, zero) },
		"too many labels":  func(m *Metrics) { m.Read(Ready, zero, "x") },
		"a histogram":      func(m *Metrics) { m.Read(LoginDuration, zero) },
		"the same metric":  func(m *Metrics) { m.Read(Ready, zero); m.Read(Ready, zero) },
		"two others alike": func(m *Metrics) { m.Read(Connections, zero, "x"); m.Read(Connections, zero, "y") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			mistake(New("v1"))
		}()
	}
}

// row is a row of the tables of docs/metrics.md: name, type, labels, meaning.
var row = regexp.MustCompile("(?m)^\\| `(chatting_[a-z_]+)` \\| ([a-z]+) \\| (.*) \\| (.*) \\|$")

// documentedLabels writes labels as the document has them.
func documentedLabels(labels []label) string {
	var texts []string
	for _, l := range labels {
		texts = append(texts, "`"+l.name+"`")
	}
	return strings.Join(texts, ", ")
}

func TestTheDocumentHasEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string][]string)
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		if documented[found[1]] != nil {
			t.Errorf("%s has two rows", found[1])
		}
		documented[found[1]] = found[2:]
	}
	for _, d := range definitions {
		want := []string{string(d.kind), documentedLabels(d.labels), d.help}
		if got := documented[string(d.name)]; !slices.Equal(got, want) {
			t.Errorf("docs/metrics.md says %q, want\n| `%s` | %s |", got, d.name, strings.Join(want, " | "))
		}
		delete(documented, string(d.name))
		for _, l := range d.labels {
			for _, value := range l.values {
				if !strings.Contains(string(text), "`"+value+"`") {
					t.Errorf("docs/metrics.md does not name %s, a value of the label %s of %s", value, l.name, d.name)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		t.Errorf("docs/metrics.md has %s, which is no metric", name)
	}
}
