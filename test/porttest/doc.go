// Package porttest has what tests of several rooms need: ports that keep everything in memory and fail as a test says, a
// connection that remembers what it was given, and a node that can be cut off from its log. Production code does not import it.
package porttest
