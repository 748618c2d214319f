package application

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"chatting/domain"
)

// Apply takes over the next record of one partition of the sessions topic, stamped at. Records of one partition come in
// their order, from one goroutine.
func (p *SetPresence) Apply(partition int, record domain.SessionRecord, at time.Time) {
	p.mu.Lock()
	if partition < 0 || partition >= len(p.partitions) {
		p.mu.Unlock()
		return
	}
	sessions := p.partitions[partition]
	buried := sessions.IsDead(record.Incarnation)
	transitions := sessions.Apply(record, at)
	p.tell(transitions)
	var actions actions
	switch record.Kind {
	case domain.FriendsChanged:
		p.friendsChanged(record.User)
	case domain.UserErased:
		p.erased(record.User)
	case domain.UserForgotten:
		p.forgotten(record.User)
	case domain.UserBlocked, domain.UserUnblocked:
		p.blockChanged(record)
	case domain.SessionDead:
		actions = p.died(record.Incarnation)
	case domain.SessionLeaving:
		if !buried {
			p.left(record)
		}
	case domain.SessionUp, domain.SessionDown, domain.SessionBeat:
		switch {
		case buried:
		case record.Incarnation == p.self:
			p.met(record, at)
			actions = p.came(record, at)
		default:
			p.met(record, at)
			p.lease.Alive(record.Incarnation)
		}
	}
	p.mu.Unlock()
	actions.run()
}

// erased ends the connections of a user here, which may take a while.
func (p *SetPresence) erased(user domain.UserID) {
	if m := p.members[user]; m != nil {
		for _, membership := range m.memberships {
			membership.erased = true
			membership.conn.Close(CloseErased)
		}
	}
}

// forgotten has a user who has come since it was erased remembered, and its friends loaded, as for a login.
func (p *SetPresence) forgotten(user domain.UserID) {
	if p.Forgotten != nil {
		p.Forgotten(user)
	}
	if m := p.members[user]; m != nil && m.cameSinceErased() {
		p.unknown[user] = struct{}{}
		p.friendsChanged(user)
	}
}

// cameSinceErased tells whether the user has a connection here that is not one of those that its erasure ends.
func (m *member) cameSinceErased() bool {
	return slices.ContainsFunc(m.memberships, func(membership *Membership) bool { return !membership.erased })
}

// died handles a burial that has come to one partition. Until it has come to all, the node is still to be judged: whoever
// buried it may have failed half-way, and what stands in the other partitions would stay online for ever.
func (p *SetPresence) died(incarnation domain.Incarnation) actions {
	var actions actions
	if incarnation == p.self && !p.leaving {
		actions = p.rise()
	}
	for _, sessions := range p.partitions {
		if !sessions.IsDead(incarnation) {
			return actions
		}
	}
	p.lease.Buried(incarnation)
	if p.beats > 0 && incarnation != p.self { // else it is from before this node
		p.notices.Always(slog.LevelInfo, "a node is buried: its users are offline", p.names(incarnation)...)
	}
	delete(p.nodes, incarnation)
	return actions
}

// met notes a beat of a node, stamped at.
func (p *SetPresence) met(record domain.SessionRecord, at time.Time) {
	if record.Kind != domain.SessionBeat {
		return
	}
	known := p.nodes[record.Incarnation]
	if known == nil {
		known = &knownNode{}
		p.nodes[record.Incarnation] = known
	}
	known.name, known.beatAt = record.Node, at
}

// names returns the attributes that name another node, and whose line it is.
func (p *SetPresence) names(other domain.Incarnation, more ...slog.Attr) []slog.Attr {
	name := "unknown"
	if known := p.nodes[other]; known != nil && known.name != "" {
		name = known.name
	}
	return append([]slog.Attr{
		slog.String("node", name), slog.String("incarnation", other.String()), slog.String("by", p.self.String()),
	}, more...)
}

// left handles that another node goes away on purpose.
func (p *SetPresence) left(record domain.SessionRecord) {
	grace := min(record.Grace, maxGrace)
	p.lease.Leaving(record.Incarnation, grace)
	if p.beats > 0 && record.Incarnation != p.self {
		p.notices.Always(slog.LevelInfo, "a node is leaving", p.names(record.Incarnation, slog.Duration("grace", grace))...)
	}
}

// came handles an own record, stamped at, that came back from the log.
func (p *SetPresence) came(record domain.SessionRecord, at time.Time) actions {
	switch record.Kind {
	case domain.SessionBeat:
		sent := p.beatSent
		if sent.IsZero() || record.Count != p.beats {
			return nil
		}
		p.beatSent = time.Time{}
		var actions actions
		for _, dead := range p.lease.OwnBeat(sent) {
			actions = append(actions, p.bury(dead))
		}
		return actions
	case domain.SessionUp, domain.SessionDown:
		m := p.members[record.User]
		if m == nil {
			// A session that nobody here remembers, such as one whose append was given up: end it.
			m = &member{user: record.User}
			p.members[record.User] = m
		}
		m.appending = time.Time{}
		if record.Kind == domain.SessionUp {
			// By the record's own time, which a log that was away may have kept waiting: nodes that start read from a time on.
			if m.written = p.now(); at.Before(m.written) {
				m.written = at
			}
		}
		return p.reconcile(m)
	case domain.SessionLeaving, domain.SessionDead, domain.FriendsChanged, domain.UserErased, domain.UserForgotten,
		domain.UserBlocked, domain.UserUnblocked, domain.HistoryWanted:
	}
	return nil
}

