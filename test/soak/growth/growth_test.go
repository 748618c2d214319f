package growth

import (
	"math"
	"testing"
)

// series has a sample a minute for an hour. wobble is added and taken away in turns that do not repeat within a half.
func series(wobble float64, at func(minute float64) float64) (points []Point) {
	for minute := range 60 {
		x := float64(minute)
		points = append(points, Point{At: x, Value: at(x) + wobble*math.Sin(2.4*x)})
	}
	return points
}

// steadily is as much work in each minute.
func steadily() []Point { return series(0, func(x float64) float64 { return 50 * x }) }

func TestWhatGrowsIsToldFromWhatDoesNot(t *testing.T) {
	steady, kept := Rule{Floor: 10, Share: 0.05}, Rule{Kind: Kept, Floor: 10, Share: 0.05}
	for name, c := range map[string]struct {
		points []Point
		rule   Rule
		fault  string
	}{
		"always the same": {series(0, func(float64) float64 { return 100 }), steady, ""},
		"up and down":     {series(40, func(float64) float64 { return 100 }), steady, ""},
		"noise that happens to rise": {
			series(0, func(x float64) float64 { return 100 + 80*math.Sin(2.4*x) + 40*math.Sin(0.9*x+2) }), Rule{Floor: 1}, "",
		},
		"less and less":                      {series(0, func(x float64) float64 { return 1000 - 5*x }), steady, ""},
		"a leak":                             {series(0, func(x float64) float64 { return 100 + 2*x }), steady, "grows"},
		"a leak under noise":                 {series(15, func(x float64) float64 { return 100 + 2*x }), steady, "grows"},
		"a leak below what means something":  {series(0, func(x float64) float64 { return 100 + 0.2*x }), steady, ""},
		"a leak that is small for its level": {series(0, func(x float64) float64 { return 10_000 + 10*x }), steady, ""},
		"something that fills up": {
			series(3, func(x float64) float64 { return 1000 * (1 - math.Exp(-x/12)) }), steady, "",
		},
		"a leak that begins late": {
			series(0, func(x float64) float64 { return 100 + 4*math.Max(0, x-30) }), steady, "grows",
		},
		"a leak behind something that fills up": {
			series(1, func(x float64) float64 { return 200*(1-math.Exp(-x/5)) + 3*x }), steady, "grows",
		},
		"kept, as fast as users come":           {series(5, func(x float64) float64 { return 50 * x }), kept, ""},
		"kept, and grows faster and faster":     {series(5, func(x float64) float64 { return x * x }), kept, "grows faster and faster"},
		"kept, and begins to grow in the midst": {series(0, func(x float64) float64 { return 9 * math.Max(0, x-30) }), kept, "grows faster and faster"},
		"hardly begun":                          {series(0, func(x float64) float64 { return x })[:MinPoints-1], steady, "15 samples are too few"},
	} {
		t.Run(name, func(t *testing.T) {
			if v := Judge(c.points, steadily(), c.rule); v.Fault != c.fault {
				t.Errorf("the verdict is %q, not %q: %+v", v.Fault, c.fault, v)
			}
		})
	}
}

func TestTheHalvesAreMeasuredByTheLinesThatFitThem(t *testing.T) {
	v := Judge(series(0, func(x float64) float64 { return 100 + 2*math.Min(x, 30) }), steadily(), Rule{Floor: 1})
	if math.Abs(v.First-58) > 0.01 || math.Abs(v.Second) > 0.01 || math.Abs(v.Level-160) > 0.01 {
		t.Errorf("the first half grew by 58 to 160, the second by nothing, and not %+v", v)
	}
}

// more has ever more work from minute 25 to 45, and says how much there was in each.
func more() (work []Point, rate func(float64) float64) {
	rate = func(x float64) float64 { return 50 + 5*math.Min(math.Max(0, x-25), 20) }
	sum := 0.0
	for minute := range 60 {
		sum += rate(float64(minute))
		work = append(work, Point{At: float64(minute), Value: sum})
	}
	return work, rate
}

func TestMoreWorkIsNoLeak(t *testing.T) {
	work, rate := more()
	steady, kept := Rule{Floor: 10, Share: 0.05}, Rule{Kind: Kept, Floor: 10, Share: 0.05}
	lately := func(x float64) float64 { return sum(work, x) - sum(work, x-15) }
	for name, c := range map[string]struct {
		points []Point
		rule   Rule
		fault  string
	}{
		"what is under way":             {series(2, func(x float64) float64 { return 3 * rate(x) }), steady, ""},
		"what is kept for a while":      {series(2, func(x float64) float64 { return lately(x) / 10 }), steady, ""},
		"a leak beside it":              {series(2, func(x float64) float64 { return lately(x)/10 + 4*x }), steady, "grows"},
		"a leak of what is done":        {series(2, func(x float64) float64 { return sum(work, x) / 50 }), steady, "grows"},
		"kept, as much as is done":      {series(2, func(x float64) float64 { return sum(work, x) }), kept, ""},
		"kept, and much more than that": {series(2, func(x float64) float64 { return sum(work, x) * sum(work, x) / 1000 }), kept, "grows faster and faster"},
	} {
		t.Run(name, func(t *testing.T) {
			if v := Judge(c.points, work, c.rule); v.Fault != c.fault {
				t.Errorf("the verdict is %q, not %q: %+v", v.Fault, c.fault, v)
			}
		})
	}
}
