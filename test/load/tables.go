package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// figures are what one measurement gave in each round.
type figures []float64

func (f figures) median() float64 {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// show returns the median and, if there is more than one figure, the lowest and the highest.
func (f figures) show(digits int) string {
	if len(f) == 0 {
		return "–"
	}
	text := thousands(f.median(), digits)
	if len(f) == 1 {
		return text
	}
	return fmt.Sprintf("%s (%s–%s)", text, thousands(slices.Min(f), digits), thousands(slices.Max(f), digits))
}

// ratios divides round by round, so that what slows a whole round down does not count.
func (f figures) ratios(base figures) figures {
	var all figures
	for i := range min(len(f), len(base)) {
		if base[i] > 0 {
			all = append(all, f[i]/base[i])
		}
	}
	return all
}

// thousands writes 24600 as 24,600.
func thousands(x float64, digits int) string {
	text := fmt.Sprintf("%.*f", digits, x)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// results keeps figures by who was measured and what.
type results map[string]map[string]figures

func (r results) add(who, what string, figure float64) {
	if r[who] == nil {
		r[who] = map[string]figures{}
	}
	r[who][what] = append(r[who][what], figure)
}

// table is a table in Markdown.
type table struct {
	title string
	head  []string
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	fmt.Fprintf(w, "\n**%s**\n\n| %s |\n|%s\n", t.title, strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// inRound returns subjects in the order in which round n measures them: every other round backwards, so that a machine that
// becomes slower or faster treats all alike.
func inRound(n int, subjects []*subject) []*subject {
	ordered := slices.Clone(subjects)
	if n%2 == 1 {
		slices.Reverse(ordered)
	}
	return ordered
}

// ratio shows how figures compare with those of a pipe; nothing if they are its own, or if it was not measured.
func ratio(r results, who, pipe, what string) string {
	base := r[pipe][what]
	if who == pipe || len(base) == 0 {
		return ""
	}
	return r[who][what].ratios(base).show(2)
}

// pick returns the subjects that a table is about.
func pick(subjects []*subject, wanted func(s *subject) bool) []*subject {
	return slices.DeleteFunc(slices.Clone(subjects), func(s *subject) bool { return !wanted(s) })
}
