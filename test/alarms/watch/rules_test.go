package watch

import (
	"slices"
	"testing"
)

func TestFasterRulesWaitLessAndCompareWithTheSame(t *testing.T) {
	const rules = `groups:
  - name: chatting
    rules:
      - alert: OneThing
        expr: rate(chatting_x_total[5m]) > 60
        for: 1m
      - alert: Another
        expr: increase(chatting_y_total[15m]) > 0
`
	const want = `groups:
  - name: chatting
    rules:
      - alert: OneThing
        expr: rate(chatting_x_total[15s]) > 60
        for: 3s
      - alert: Another
        expr: increase(chatting_y_total[45s]) > 0
`
	if got, err := Faster(rules, 20); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Faster(rules, 61); err == nil {
		t.Error("a rule would wait for less than a second")
	}
	if names := Names(rules); !slices.Equal(names, []string{"OneThing", "Another"}) {
		t.Errorf("%q", names)
	}
}
