// Package shelf is changed by the tests of mutate.
package shelf

// Free is how many of so many places are free, and whether there is one.
func Free(places, taken int) (free int, any bool) {
	if taken < 0 || taken > places {
		return 0, false
	}
	free = places - taken
	return free, free > 0
}

// Untested is what no test calls.
func Untested(n int) int { return n * 2 }

// Count counts.
func Count(open bool, list []string) (n int) {
	if !open {
		return -1
	}
	for range list {
		n++
	}
	return n
}

// Opposite is on the other side of zero.
func Opposite(n int) int { return -n }

// Marked is which places have a mark.
func Marked(place int) bool { return place == 0 || place == 1 || place == 3 }
