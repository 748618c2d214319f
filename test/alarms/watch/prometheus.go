// Package watch runs a real Prometheus, with the rules of docs/prometheus, and asks it what it has seen.
package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Job is the job that the rules and the dashboard expect.
const Job = "chatting"

// Every is how often Prometheus scrapes the nodes and evaluates the rules.
const Every = time.Second

// ErrMissing tells that this machine has no Prometheus: Debian's package is prometheus.
var ErrMissing = errors.New("prometheus is not installed")

// Options say what a Prometheus watches.
type Options struct {
	// Dir is where it keeps its files, and Addr where it listens.
	Dir, Addr string
	// Rules are the folder of the files of rules, which are made faster by Factor.
	Rules  string
	Factor int
	// Nodes are the addresses of the metrics of the nodes, by what they are to be called.
	Nodes map[string]string
}

// Prometheus is a process of it. The caller stops it.
type Prometheus struct {
	addr    string
	client  *http.Client
	process *exec.Cmd
	log     *os.File
	ended   chan struct{} // closed once the process has ended
}

// Start starts a Prometheus and waits until it has scraped every node: counters that it sees for the first time have not increased.
// It is ErrMissing where there is none.
func Start(ctx context.Context, options Options) (*Prometheus, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, ErrMissing
	}
	dir, err := filepath.Abs(options.Dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	if err := options.write(dir); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	p := &Prometheus{
		addr: options.Addr, client: &http.Client{Timeout: 30 * time.Second}, log: log, ended: make(chan struct{}),
		process: exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
			"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+options.Addr, "--log.level=warn"),
	}
	p.process.Dir, p.process.Stdout, p.process.Stderr = dir, log, log
	if err := p.process.Start(); err != nil {
		_ = log.Close()
		return nil, err
	}
	go func() {
		_ = p.process.Wait()
		close(p.ended)
	}()
	if err := p.awaitScrapes(ctx, len(options.Nodes)); err != nil {
		p.Stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	return p, nil
}

// write writes the configuration and the rules.
func (o *Options) write(dir string) error {
	config := fmt.Sprintf(`global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}
rule_files: [recording.yml, alerts.yml]
scrape_configs:
  - job_name: %s
    static_configs:
`, Every, Job)
	names := make([]string, 0, len(o.Nodes))
	for name := range o.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		config += fmt.Sprintf("      - {targets: [%q], labels: {instance: %q}}\n", o.Nodes[name], name)
	}
	files := map[string]string{"prometheus.yml": config}
	for _, name := range []string{"recording.yml", "alerts.yml"} {
		rules, err := os.ReadFile(filepath.Join(o.Rules, name))
		if err != nil {
			return err
		}
		if files[name], err = Faster(string(rules), o.Factor); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// awaitScrapes waits until so many nodes have been scraped.
func (p *Prometheus) awaitScrapes(ctx context.Context, nodes int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var up struct{ Result []struct{ Value Sample } }
		err := p.ask(ctx, "query", url.Values{"query": {fmt.Sprintf("sum(up{job=%q})", Job)}}, &up)
		if err == nil && len(up.Result) == 1 && int(up.Result[0].Value.Value) == nodes {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("prometheus ended")
		case <-ctx.Done():
			return fmt.Errorf("prometheus does not reach %d nodes: %w", nodes, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends the process.
func (p *Prometheus) Stop() {
	_ = p.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.process.Process.Kill()
		<-p.ended
	}
	_ = p.log.Close()
}

// Alert is an alert that fires, or is about to.
type Alert struct {
	Name, Summary string
	Labels        map[string]string
	Firing        bool // otherwise its rule still waits
}

func (a Alert) String() string {
	var labels []string
	for _, name := range []string{"instance", "topic", "pool", "code"} {
		if a.Labels[name] != "" {
			labels = append(labels, name+"="+a.Labels[name])
		}
	}
	return strings.TrimSpace(a.Name + " " + strings.Join(labels, " "))
}

// Is tells whether it is an alert of a name that fires, for an instance, if that is not "".
func (a Alert) Is(name, instance string) bool {
	return a.Firing && a.Name == name && (instance == "" || a.Labels["instance"] == instance)
}

// Alerts returns the alerts that fire or are about to.
func (p *Prometheus) Alerts(ctx context.Context) (alerts []Alert, err error) {
	var data struct {
		Alerts []struct {
			Labels, Annotations map[string]string
			State               string
		}
	}
	if err := p.ask(ctx, "alerts", nil, &data); err != nil {
		return nil, err
	}
	for _, a := range data.Alerts {
		alerts = append(alerts, Alert{
			Name: a.Labels["alertname"], Summary: a.Annotations["summary"], Labels: a.Labels, Firing: a.State == "firing",
		})
	}
	return alerts, nil
}

// Series is one series of a query, with a value for each time at which it has one.
type Series struct {
	Labels map[string]string `json:"metric"`
	Values []Sample          `json:"values"`
}

// Sample is a value at a time, in seconds since 1970.
type Sample struct{ Time, Value float64 }

// UnmarshalJSON reads what Prometheus writes: [time, "value"].
func (s *Sample) UnmarshalJSON(text []byte) error {
	var pair [2]json.RawMessage
	var value string
	err := json.Unmarshal(text, &pair)
	if err == nil {
		err = errors.Join(json.Unmarshal(pair[0], &s.Time), json.Unmarshal(pair[1], &value))
	}
	if err == nil {
		s.Value, err = strconv.ParseFloat(value, 64)
	}
	return err
}

// Range evaluates a query from one time to another, at steps.
func (p *Prometheus) Range(ctx context.Context, query string, from, to time.Time, step time.Duration) ([]Series, error) {
	var data struct{ Result []Series }
	err := p.ask(ctx, "query_range", url.Values{
		"query": {query}, "start": {from.UTC().Format(time.RFC3339Nano)}, "end": {to.UTC().Format(time.RFC3339Nano)}, "step": {step.String()},
	}, &data)
	return data.Result, err
}

// ask asks the API of Prometheus, and decodes the data of its answer.
func (p *Prometheus) ask(ctx context.Context, path string, parameters url.Values, data any) error {
	address := "http://" + p.addr + "/api/v1/" + path + "?" + parameters.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
