// Package growth tells from samples over time whether something grows that should not. It does no I/O.
package growth

import (
	"fmt"
	"math"
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
	// Level is the mean of the second half.
	Level float64
	// Fault says what is wrong; "" if nothing is.
	Fault string
}

// certainty is how many standard errors a slope has to be above zero.
const certainty = 4

// settling is the part of the first half's growth below which something that grows less and less is filling up, not leaking.
const settling = 0.25

// faster is by how much what is kept may grow more in the second half than in the first.
const faster = 2

// MinPoints is how many points a judgement needs.
const MinPoints = 8

// Judge compares the halves of a series whose points are in the order of time.
func Judge(points []Point, rule Rule) Verdict {
	if len(points) < MinPoints {
		return Verdict{Fault: fmt.Sprintf("%d samples are too few", len(points))}
	}
	first, second := fit(points[:len(points)/2]), fit(points[len(points)/2:])
	v := Verdict{First: first.growth, Second: second.growth, Level: second.mean}
	margin := math.Max(rule.Floor, rule.Share*second.mean)
	switch {
	case second.growth <= margin || second.slope < certainty*second.failure:
	case rule.Kind == Kept:
		if second.growth > faster*first.growth+margin {
			v.Fault = "grows faster and faster"
		}
	case second.growth > settling*first.growth:
		v.Fault = "grows"
	}
	return v
}

// line is the one that fits points best.
type line struct {
	slope   float64 // a minute
	failure float64 // the standard error of the slope
	growth  float64 // from the first point to the last
	mean    float64
}

// fit finds it by least squares. There are at least three points, at different times.
func fit(points []Point) line {
	n := float64(len(points))
	var at, mean float64
	for _, p := range points {
		at += p.At / n
		mean += p.Value / n
	}
	var spread, together float64
	for _, p := range points {
		spread += (p.At - at) * (p.At - at)
		together += (p.At - at) * (p.Value - mean)
	}
	l := line{mean: mean, slope: together / spread}
	var left float64
	for _, p := range points {
		off := p.Value - mean - l.slope*(p.At-at)
		left += off * off
	}
	l.failure = math.Sqrt(left / (n - 2) / spread)
	l.growth = l.slope * (points[len(points)-1].At - points[0].At)
	return l
}
