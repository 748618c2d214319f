package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"chatting/test/soak/growth"
)

// kept are the tables that docs/operations.md says grow with the users who come, for longer than a run lasts.
var kept = []string{
	"users", "friends", "friend_lists", "blocks", "block_changes", "delivered_cursors", "erasures", "moderated_users",
}

// ruleOf says how a quantity may behave.
func ruleOf(name string) growth.Rule {
	switch {
	case name == workDone:
		return growth.Rule{Kind: growth.Kept}
	case strings.HasPrefix(name, "rows of "):
		if slices.Contains(kept, strings.TrimPrefix(name, "rows of ")) {
			return growth.Rule{Kind: growth.Kept, Floor: 100, Share: 0.05}
		}
		return growth.Rule{Floor: 100}
	case strings.HasPrefix(name, "data dir chatting.db,"), name == "database, bytes":
		return growth.Rule{Kind: growth.Kept, Floor: 4 << 20, Share: 0.05}
	case strings.HasPrefix(name, "data dir chatting.db-wal,"): // it is copied into the file, and begun again, from 16 MB on
		return growth.Rule{Floor: 20 << 20}
	case strings.HasPrefix(name, "data dir "), strings.HasPrefix(name, "topic "):
		return growth.Rule{Floor: 4 << 20, Share: 0.1}
	case strings.HasSuffix(name, " heap after GC, bytes"):
		return growth.Rule{Floor: 1 << 20, Share: 0.05}
	case strings.HasSuffix(name, " RSS, bytes"):
		return growth.Rule{Floor: 16 << 20, Share: 0.1}
	case strings.HasSuffix(name, " goroutines"), strings.HasSuffix(name, " open files"):
		return growth.Rule{Floor: 15, Share: 0.1}
	case strings.HasSuffix(name, " threads"):
		return growth.Rule{Floor: 5, Share: 0.1}
	case strings.HasSuffix(name, " metric series"):
		return growth.Rule{Floor: 30}
	case strings.HasSuffix(name, "bytes"):
		return growth.Rule{Floor: 1 << 20, Share: 0.25}
	}
	return growth.Rule{Floor: 20, Share: 0.25}
}

// gone are quantities of the users who are here. They must be zero when nobody is, and say nothing before.
var gone = []string{
	"gauge users", `gauge connections{state="login"}`, `gauge connections{state="open"}`, "gauge watched_users", "gauge held_bytes",
}

// report prints a table of all that was measured, and returns how much of it grows or is left.
func (s *samples) report(name string, out io.Writer) (faults int) {
	measured := len(s.series["rows of users"])
	fmt.Fprintf(out, "\n%s: measured %d times, missed %d times\n", name, measured, s.missed)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "quantity\tbefore\tfirst half\tsecond half\tby itself\tlevel\tafter\tmay\t\t")
	for _, quantity := range slices.Sorted(maps.Keys(s.series)) {
		points, rule := s.series[quantity], ruleOf(quantity)
		if len(points) < measured/2 { // it came late, such as a label
			continue
		}
		v := growth.Judge(points, s.series[workDone], rule)
		if v == (growth.Verdict{}) { // it was never anything
			continue
		}
		may := "be steady"
		if rule.Kind == growth.Kept {
			may = "grow as users come"
		}
		if slices.ContainsFunc(gone, func(g string) bool { return strings.HasSuffix(quantity, g) }) {
			may, v.Fault = "be gone after", ""
			if s.after[quantity] > 0 {
				v.Fault = "is left"
			}
		}
		fmt.Fprintf(table, "%s\t%.0f\t%+.0f\t%+.0f\t%+.0f\t%.0f\t%.0f\t%s\t%s\t\n", quantity, s.before[quantity], v.First, v.Second, v.Own, v.Level,
			s.after[quantity], may, strings.ToUpper(v.Fault))
		if v.Fault != "" {
			faults++
		}
	}
	_ = table.Flush()
	return faults
}
