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

func TestWhatGrowsIsToldFromWhatDoesNot(t *testing.T) {
	steady, kept := Rule{Floor: 10, Share: 0.05}, Rule{Kind: Kept, Floor: 10, Share: 0.05}
	for name, c := range map[string]struct {
		points []Point
		rule   Rule
		fault  string
	}{
		"always the same":                    {series(0, func(float64) float64 { return 100 }), steady, ""},
		"up and down":                        {series(40, func(float64) float64 { return 100 }), steady, ""},
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
		"hardly begun":                          {series(0, func(x float64) float64 { return x })[:MinPoints-1], steady, "7 samples are too few"},
	} {
		t.Run(name, func(t *testing.T) {
			if v := Judge(c.points, c.rule); v.Fault != c.fault {
				t.Errorf("the verdict is %q, not %q: %+v", v.Fault, c.fault, v)
			}
		})
	}
}

func TestTheHalvesAreMeasuredByTheLinesThatFitThem(t *testing.T) {
	v := Judge(series(0, func(x float64) float64 { return 100 + 2*math.Min(x, 30) }), Rule{Floor: 1})
	if math.Abs(v.First-58) > 0.01 || math.Abs(v.Second) > 0.01 || math.Abs(v.Level-160) > 0.01 {
		t.Errorf("the first half grew by 58 to 160, the second by nothing, and not %+v", v)
	}
}
