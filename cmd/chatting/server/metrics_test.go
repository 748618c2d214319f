package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"chatting/adapters/metrics"
	"chatting/test/harness"
	"chatting/test/tracetest"
)

// scraped are the values of a scrape, by name and labels as the text format has them.
type scraped map[string]float64

func (s *inProcess) scrape(t *testing.T) scraped {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.metrics, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: harness.FrameWait, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("the scrape is answered %s: %s", response.Status, body)
	}
	values := make(scraped)
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		blank := strings.LastIndex(line, " ") // labels may have others
		value, err := strconv.ParseFloat(line[blank+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		values[line[:blank]] = value
	}
	return values
}

// has tells whether a metric has a value, whatever its labels.
func (s scraped) has(name string) bool {
	for series := range s {
		if series == name || strings.HasPrefix(series, name+"{") || series == name+"_count" || strings.HasPrefix(series, name+"_count{") {
			return true
		}
	}
	return false
}

func TestANodeServesItsMetrics(t *testing.T) {
	s := serveInProcess(t, "CHATTING_METRICS_ADDR=127.0.0.1:0", "CHATTING_LIMIT_CONNECTIONS=1234",
		"CHATTING_TRACING_ENDPOINT="+tracetest.Start(t).URL, "CHATTING_TRACING_SAMPLE_RATIO=1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	client, err := harness.Connect(s.addr, s.token(t, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(7, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.At(ctx, 1); err != nil {
		t.Fatal(err)
	}
	missing := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(missing)
		}
	})
	harness.Until(ctx, t, "a scrape that has what happened", func() bool {
		values := s.scrape(t)
		for series, want := range map[string]float64{
			`chatting_node_ready`:                                                       1,
			`chatting_build_info{version="of a test"}`:                                  1,
			`chatting_connections{state="open"}`:                                        1,
			`chatting_connections{state="login"}`:                                       0,
			`chatting_connections_limit`:                                                1234,
			`chatting_logins_total{outcome="accepted"}`:                                 1,
			`chatting_login_duration_seconds_count`:                                     1,
			`chatting_frames_received_total{type="chat_message"}`:                       1,
			`chatting_frames_sent_total{type="chat_message"}`:                           1,
			`chatting_answer_duration_seconds_count{outcome="echo"}`:                    1,
			`chatting_appended_records_total{outcome="appended",topic="conversations"}`: 1,
			`chatting_append_stuck{topic="conversations"}`:                              0,
			`chatting_tail_lag_records{topic="conversations"}`:                          0,
			`chatting_history_still_seconds`:                                            0,
			`chatting_users`:                                                            1,
			`chatting_limit_refusals_total{limit="connections"}`:                        0,
			`chatting_connections_closed_total{code="1013",reason="slow_reader"}`:       0,
			`chatting_group_member{group="history"}`:                                    1,
			`chatting_trace_spans_total{outcome="dropped"}`:                             0,
		} {
			if got, known := values[series]; !known || got != want {
				missing = fmt.Sprintf("%s is %v (known: %t), want %v", series, got, known, want)
				return false
			}
		}
		return true
	})
	exchange(t, s.addr, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	harness.Until(ctx, t, "every metric of docs/metrics.md", func() bool {
		values := s.scrape(t)
		text, err := os.ReadFile("../../../docs/metrics.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile("(?m)^\\| `(chatting_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
			if !values.has(found[1]) {
				missing = found[1] + " has no value"
				return false
			}
		}
		return true
	})
	if answer := exchange(t, s.addr, "GET "+metrics.Path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); answer.StatusCode != http.StatusNotFound {
		t.Errorf("the port of the users answers %s", answer.Status)
	}
}

func TestAnAddressOfMetricsThatIsTakenIsNamed(t *testing.T) {
	s := serveInProcess(t, "CHATTING_METRICS_ADDR=127.0.0.1:0")
	taken := strings.TrimSuffix(strings.TrimPrefix(s.metrics, "http://"), metrics.Path)
	code, log := serveUntilItEnds(t, "CHATTING_DATA_DIR="+t.TempDir(), "CHATTING_METRICS_ADDR="+taken)
	if want := "metrics.addr (CHATTING_METRICS_ADDR): " + taken + " is in use by another process"; code != 1 || !strings.Contains(log, want) {
		t.Errorf("code %d: %s; want %s", code, log, want)
	}
}

// Without metrics, parts have nobody to report to: an interface that holds a nil pointer would be somebody.
func TestWithoutMetricsNothingIsMeasured(t *testing.T) {
	o := newObservers(identity{}, configured(t))
	if o.metrics != nil || o.sockets != nil || o.requests != nil || o.appends("conversations") != nil || o.deliveries != nil ||
		o.letters != nil || o.database != nil {
		t.Errorf("%+v", o)
	}
}
