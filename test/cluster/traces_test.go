package cluster

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
	"chatting/test/tracetest"
)

// documentedSpans returns the attributes that docs/traces.md names for each span.
func documentedSpans(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/traces.md")
	if err != nil {
		t.Fatal(err)
	}
	spans := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_ ]+)` \\| [a-z]+ \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		spans[row[1]] = nil
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			spans[row[1]] = append(spans[row[1]], name[1])
		}
	}
	return spans
}

// tree shows the spans of a trace: the name of each behind those that it is part of, with its node.
func tree(spans []tracetest.Span, trace string) (paths []string) {
	byID := make(map[string]tracetest.Span)
	for _, s := range spans {
		if s.Trace == trace {
			byID[s.ID] = s
		}
	}
	for _, s := range byID {
		path := s.Name + "@" + s.ResourceAttributes["test.node"]
		for above, ok := byID[s.Parent]; ok; above, ok = byID[above.Parent] {
			path = above.Name + " / " + path
		}
		if strings.HasSuffix(path, "project@a") || strings.HasSuffix(path, "project@b") {
			path = path[:len(path)-2] // either node
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func TestWhatBecomesOfAMessageIsOneTraceOverAllNodes(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	collector := tracetest.Start(t)
	asked := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Traceparent")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"action":"pass"}`)
	}))
	defer hook.Close()
	settings := []string{
		"CHATTING_TRACING_ENDPOINT=" + collector.URL, "CHATTING_TRACING_SAMPLE_RATIO=1", "CHATTING_HOOK_URL=" + hook.URL, "CHATTING_HISTORY_DELAY=100ms",
	}
	a := c.start(append(settings, "OTEL_RESOURCE_ATTRIBUTES=test.node=a")...)
	b := c.start(append(settings, "OTEL_RESOURCE_ATTRIBUTES=test.node=b")...)
	one, two := connect(t, a, 1), connect(t, b, 2)
	awaitTrace := func(what, trace string, want ...string) {
		t.Helper()
		slices.Sort(want)
		collector.Await(ctx, t, fmt.Sprintf("%s, of which %q is to come", what, want), func(spans []tracetest.Span) bool {
			return slices.Equal(tree(spans, trace), want)
		})
	}
	rootOf := func(name string) (trace string) {
		t.Helper()
		collector.Await(ctx, t, name, func(spans []tracetest.Span) bool {
			i := slices.IndexFunc(spans, func(s tracetest.Span) bool { return s.Name == name })
			if i >= 0 {
				trace = spans[i].Trace
			}
			return i >= 0
		})
		return trace
	}

	if err := one.Send(2, "a text of nobody else's"); err != nil {
		t.Fatal(err)
	}
	harness.Until(ctx, t, "user 2 has the message", func() bool { return len(two.Frames()) > 1 })
	const m = "frame chat_message"
	trace := rootOf(m)
	awaitTrace("a message", trace, m+"@a", m+" / check_text@a", m+" / send_message@a", m+" / send_message / append@a",
		m+" / send_message / append / deliver@a", m+" / send_message / append / deliver@b", m+" / send_message / append / project")
	if header := <-asked; !strings.HasPrefix(header, "00-"+trace+"-") {
		t.Errorf("the hook is asked in %q, not in the trace %s", header, trace)
	}

	if err := one.SendFrame(map[string]any{"target_id": 2, "type": "invite_game", "status": "invite"}); err != nil {
		t.Fatal(err)
	}
	const i = "frame invite_game"
	awaitTrace("an invite", rootOf(i), i+"@a", i+" / invite@a", i+" / invite / append@a",
		i+" / invite / append / deliver@a", i+" / invite / append / deliver@b", i+" / invite / append / project")

	// What the senders of system messages say counts.
	const byHTTP, byKafka, unrecorded = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"
	for parent, trace := range map[string]string{"01": byHTTP, "00": unrecorded} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.HTTP+"/s2sapi/system-message/", strings.NewReader(`{"target_id":2,"message":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+s2sToken)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-"+parent)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	const p, s = "POST /s2sapi/system-message/", "send_system_message"
	awaitTrace("a request", byHTTP, p+"@a", p+" / "+s+"@a", p+" / "+s+" / append@a", p+" / "+s+" / append / deliver@b", p+" / "+s+" / append / project")
	record := says(2, "y")
	record.Headers = []kafka.Header{{Key: "traceparent", Value: []byte("00-" + byKafka + "-b7ad6b7169203331-01")}}
	harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), record)
	collector.Await(ctx, t, "a record", func(spans []tracetest.Span) bool {
		got := strings.Join(tree(spans, byKafka), "; ")
		const path = "ingest / " + s + " / append"
		return strings.Contains(got, path+"@") && strings.Contains(got, path+" / deliver@b") && strings.Contains(got, path+" / project")
	})

	for _, node := range []*harness.Node{a, b} {
		if err := node.Stop(); err != nil {
			t.Errorf("a node left with %v", err)
		}
	}
	wantDocumented(t, collector.Spans())
	if got := tree(collector.Spans(), unrecorded); len(got) > 0 {
		t.Errorf("what its sender does not record is recorded: %q", got)
	}
}

// wantDocumented demands that the spans are those of docs/traces.md, all of them, and say nothing else.
func wantDocumented(t *testing.T, spans []tracetest.Span) {
	t.Helper()
	documented := documentedSpans(t)
	seen := make(map[string]bool)
	for _, span := range spans {
		name := span.Name
		if strings.Contains(name, "/") {
			name = "request"
		}
		attributes, known := documented[name]
		if !known {
			t.Errorf("%s is not documented", span.Name)
		}
		seen[name] = true
		for key, value := range span.Attributes {
			if !slices.Contains(attributes, key) {
				t.Errorf("%s has %s, which is not documented", span.Name, key)
			}
			if strings.Contains(value, "nobody else's") {
				t.Errorf("%s has the text in %s", span.Name, key)
			}
		}
		for _, key := range attributes {
			if key != "error.type" && span.Attributes[key] == "" {
				t.Errorf("%s lacks %s", span.Name, key)
			}
		}
		if span.Failed || span.Began == 0 || span.Ended < span.Began || span.Service != "chatting" {
			t.Errorf("a span is %+v", span)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if !seen[name] {
			t.Errorf("no span %s was seen", name)
		}
	}
}
