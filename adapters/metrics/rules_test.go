package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"go.yaml.in/yaml/v3"
)

const docs = "../../docs/"

// ruleFile is a file of rules for Prometheus.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func rulesOf(t *testing.T, name string) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(docs + "prometheus/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file ruleFile
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatalf("%s has no rules", name)
	}
	return rules
}

// queries are the expressions of the rules and the dashboard, each under where it stands.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, file := range []string{"recording.yml", "alerts.yml"} {
		for _, r := range rulesOf(t, file) {
			all[r.Record+r.Alert] = r.Expr
		}
	}
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			all["panel "+p.Title+" "+target.RefID] = target.Expr
		}
	}
	return all
}

var (
	// named finds names of metrics of this program, of the library, and of recorded rules, with what is selected of them.
	named = regexp.MustCompile(`\b(chatting[_:][a-z0-9_:]+|go_[a-z_]+|process_[a-z_]+|up|ALERTS)\b(\{[^}]*\})?`)
	// matcher finds the labels that are selected.
	matcher = regexp.MustCompile(`([a-z_]+)(=~|!=|!~|=)"([^"]*)"`)
)

// targetLabels are those that Prometheus adds.
var targetLabels = []string{"job", "instance"}

// served returns the definition of a metric by the name of one of its series; false if there is none.
func served(series string) (*definition, bool) {
	for i := range definitions {
		d := &definitions[i]
		name := string(d.name)
		switch {
		case d.kind != histogram && series == name,
			d.kind == histogram && slices.Contains([]string{name + "_bucket", name + "_sum", name + "_count"}, series):
			return d, true
		}
	}
	return nil, false
}

func TestRulesAndTheDashboardNameOnlyWhatThereIs(t *testing.T) {
	recorded := make(map[string]bool)
	for _, r := range rulesOf(t, "recording.yml") {
		recorded[r.Record] = true
	}
	library := gather(t, New("v1"))
	used := make(map[Name]bool)
	for where, query := range queries(t) {
		found := named.FindAllStringSubmatch(query, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing: %s", where, query)
		}
		for _, f := range found {
			series, selected := f[1], f[2]
			if d, ok := served(series); ok {
				used[d.name] = true
				checkSelected(t, where, d, selected)
				continue
			}
			if series != "up" && series != "ALERTS" && !recorded[series] && library[series] == nil {
				t.Errorf("%s asks for %s, which there is not", where, series)
			}
		}
	}
	for _, d := range definitions {
		if !used[d.name] {
			t.Errorf("nobody looks at %s: neither a rule nor the dashboard", d.name)
		}
	}
}

// checkSelected looks whether a metric has the labels, with the values, that a query selects.
func checkSelected(t *testing.T, where string, d *definition, selected string) {
	t.Helper()
	for _, m := range matcher.FindAllStringSubmatch(selected, -1) {
		name, value := m[1], m[3]
		if slices.Contains(targetLabels, name) {
			continue
		}
		at := slices.IndexFunc(d.labels, func(l label) bool { return l.name == name })
		if at < 0 {
			t.Errorf("%s: %s has no label %s", where, d.name, name)
			continue
		}
		for _, one := range strings.Split(value, "|") {
			if l := d.labels[at]; len(l.values) > 0 && !slices.Contains(l.values, one) {
				t.Errorf("%s: the label %s of %s is never %s", where, name, d.name, one)
			}
		}
	}
}

func TestEachAlertSaysWhatItIsAndWhatToDo(t *testing.T) {
	text, err := os.ReadFile(docs + "operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]int)
	for _, found := range regexp.MustCompile("(?m)^\\| `(Chatting[A-Za-z]+)` \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		documented[found[1]]++
	}
	for _, r := range rulesOf(t, "alerts.yml") {
		if documented[r.Alert] != 1 {
			t.Errorf("docs/operations.md has %d rows for %s, want 1", documented[r.Alert], r.Alert)
		}
		delete(documented, r.Alert)
		if !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
			t.Errorf("%s has the severity %q and the summary %q", r.Alert, r.Labels["severity"], r.Annotations["summary"])
		}
	}
	for name := range documented {
		t.Errorf("docs/operations.md has a row for %s, which is no alert", name)
	}
}

// panels is what is looked at of the dashboard of Grafana.
type panels struct {
	Title, UID string
	Panels     []struct {
		ID          int
		Type, Title string
		GridPos     struct{ H, W, X, Y int }
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []struct{ RefID, Expr, LegendFormat string }
	}
}

func dashboard(t *testing.T) (found panels) {
	t.Helper()
	text, err := os.ReadFile(docs + "grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheDashboardIsWhole(t *testing.T) {
	ids, places := make(map[int]bool), make(map[string]string)
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("%s has the id of another panel", p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is wider than the dashboard", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			place := fmt.Sprint(x, " ", p.GridPos.Y)
			if places[place] != "" {
				t.Errorf("%s is on top of %s", p.Title, places[place])
			}
			places[place] = p.Title
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %q has the unit %q and %d queries", p.Title, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
		for _, target := range p.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.LegendFormat == "" {
				t.Errorf("%s: %s has the legend %q", p.Title, target.Expr, target.LegendFormat)
			}
		}
	}
}

// What Grafana does not know it leaves out without a word, so nothing may be there that it does not know.
func TestGrafanaKnowsAllOfTheDashboard(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile(docs + "grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d grafana.Dashboard //nolint:staticcheck // the file is of this version of the schema
	// Without a mistake it returns a list of none.
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

// promtool of Debian's package prometheus knows the language of queries. testdata/alerts_test.yml has one case for each alert.
func TestPromtoolAcceptsTheRulesAndSeesAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for _, arguments := range [][]string{
		{"check", "rules", docs + "prometheus/recording.yml", docs + "prometheus/alerts.yml"},
		{"test", "rules", "testdata/alerts_test.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, arguments...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", arguments[0], err, out)
		}
	}
}

// A rule that fires on nothing warns of nothing.
func TestEachAlertFiresInATest(t *testing.T) {
	text, err := os.ReadFile("testdata/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rulesOf(t, "alerts.yml") {
		if !strings.Contains(string(text), "alertname: "+r.Alert+"\n") {
			t.Errorf("testdata/alerts_test.yml does not see %s fire", r.Alert)
		}
	}
}

// promtool knows how Prometheus wants metrics to be called.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	_, _, served := get(t, serve(t, full(t), ServerOptions{})+Path, "text/plain;version=0.0.4")
	var own strings.Builder
	for line := range strings.Lines(served) { // those of the library are not ours to name
		if strings.Contains(line, "chatting_") {
			own.WriteString(line)
		}
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(own.String())
	out, err := check.CombinedOutput()
	if err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
