// Package growth tells from samples over time whether something grows that should not. It does no I/O.
package growth

import (
	"fmt"
	"math"
	"slices"
)

// Kind says how a quantity may behave.
type Kind int

// The kinds.
const (
	// Steady is what depends on how many users are here, not on how many have been.
	Steady Kind = iota
	// Kept is what the documents say is kept for longer than a run: it may grow as fast as users come, and no faster.
	Kept
)

// Point is a sample: when, in minutes since the start, and how much.
type Point struct{ At, Value float64 }

// Rule says how a quantity may behave, and how much of a change means nothing.
type Rule struct {
	Kind Kind
	// Floor is a growth over the second half that means nothing, in the unit of the quantity.
	Floor float64
	// Share is such a growth as a part of the level: 0.05 for a twentieth.
	Share float64
}

// Verdict is what is known of a quantity.
type Verdict struct {
	// First and Second are by how much the two halves grew, by the line that fits each best.
	First, Second float64
	// Own is the part of Second that is not because there was more or less to do.
	Own float64
	// Level is the mean of the second half.
	Level float64
	// Fault says what is wrong; "" if nothing is.
	Fault string
}

const (
	// certainty is how many standard errors a slope has to be above zero.
	certainty = 4
	// settling is the part of the first half's growth below which something that grows less and less is filling up, not leaking.
	settling = 0.25
	// faster is how many times as much what is kept may grow for the same work in the second half as in the first.
	faster = 2
	// MinPoints is how many points a judgement needs.
	MinPoints = 16
)

// recently are the times, in minutes, within which what was done decides how much is held now: what is under way, and what is kept
// for a while.
var recently = []float64{1.5, 20}

// Judge compares the halves of a series. work is how much was done in sum. The points of both are in the order of time.
func Judge(points, work []Point, rule Rule) Verdict {
	if len(points) < MinPoints {
		return Verdict{Fault: fmt.Sprintf("%d samples are too few", len(points))}
	}
	begin, end := points[:len(points)/2], points[len(points)/2:]
	first, second := fit(begin, nil), fit(end, nil)
	own := fit(end, busy(end, work))
	v := Verdict{First: first.growth, Second: second.growth, Own: own.growth, Level: second.mean}
	margin := math.Max(rule.Floor, rule.Share*math.Abs(second.mean))
	if rule.Kind == Kept {
		pace := 1.0
		if before := done(work, begin); before > 0 {
			pace = done(work, end) / before
		}
		if second.growth > margin && second.slope > certainty*second.failure && second.growth > faster*pace*first.growth+margin {
			v.Fault = "grows faster and faster"
		}
		return v
	}
	if own.growth > margin && own.slope > certainty*own.failure && own.growth > settling*first.growth {
		v.Fault = "grows"
	}
	return v
}

// done is how much was done from the first of the points to the last.
func done(work, points []Point) float64 {
	return sum(work, points[len(points)-1].At) - sum(work, points[0].At)
}

// sum is how much was done up to a time, which began at 0.
func sum(work []Point, at float64) float64 {
	before := Point{}
	for _, p := range work {
		if at <= before.At {
			break
		}
		if p.At >= at {
			return before.Value + (p.Value-before.Value)*(at-before.At)/(p.At-before.At)
		}
		before = p
	}
	return before.Value
}

// busy is, for each of the times of recently, how much was done within it before each point.
func busy(points, work []Point) (series [][]float64) {
	for _, within := range recently {
		var lately []float64
		for _, p := range points {
			lately = append(lately, sum(work, p.At)-sum(work, p.At-within))
		}
		series = append(series, lately)
	}
	return series
}

// line is the one that fits points best.
type line struct {
	slope   float64 // a minute
	failure float64 // the standard error of the slope
	growth  float64 // from the first point to the last
	mean    float64
}

// fit finds it by least squares, beside what the other series explain. There are more points than series, at different times.
func fit(points []Point, others [][]float64) line {
	var at, values []float64
	for _, p := range points {
		at, values = append(at, p.At), append(values, p.Value)
	}
	l := line{mean: mean(values)}
	ones := make([]float64, len(points))
	for i := range ones {
		ones[i] = 1
	}
	left := len(points) - 1 // degrees of freedom
	explained := [][]float64{ones}
	for _, other := range others {
		for _, by := range explained {
			other = without(other, by)
		}
		explained = append(explained, other)
		left--
	}
	spread := product(without(at, ones), without(at, ones))
	for _, by := range explained {
		at, values = without(at, by), without(values, by)
	}
	if product(at, at) < 1e-6*spread {
		return l // the others explain time itself: nothing is known
	}
	l.slope = product(at, values) / product(at, at)
	off := without(values, at)
	l.failure = math.Sqrt(product(off, off) / float64(left-1) / product(at, at))
	l.growth = l.slope * (points[len(points)-1].At - points[0].At)
	return l
}

// without returns what a series does not explain of values.
func without(values, by []float64) []float64 {
	rest := slices.Clone(values)
	if size := product(by, by); size > 1e-9 {
		part := product(values, by) / size
		for i := range rest {
			rest[i] -= part * by[i]
		}
	}
	return rest
}

func product(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func mean(values []float64) (mean float64) {
	for _, v := range values {
		mean += v / float64(len(values))
	}
	return mean
}
