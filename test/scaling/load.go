package main

import (
	"math"

	"chatting/application/presence"
	"chatting/domain"
)

// load says what users do at the busiest time of the day. Everybody does the same: what differs between users averages out.
type load struct {
	online   float64 // share of the users of a day that is online at the peak
	session  float64 // seconds from a login to the end of its connection
	messages float64 // that a user of a day sends a day
	peak     float64 // the rate of the busiest hour to that of the mean hour
	friends  float64 // of a user; each watches the other
	crossing float64 // share of friendships, and so of messages, between cells, where there are cells
	returns  float64 // seconds over which the clients of a node that died come back
}

// typical is the load of the document. Where its figures come from is said there.
var typical = load{online: 0.4, session: 1800, messages: 50, peak: 2, friends: 50, crossing: 0.15, returns: 30}

// The times of the server, in seconds.
var (
	presenceTimes = presence.DefaultTimes
	refreshEvery  = int(presenceTimes.Refresh.Seconds()) * 4 / 5 // when a session that goes on is written again
	beatEvery     = presenceTimes.Beat.Seconds()
	lease         = presenceTimes.Lease.Seconds()
	sessionsBack  = presenceTimes.Lookback().Seconds() // what a starting node reads back of sessions
	invitesBack   = domain.InviteLookback.Seconds()    // and of conversations
)

const (
	day          = 86400.0
	month        = 30 * day
	eventsKept   = 7 * day // see docs/operations.md, as for sessions
	historyKept  = 90 * day
	sessionsKept = 3600.0
	inboxesKept  = 3600.0 // of the design with inboxes
	zones        = 3.0
	replicas     = 3.0
)

// messageRate is how many messages a second all users together send at the peak.
func (l load) messageRate(users float64) float64 { return users * l.messages * l.peak / day }

// loginRate follows from Little's law: who is online came within the last session.
func (l load) loginRate(users float64) float64 { return users * l.online / l.session }

// refreshes is how often a session is written again. Sessions end at any time with the same probability, so the share that
// lives for t seconds is exp(-t/session).
func (l load) refreshes() float64 {
	lives := math.Exp(-float64(refreshEvery) / l.session)
	return lives / (1 - lives)
}

// design says how records come to the nodes.
type design struct {
	name string
	// inboxes: routers read the log and write what concerns a node to the node's own topic. A node reads only that.
	inboxes bool
	// interest: routers follow who is online, and tell a node of the friends of its users. No node reads the sessions.
	interest bool
	// cells is how many Kafkas there are, each with its own nodes. 1 for none but one.
	cells float64
	// routers of one cell, where there are inboxes. Each reads a share of conversations and all sessions.
	routers float64
	// clients is how many connections a node has at most (limit.connections).
	clients float64
	// partitions of each topic. No more brokers than that can share what is read of one.
	partitions float64
	// paced: a node asks Kafka again this many seconds after an answer. 0: as soon as it has read the answer.
	paced float64
	// adds is what the design adds to the time of a message, in words.
	adds string
	// nearest: every reader reads from a replica in its own zone (KIP-392).
	nearest bool
}

// asItIs is what is built.
var asItIs = design{name: "as it is", cells: 1, clients: 10_000, partitions: 64, adds: "nothing"}

// rates is what happens in a second, in all cells together if nothing else is said. The simulation counts the same.
type rates struct {
	messages, logins float64
	transitions      float64 // of users between offline and online
	deliveries       float64 // of messages to users, echoes included
	statusFrames     float64
	conversations    stream // appended, copies for other cells included
	sessions         stream // the same
	inboxes          stream
	presence         stream  // chatting.presence
	node             stream  // what one node reads
	egress           float64 // bytes that Kafka sends to readers
	crossZone        float64 // the part of egress that leaves its zone
	entries          float64 // users whom a node knows to be online
}

// rates works out what users and nodes, both of all cells together, make Kafka carry.
func (l load) rates(d design, c costs, users, nodes float64) rates {
	perCell := nodes / d.cells
	r := rates{messages: l.messageRate(users), logins: l.loginRate(users)}
	r.deliveries = 2 * r.messages
	r.transitions = 2 * r.logins
	r.statusFrames = r.transitions * l.friends * l.online

	// A conversation is at home in one cell. If the other user lives elsewhere, a bridge copies its records there.
	crossing := 0.0
	if d.cells > 1 {
		crossing = l.crossing
	}
	r.conversations = c.messages(r.messages).plus(c.copies(r.messages * crossing))

	// Of another cell's users, a cell has those whom somebody who is online there watches. All their session records are copied,
	// and an up is written when the first of the watchers comes, a down when the last one goes.
	records := r.logins * (2 + l.refreshes())
	elsewhere := l.reached(l.friends*crossing, d.cells-1)
	begins := users * l.online / l.session * l.online * l.friends * crossing * l.nobody(l.friends*crossing, d.cells-1)
	r.sessions = c.sessions(records*(1+elsewhere) + 2*begins).plus(c.beats(nodes / beatEvery))
	r.presence = c.presence(r.transitions)
	r.entries = l.online * users * (1 + elsewhere) / d.cells

	// Two groups of consumers, the history and the audit, read a topic once; and so does the bridge.
	reads := 1.0
	if d.cells > 1 {
		reads = 2
	}
	r.egress = reads * (r.conversations.bytes + r.sessions.bytes)

	conversations, sessions := r.conversations.over(d.cells), r.sessions.over(d.cells)
	if d.inboxes {
		// Two users of one cell may be on one node. Of those of two cells, each has the record in its own.
		r.inboxes = c.copies(r.messages * ((1-crossing)*(2-1/perCell) + crossing*2))
		r.egress += r.conversations.bytes + d.routers*r.sessions.bytes
		conversations = stream{}
	}
	if d.interest {
		watching := l.reached(l.friends*(1-crossing), perCell) + l.reached(l.friends*crossing, nodes-perCell)
		r.inboxes = r.inboxes.plus(c.notices(r.transitions*watching + begins))
		r.entries = l.online * users * watching / nodes
		sessions = stream{}
	}
	r.node = conversations.plus(sessions).plus(r.inboxes.over(nodes))
	r.egress += nodes * r.node.bytes
	if !d.nearest {
		r.crossZone = r.egress * (zones - 1) / zones
	}
	return r
}

// reached is in how many of equal places somebody is online who watches a certain user, whose watchers are spread over them
// at random. How many they are in one place is about Poisson distributed.
func (l load) reached(watchers, places float64) float64 {
	return places * (1 - l.nobody(watchers, places))
}

// nobody is the probability that in one of the places no watcher is online.
func (l load) nobody(watchers, places float64) float64 {
	if places < 1 {
		return 1
	}
	return math.Exp(-l.online * watchers / places)
}
