package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"chatting/test/alarms/watch"
)

func TestEachAlertHasAFaultOrAReason(t *testing.T) {
	rules, err := os.ReadFile("../../docs/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	documented, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, fault := range new(run).troubles() {
		made = append(made, fault.alerts()...)
	}
	names := watch.Names(string(rules))
	if len(names) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, name := range names {
		if slices.Contains(made, name) == (cannot[name] != "") {
			t.Errorf("%s has neither a fault nor a reason why it has none, or both", name)
		}
		if rows := regexp.MustCompile("(?m)^\\| `"+name+"` \\| .+ \\|$").FindAll(documented, -1); len(rows) != 1 {
			t.Errorf("docs/metrics.md has %d rows for %s", len(rows), name)
		}
	}
	for _, name := range made {
		if !slices.Contains(names, name) {
			t.Errorf("%s is no alert", name)
		}
	}
}
