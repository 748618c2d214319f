package presence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"chatting/application/async"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Times are the durations of the presence protocol.
type Times struct {
	Beat    time.Duration // between two heartbeats
	Lease   time.Duration // a node whose beats are missing for so long is dead
	Refresh time.Duration // every session is written again within this
	// OfflineGrace is for how long a user whose last connection has ended is shown as online; 0 means not at all.
	OfflineGrace time.Duration
}

// DefaultTimes are those that the lookback of a starting node is made for.
var DefaultTimes = Times{Beat: time.Second, Lease: 6 * time.Second, Refresh: 10 * time.Minute}

// Lookback is how far back a starting node reads the sessions topic: every session has been written within the refresh
// interval, and as much again is left for a record that was late.
func (t Times) Lookback() time.Duration { return 2 * t.Refresh }

// SetPresence makes users online and offline: it turns the connections of this node into session records, and the session
// records of all nodes into who is online, who is told so, and which nodes are dead.
//
// Nothing but the log changes who is online, on the writing node too. What this node wants (its connections) and what
// the log says are compared whenever either changes and at every beat, and the difference is appended; so a failed append
// heals by itself.
//
// One lock guards the three parts of its state: sessions, watchers and nodes. A login's answer says who is online, and the
// connection then gets every later change. So the parts must not change one by one.
type SetPresence struct {
	// Forgotten, where it is set, is called when the log says that a user was forgotten, before the user may be remembered
	// again. It must not block.
	Forgotten func(domain.UserID)
	// HidesFromBlocked tells that the presence of a user is kept from those whom that user blocks; see HidePresence. It is set
	// before the first record comes.
	HidesFromBlocked bool
	// TellsAdded tells a user at once that a friend whom it has just added is online. Without it, only the friend's next
	// change is told. It is set before the first login.
	TellsAdded bool
	// Name is what operators know this node by; other nodes' log lines name it so.
	Name string

	log     port.SessionLog
	times   Times
	reloads *reloads

	mu       sync.RWMutex
	sessions sessions
	watchers watchers
	nodes    nodes
}

// NewSetPresence returns the presence of a node without connections, under a new incarnation.
func NewSetPresence(log port.SessionLog, now port.Clock, newID port.IDs, times Times, notices *notice.Log) *SetPresence {
	p := &SetPresence{log: log, times: times, reloads: newReloads(), nodes: newNodes(newID, times.Lease, notices)}
	p.sessions = newSessions(log, &p.nodes, times, now, p.reloads)
	p.watchers = newWatchers(&p.sessions, now, p.reloads)
	return p
}

// actions are appends that were decided on under the lock. They are made after it, because an append may call back at once.
type actions []func(*SetPresence)

// decide calls what under the lock, and then makes the appends that it returns.
func (p *SetPresence) decide(what func() actions) {
	decided := func() actions {
		p.mu.Lock()
		defer p.mu.Unlock()
		return what()
	}()
	for _, do := range decided {
		do(p)
	}
}

// Incarnation returns what the log knows this node by now.
func (p *SetPresence) Incarnation() domain.Incarnation {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.nodes.self
}

// Stats are counts of what this node knows of presence.
type Stats struct {
	Users   int // with a connection here, or with a session that this node still has to end
	Watched int // users whom somebody here watches
	Nodes   int // that gave a beat and are not buried, this one included
	// Burials is how many other nodes were buried since this one began to beat, and Rebirths how often this one went on as a new
	// incarnation.
	Burials, Rebirths uint64
}

// Stats returns the counts.
func (p *SetPresence) Stats() Stats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return Stats{
		Users: len(p.sessions.members), Watched: len(p.watchers.of), Nodes: len(p.nodes.known),
		Burials: p.nodes.burials, Rebirths: p.nodes.rebirths,
	}
}

// LogTime returns the time that the log of sessions has come to: that of the latest beat of the node whose clock is the
// furthest behind. It is zero before the first beat. So one node whose clock is ahead does not move it.
func (p *SetPresence) LogTime() time.Time {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.nodes.logTime()
}

// Online tells whether user is shown as online, according to the log as far as this node has read it: it has a connection
// somewhere, or had one less than the grace ago.
func (p *SetPresence) Online(user domain.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessions.online(user)
}

// errLeaving is why nobody logs in on a node that departs.
var errLeaving = domain.NewError(domain.CodeUnavailable, "The node is going away.")

// Enter notes a connection of user that is being logged in; CodeUnavailable if the node is going away. The caller calls
// SetFriends or FriendsMissing, then Online; and Leave in any case.
func (p *SetPresence) Enter(user domain.UserID, conn Connection) (membership *Membership, err error) {
	p.decide(func() actions {
		if p.sessions.leaving {
			err = errLeaving
			return nil
		}
		m := p.sessions.member(user)
		membership = &Membership{presence: p, member: m, conn: conn, epoch: m.epoch}
		m.memberships = append(m.memberships, membership)
		return nil
	})
	return membership, err
}

