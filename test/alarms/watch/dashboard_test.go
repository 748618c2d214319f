package watch

import (
	"math"
	"slices"
	"testing"
)

func TestAPanelThatShowsNothingHasToSaySo(t *testing.T) {
	value := Series{Values: []Sample{{Time: 1, Value: 2}}}
	nothing := func() Series {
		return Series{Values: []Sample{{Time: 1, Value: math.NaN()}, {Time: 2, Value: math.Inf(1)}}}
	}
	d := &Dashboard{Panels: []Panel{
		{Title: "full", Targets: []Target{{Expr: "a", Series: drawn([]Series{nothing(), value})}}},
		{Title: "blank", Targets: []Target{{Expr: "b", Series: drawn([]Series{value})}, {Expr: "c", Series: drawn([]Series{nothing()})}}},
		{Title: "quiet", Description: "Errors. Empty while there are none.", Targets: []Target{{Expr: "d"}}},
	}}
	if got, want := d.Blank(), []string{"blank: c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if kept := d.Panels[0].Targets[0].Series; len(kept) != 1 {
		t.Errorf("%v is drawn", kept)
	}
}
