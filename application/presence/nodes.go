package presence

import (
	"log/slog"
	"time"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// nodes judges which nodes are alive, and knows under which incarnation this one goes on. It is guarded by the lock of its
// SetPresence.
type nodes struct {
	newID   port.IDs
	notices *notice.Log
	self    domain.Incarnation
	lease   *domain.Lease
	known   map[domain.Incarnation]*knownNode // that gave a beat and are not buried
	// beatSent is when the beat under way was sent, zero when there is none; beats counts them.
	beatSent time.Time
	beats    int64
	// burials counts those of other nodes since this one began to beat, and rebirths how often it became a new incarnation.
	burials, rebirths uint64
}

// knownNode is a node as the log knows it.
type knownNode struct {
	name    string
	beatAt  time.Time // when its latest beat was stamped; zero while there was none
	burying bool      // a burial was logged
}

// maxGrace bounds what a leaving node can ask for: anybody who may write the topic could have asked.
const maxGrace = 10 * time.Minute

func newNodes(newID port.IDs, lease time.Duration, notices *notice.Log) nodes {
	self := domain.Incarnation(newID())
	return nodes{
		newID: newID, notices: notices, self: self, lease: domain.NewLease(self, lease),
		known: make(map[domain.Incarnation]*knownNode),
	}
}

func (n *nodes) logTime() (least time.Time) {
	for _, node := range n.known {
		if !node.beatAt.IsZero() && (least.IsZero() || node.beatAt.Before(least)) {
			least = node.beatAt
		}
	}
	return least
}

// know returns what is known of a node, from now on.
func (n *nodes) know(incarnation domain.Incarnation) *knownNode {
	known := n.known[incarnation]
	if known == nil {
		known = &knownNode{}
		n.known[incarnation] = known
	}
	return known
}

// names returns the attributes that name another node, and whose line it is.
func (n *nodes) names(other domain.Incarnation, more ...slog.Attr) []slog.Attr {
	name := "unknown"
	if known := n.known[other]; known != nil && known.name != "" {
		name = known.name
	}
	return append([]slog.Attr{
		slog.String("node", name), slog.String("incarnation", other.String()), slog.String("by", n.self.String()),
	}, more...)
}

// beat returns the append of the next beat; none while one is under way.
func (n *nodes) beat(now time.Time, name string) actions {
	if now.Sub(n.beatSent) <= appendStale {
		return nil
	}
	n.beatSent = now
	n.beats++
	beat := domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: n.self, Count: n.beats, Node: name}
	return actions{func(p *SetPresence) {
		p.log.Append(beat, func(err error) {
			if domain.CodeOf(err) == domain.CodeUnavailable {
				p.decide(func() actions {
					if n.beats == beat.Count {
						n.beatSent = time.Time{}
					}
					return nil
				})
			}
		})
	}}
}

// beaten handles a beat, stamped at, of a node that is not buried. If it is the own beat under way, nodes that were silent for
// too long are buried.
func (n *nodes) beaten(record domain.SessionRecord, at time.Time) (decided actions) {
	known := n.know(record.Incarnation)
	known.name, known.beatAt = record.Node, at
	switch {
	case record.Incarnation != n.self:
		n.lease.Alive(record.Incarnation)
	case !n.beatSent.IsZero() && record.Count == n.beats:
		sent := n.beatSent
		n.beatSent = time.Time{}
		for _, dead := range n.lease.OwnBeat(sent) {
			decided = append(decided, n.bury(dead))
		}
	}
	return decided
}

// bury returns the append of another node's death.
func (n *nodes) bury(dead domain.Incarnation) func(*SetPresence) {
	known := n.know(dead)
	names, first := n.names(dead), !known.burying
	known.burying = true
	return func(p *SetPresence) {
		if first {
			n.notices.Always(slog.LevelInfo, "burying a node whose heartbeats ended", names...)
		}
		p.log.Bury(dead, func(err error) {
			if err != nil {
				n.notices.Warn("burying a node failed, will try again", append(names, slog.Any("error", err))...)
			}
		})
	}
}

// left handles that another node goes away on purpose.
func (n *nodes) left(record domain.SessionRecord) {
	grace := min(record.Grace, maxGrace)
	n.lease.Leaving(record.Incarnation, grace)
	if n.beats > 0 && record.Incarnation != n.self {
		n.notices.Always(slog.LevelInfo, "a node is leaving", n.names(record.Incarnation, slog.Duration("grace", grace))...)
	}
}

// buried handles a burial that has come to all partitions.
func (n *nodes) buried(incarnation domain.Incarnation) {
	n.lease.Buried(incarnation)
	if n.beats > 0 && incarnation != n.self { // else it is from before this node
		n.burials++
		n.notices.Always(slog.LevelInfo, "a node is buried: its users are offline", n.names(incarnation)...)
	}
	delete(n.known, incarnation)
}

// rise makes this node a new incarnation.
func (n *nodes) rise(name string, users int) {
	n.rebirths++
	old := n.self
	n.self = domain.Incarnation(n.newID())
	n.lease.Continue(n.self)
	n.known[old] = &knownNode{name: name}
	n.beatSent = time.Time{}
	n.notices.Warn("this node was buried: going on as a new incarnation",
		slog.String("node", name), slog.String("incarnation", n.self.String()), slog.String("old", old.String()),
		slog.Int("users", users))
}