// Apply takes over the next record of one partition of the sessions topic, stamped at. Records of one partition come in
// their order, from one goroutine.
func (p *SetPresence) Apply(partition int, record domain.SessionRecord, at time.Time) {
	p.decide(func() actions {
		if partition < 0 || partition >= len(p.sessions.partitions) {
			return nil
		}
		buried := p.sessions.partitions[partition].IsDead(record.Incarnation)
		p.watchers.tell(p.sessions.partitions[partition].Apply(record, at))
		switch record.Kind {
		case domain.FriendsChanged:
			p.watchers.friendsChanged(record.User)
		case domain.UserErased:
			p.sessions.erased(record.User)
		case domain.UserForgotten:
			if p.Forgotten != nil {
				p.Forgotten(record.User)
			}
			p.watchers.forgotten(record.User)
		case domain.UserBlocked, domain.UserUnblocked:
			if p.HidesFromBlocked {
				p.watchers.blockChanged(record)
			}
		case domain.SessionDead:
			return p.died(record.Incarnation)
		case domain.SessionLeaving:
			if !buried {
				p.nodes.left(record)
			}
		case domain.SessionBeat:
			if !buried {
				return p.nodes.beaten(record, at)
			}
		case domain.SessionUp, domain.SessionDown, domain.SessionAway:
			switch {
			case buried:
			case record.Incarnation == p.nodes.self:
				return p.sessions.cameBack(record, at)
			default:
				p.nodes.lease.Alive(record.Incarnation)
			}
		case domain.FlushWanted, domain.ConnectionsAsked, domain.ConnectionsTold:
		}
		return nil
	})
}

// died handles a burial that has come to one partition. Until it has come to all, the node is still judged: its burial may
// have failed half-way, and its sessions in the other partitions would stay online for ever.
func (p *SetPresence) died(incarnation domain.Incarnation) (decided actions) {
	if incarnation == p.nodes.self && !p.sessions.leaving {
		decided = p.rise()
	}
	if p.sessions.allBuried(incarnation) {
		p.nodes.buried(incarnation)
	}
	return decided
}

// rise handles the node's own burial: others did not hear of it for a lease. It goes on as a new incarnation and writes its
// sessions again.
func (p *SetPresence) rise() actions {
	p.nodes.rise(p.Name, len(p.sessions.members))
	return p.sessions.writeAgain()
}

// Forget drops what is known of who is online, after records of the sessions topic were lost. The node's own users are
// written again; those of other nodes come back as their sessions are refreshed. Nobody is told: the caller closes the
// connections, whose next login shows them the truth.
func (p *SetPresence) Forget() {
	p.decide(func() actions {
		p.sessions.forget()
		return p.rise()
	})
}

// Suspect names nodes that stood in the log before what this node has read. Those that are not buried are judged as if they
// had given a sign of life just now.
func (p *SetPresence) Suspect(others []domain.Incarnation) {
	p.decide(func() actions {
		for _, other := range others {
			if !p.sessions.partitions[0].IsDead(other) {
				p.nodes.lease.Alive(other)
			}
		}
		return nil
	})
}

// BuryOthers buries every other node known now. It is for a broker inside this process: its earlier nodes ended with it. It
// returns when the log has it.
func (p *SetPresence) BuryOthers(ctx context.Context) error {
	var others []domain.Incarnation
	var names [][]slog.Attr
	p.decide(func() actions {
		p.nodes.lease.EachOther(func(other domain.Incarnation) {
			others, names = append(others, other), append(names, p.nodes.names(other))
		})
		return nil
	})
	for i, other := range others {
		p.nodes.notices.Always(slog.LevelInfo, "burying a node that ended with its broker", names[i]...)
		if err := buryAndWait(ctx, p.log, other); err != nil {
			return err
		}
	}
	return nil
}

// Freeze prepares for Depart. From now on nobody can log in here, logins that wait get CodeUnavailable, and the end of a
// connection is no longer written: the node's sessions end together.
func (p *SetPresence) Freeze() {
	p.decide(func() actions {
		p.sessions.freeze()
		return nil
	})
}

// Depart ends all sessions of this node, for good. Without a grace they end at once. With one, other nodes end them when it has
// passed, and users who have reconnected elsewhere by then never went offline. It returns when the log has it. After an error
// (CodeUnavailable, CodeUnconfirmed) other nodes find out by the lease.
func (p *SetPresence) Depart(ctx context.Context, grace time.Duration) error {
	p.Freeze()
	self := p.Incarnation()
	if grace == 0 {
		return buryAndWait(ctx, p.log, self)
	}
	leaving := domain.SessionRecord{Kind: domain.SessionLeaving, Incarnation: self, Grace: grace, Node: p.Name}
	return port.AppendSessionAndWait(ctx, p.log, leaving)
}

func buryAndWait(ctx context.Context, log port.SessionLog, incarnation domain.Incarnation) error {
	return async.Await(ctx, "The burial could not be confirmed.", func(done func(error)) { log.Bury(incarnation, done) })
}

// Run beats until ctx ends. Each beat also compares the sessions of all local users with the log, which writes again what
// failed or grows old.
func (p *SetPresence) Run(ctx context.Context) {
	ticker := time.NewTicker(p.times.Beat)
	defer ticker.Stop()
	for {
		p.decide(func() actions { return append(p.nodes.beat(p.sessions.now(), p.Name), p.sessions.reconcileAll()...) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