// rise handles the node's own burial: whoever buried it did not hear of it for a lease. It goes on as a new incarnation
// and writes its sessions again.
func (p *SetPresence) rise() actions {
	old := p.self
	p.self = domain.Incarnation(p.newID())
	p.lease.Continue(p.self)
	p.nodes[old] = &knownNode{name: p.Name}
	p.beatSent = time.Time{}
	p.notices.Warn("this node was buried: going on as a new incarnation",
		slog.String("node", p.Name), slog.String("incarnation", p.self.String()), slog.String("old", old.String()),
		slog.Int("users", len(p.members)))
	var actions actions
	for _, m := range p.members {
		m.appending = time.Time{}
		actions = append(actions, p.reconcile(m)...)
	}
	return actions
}

// Forget drops what is known of who is online, after records of the sessions topic were lost. The node's own users are
// written again; those of other nodes come back as their sessions are refreshed. Nobody is told: the caller closes the
// connections, whose next login shows them the truth.
func (p *SetPresence) Forget() {
	p.mu.Lock()
	for partition := range p.partitions {
		p.partitions[partition] = domain.NewSessions()
	}
	actions := p.rise()
	p.mu.Unlock()
	actions.run()
}

// bury returns the append of another node's death.
func (p *SetPresence) bury(dead domain.Incarnation) func() {
	known := p.nodes[dead]
	if known == nil {
		known = &knownNode{}
		p.nodes[dead] = known
	}
	names, first := p.names(dead), !known.burying
	known.burying = true
	return func() {
		if first {
			p.notices.Always(slog.LevelInfo, "burying a node whose heartbeats ended", names...)
		}
		p.log.Bury(dead, func(err error) {
			if err != nil {
				p.notices.Warn("burying a node failed, will try again", append(names, slog.Any("error", err))...)
			}
		})
	}
}

// Suspect names nodes that stood in the log before what this node has read. Those that are not buried are judged as if they
// had given a sign of life just now.
func (p *SetPresence) Suspect(others []domain.Incarnation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range others {
		if !p.partitions[0].IsDead(other) {
			p.lease.Alive(other)
		}
	}
}

// BuryOthers buries every other node known now. It is for a broker that lives in this process and was therefore not there
// when this process was not: none of its earlier nodes can be alive, or will mind. It returns when the log has it.
func (p *SetPresence) BuryOthers(ctx context.Context) error {
	p.mu.Lock()
	var others []domain.Incarnation
	p.lease.EachOther(func(other domain.Incarnation) { others = append(others, other) })
	names := make([][]slog.Attr, len(others))
	for i, other := range others {
		names[i] = p.names(other)
	}
	p.mu.Unlock()
	for i, other := range others {
		p.notices.Always(slog.LevelInfo, "burying a node that ended with its broker", names[i]...)
		if err := p.buryAndWait(ctx, other); err != nil {
			return err
		}
	}
	return nil
}

// maxGrace bounds what a leaving node can ask for: anybody who may write the topic could have asked.
const maxGrace = 10 * time.Minute

// Freeze prepares for Depart: from now on nobody can log in here, whoever waits in a login gets CodeUnavailable, and a
// connection that ends leaves its user online, as far as the log goes, until the node's sessions end together.
func (p *SetPresence) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	for _, m := range p.members {
		p.settle(m, errLeaving)
	}
}

// Depart ends all sessions of this node, for good. Without a grace they end in the log at once; with one, other nodes end
// them when it has passed, and users who have reconnected elsewhere by then never went offline. It returns when the log
// has it, or with CodeUnavailable or CodeUnconfirmed; then other nodes find out by the lease.
func (p *SetPresence) Depart(ctx context.Context, grace time.Duration) error {
	p.Freeze()
	p.mu.Lock()
	self := p.self
	p.mu.Unlock()
	if grace == 0 {
		return p.buryAndWait(ctx, self)
	}
	return appendSessionAndWait(ctx, p.log, domain.SessionRecord{Kind: domain.SessionLeaving, Incarnation: self, Grace: grace, Node: p.Name})
}

func (p *SetPresence) buryAndWait(ctx context.Context, incarnation domain.Incarnation) error {
	return await(ctx, "The burial could not be confirmed.", func(done func(error)) { p.log.Bury(incarnation, done) })
}

// Run beats until ctx ends. Each beat also compares the sessions of all local users with the log, which writes again what
// failed or grows old.
func (p *SetPresence) Run(ctx context.Context) {
	ticker := time.NewTicker(p.times.Beat)
	defer ticker.Stop()
	for {
		p.tick()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *SetPresence) tick() {
	p.mu.Lock()
	var actions actions
	now := p.now()
	if now.Sub(p.beatSent) > appendStale {
		p.beatSent = now
		p.beats++
		beat := domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: p.self, Count: p.beats, Node: p.Name}
		actions = append(actions, func() {
			p.log.Append(beat, func(err error) {
				if domain.CodeOf(err) != domain.CodeUnavailable {
					return
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.beats == beat.Count {
					p.beatSent = time.Time{}
				}
			})
		})
	}
	for _, m := range p.members {
		actions = append(actions, p.reconcile(m)...)
	}
	p.mu.Unlock()
	actions.run()
}
