package logclient

import (
	"slices"
	"sync"
	"time"
)

// GroupState is how a consumer group looks to this process.
type GroupState struct {
	Group string
	// Joined tells whether this process is a member.
	Joined bool
	// KeptOutSince is since when consumers of other programs keep this process out of the group; zero while none do.
	KeptOutSince time.Time
	// Foreign counts, since the process started, how often consumers of other programs were found in the group.
	Foreign int64
}

// groupStates are those of all groups that this process runs, for Cluster.
type groupStates struct {
	mu     sync.Mutex
	states []GroupState
}

// Groups returns the state of each consumer group that this process runs.
func (g *groupStates) Groups() []GroupState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.states)
}

// ChangeGroup changes the state of a group, which is added if it is new. It is for package groups.
func (g *groupStates) ChangeGroup(group string, change func(*GroupState)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slices.IndexFunc(g.states, func(s GroupState) bool { return s.Group == group })
	if at < 0 {
		at = len(g.states)
		g.states = append(g.states, GroupState{Group: group})
	}
	change(&g.states[at])
}
