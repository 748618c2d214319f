package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// Dashboard is a dashboard of Grafana, as far as it is looked at here.
type Dashboard struct {
	Title  string
	Panels []Panel
	// From and To are the time that it shows, in seconds since 1970, and Step is how far apart its values are.
	From, To, Step float64
}

// Panel is a panel of a dashboard, or a row above some.
type Panel struct {
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct {
		Defaults struct {
			Unit     string
			Min, Max *float64
		}
	}
	Targets []Target
}

// Target is one query of a panel.
type Target struct {
	Expr, LegendFormat string
	// Series are what the query returned.
	Series []Series
}

// ReadDashboard reads a dashboard.
func ReadDashboard(path string) (*Dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := new(Dashboard)
	return d, json.Unmarshal(text, d)
}

// Ask runs every query of the dashboard over a time, as Grafana does for all nodes, and keeps what they return.
func (d *Dashboard) Ask(ctx context.Context, p *Prometheus, from, to time.Time) error {
	// As much as Grafana takes for $__rate_interval at least: four scrapes. What is rare is seen with a longer one.
	const interval = 4 * Every
	variables := strings.NewReplacer("$job", Job, "$instance", ".*", "$__rate_interval", interval.String())
	step := max(Every, to.Sub(from)/600).Truncate(Every)
	from = from.Truncate(time.Second)
	d.From, d.To, d.Step = float64(from.Unix()), float64(to.Unix()), step.Seconds()
	for i := range d.Panels {
		for j := range d.Panels[i].Targets {
			target := &d.Panels[i].Targets[j]
			series, err := p.Range(ctx, variables.Replace(target.Expr), from, to, step)
			if err != nil {
				return fmt.Errorf("%s: %w", d.Panels[i].Title, err)
			}
			target.Series = drawn(series)
		}
	}
	return nil
}

// drawn returns what Grafana draws of a query, and takes over its series: a quantile of nothing is no number.
func drawn(series []Series) (kept []Series) {
	for _, s := range series {
		s.Values = slices.DeleteFunc(s.Values, func(v Sample) bool { return math.IsNaN(v.Value) || math.IsInf(v.Value, 0) })
		if len(s.Values) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// mayBeEmpty is what the description of a panel says of queries that return nothing while all is well.
const mayBeEmpty = "Empty while"

// Blank returns the queries that returned nothing although their panel does not say that they may.
func (d *Dashboard) Blank() (blank []string) {
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			if len(target.Series) == 0 && !strings.Contains(panel.Description, mayBeEmpty) {
				blank = append(blank, fmt.Sprintf("%s: %s", panel.Title, target.Expr))
			}
		}
	}
	return blank
}
