package watch

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// durations finds what a rule waits for, and the ranges that it looks at.
var durations = regexp.MustCompile(`(\bfor: |\[)([0-9]+)([smh])(\]|\n)`)

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// Faster returns a file of rules in which everything that Prometheus waits for or looks back at is shorter by a factor. What rules
// compare with stays: it is about the server. A duration that would be no whole number of seconds is an error.
func Faster(rules string, factor int) (string, error) {
	var failed error
	faster := durations.ReplaceAllStringFunc(rules, func(found string) string {
		parts := durations.FindStringSubmatch(found)
		count, _ := strconv.Atoi(parts[2]) // they are digits
		long := time.Duration(count) * units[parts[3]]
		short := long / time.Duration(factor)
		if short < time.Second || short%time.Second != 0 {
			failed = fmt.Errorf("%s is no whole number of seconds by a factor of %d", strings.TrimSpace(found), factor)
			return found
		}
		return fmt.Sprint(parts[1], int(short.Seconds()), "s", parts[4])
	})
	return faster, failed
}

// alert finds the names of the alerts of a file of rules.
var alert = regexp.MustCompile(`(?m)^ *- alert: ([A-Za-z]+)$`)

// Names returns the names of the alerts of a file of rules, in their order.
func Names(rules string) (names []string) {
	for _, found := range alert.FindAllStringSubmatch(rules, -1) {
		names = append(names, found[1])
	}
	return names
}
