package main

import (
	"math"
	"strings"
)

// machines are what one computer of each kind has, and how much of it may be used at the peak.
type machines struct {
	nodeCores, brokerCores, sqlCores float64
	nodeMemory                       float64 // bytes
	brokerDisk, sqlDisk              float64 // bytes
	link                             float64 // bytes a second, of each machine
	busy                             float64 // share of cores and links that the peak may take
	full                             float64 // share of memory and disks
}

var usual = machines{
	nodeCores: 4, brokerCores: 16, sqlCores: 16, nodeMemory: 8e9, brokerDisk: 8e12, sqlDisk: 16e12, link: 1.25e9, busy: 0.5, full: 0.7,
}

const (
	fewestBrokers = replicas
	// mostBrokers of one Kafka that the document takes for sensible; many says that there is no sense in more.
	mostBrokers = 30.0
	many        = 100_000.0
)

// need is how many machines there have to be, and what of them is the reason.
type need struct {
	count float64
	by    string
	each  string // how many each limit asks for
}

func (n need) atLeast(count float64, by string) need {
	count = math.Ceil(count)
	if n.each != "" {
		n.each += ", "
	}
	if n.each += by + " " + number(count); count >= many {
		n.each = strings.TrimSuffix(n.each, number(count)) + "∞"
	}
	if count > n.count {
		n.count, n.by = count, by
	}
	return n
}

// plan is what a number of users takes.
type plan struct {
	rates

	users   float64
	design  design
	nodes   need    // one may be lost
	fleet   float64 // how many nodes the rates are for
	brokers need    // of all cells
	sql     need
	// nodeCores is what a node spends on what does not become less with more nodes.
	nodeCores float64
	// answersIn is how many answers of Kafka a node reads in a second.
	answersIn float64
	// routerCores is what all routers spend.
	routerCores float64
	kafkaCores  float64
	sqlCores    float64
	kept        float64 // in all logs, on all replicas, bytes
	// history is what the database holds, in bytes.
	history float64
	// kafkaOut is egress and what goes to the replicas, bytes a second.
	kafkaOut float64
	// starts is how many seconds a node takes to read back what it has to know.
	starts float64
}

// plan works out the machines. How many nodes there are decides what Kafka has to send, and how many brokers there are how many
// answers a node gets. The numbers are found by trying again until they stay. If no number of nodes suffices, the rest is worked
// out for as many as the connections need.
func (l load) plan(d design, c costs, m machines, users float64) plan {
	p := plan{users: users, design: d, nodes: need{count: 2 * d.cells}, brokers: need{count: fewestBrokers * d.cells}}
	p.fleet = p.nodes.count
	for range 50 {
		nodes, brokers := p.nodes, p.brokers
		p.rates = l.rates(d, c, users, p.fleet)
		p.kafkaOut = p.egress + (replicas-1)*p.appended().bytes
		p.brokers = l.brokers(p, c, m)
		if nodes.count < many {
			p.nodes = l.nodes(p, c, m)
		}
		if p.fleet = p.nodes.count; p.fleet >= many {
			p.fleet = need{}.atLeast(l.online*users/d.clients, "").spare(d.cells).count
		}
		if p.nodes == nodes && p.brokers == brokers {
			break
		}
	}
	fixed, answers := p.fixedCPU(c)
	p.nodeCores, p.answersIn = fixed/1e6, answers
	p.kept = l.kept(p)
	p.kafkaCores = p.cores(c, p.brokers.count/d.cells)

	if d.inboxes {
		p.routerCores = (p.inboxes.records*c.routeCPU + d.routers*p.sessions.records*c.sessionCPU) / 1e6
	}
	written := p.messages / l.peak // on average over the day
	p.history = written * historyKept * c.rowBytes
	p.sqlCores = (p.messages*c.rowCPU + p.logins*c.loginSQLCPU) / 1e6
	p.sql = need{count: 1, by: "one"}.
		atLeast(p.sqlCores/(m.sqlCores*m.busy), "CPU").
		atLeast(p.history/(m.sqlDisk*m.full), "disk")

	// Two goroutines read back, one a topic. A router's inbox needs no reading back.
	var sessions, conversations stream
	if !d.interest {
		sessions = p.sessions.over(d.cells / sessionsBack)
	}
	if !d.inboxes {
		conversations = p.conversations.over(d.cells / invitesBack)
	}
	p.starts = max(sessions.records*c.sessionCPU/1e6, conversations.records*c.foreignCPU/1e6,
		(sessions.bytes+conversations.bytes)/(m.link*m.busy))
	return p
}

// appended is all that Kafka takes in a second.
func (p plan) appended() stream {
	return p.conversations.plus(p.sessions).plus(p.inboxes).plus(p.presence)
}

// fixedCPU is what a node spends a second on what it reads of others, in microseconds, and how many answers that comes in.
func (p plan) fixedCPU(c costs) (cpu, answers float64) {
	cells := p.design.cells
	leaders := p.leaders(p.brokers.count / cells)
	if p.design.inboxes {
		answers += p.answers(c, p.inboxes.records/p.fleet, 1)
	} else {
		cpu += p.conversations.records / cells * c.foreignCPU
		answers += p.answers(c, p.conversations.records/cells, leaders)
	}
	if !p.design.interest {
		cpu += p.sessions.records / cells * c.sessionCPU
		answers += p.answers(c, p.sessions.records/cells, leaders)
	}
	return cpu + answers*c.answerCPU, answers
}

// answers is how many answers a second a reader gets from all leaders of a topic together, if each record comes in a batch of
// its own. While it reads an answer, more may come: then the next one has more records.
func (p plan) answers(c costs, records, leaders float64) float64 {
	rate := records / leaders
	return leaders * rate / (1 + rate*max(p.design.paced, c.fetchPause))
}

// leaders is how many brokers of so many in a cell lead a partition of a topic.
func (p plan) leaders(brokers float64) float64 { return min(brokers, p.design.partitions) }

func (l load) nodes(p plan, c costs, m machines) need {
	online := l.online * p.users
	fixed, _ := p.fixedCPU(c)
	sent := p.deliveries*c.frameBytes + p.statusFrames*c.statusBytes
	return need{count: p.design.cells, by: "one"}.
		atLeast(online/p.design.clients, "connections").
		atLeast(share(p.sharedCPU(c), m.nodeCores*m.busy*1e6-fixed), "CPU").
		atLeast(share(online*c.connectionBytes, m.nodeMemory*m.full-c.nodeBytes-p.entries*c.entryBytes), "memory").
		atLeast(share(sent, m.link*m.busy-p.node.bytes), "network").
		spare(p.design.cells)
}

// sharedCPU is what all nodes together spend a second on their own users, in microseconds.
func (p plan) sharedCPU(c costs) float64 {
	cpu := p.messages*(c.messageCPU+c.historyCPU) + p.logins*c.loginCPU + p.statusFrames*c.statusCPU
	if p.design.inboxes {
		cpu += p.inboxes.records * c.foreignCPU // they are not foreign, but read as well
	}
	return cpu
}

// share is over how many nodes what all do together has to be spread, if so much is left on each.
func share(all, left float64) float64 {
	if left <= 0 {
		return many
	}
	return min(all/left, many)
}

// spare adds a node to each cell, which may be lost.
func (n need) spare(cells float64) need {
	n.count = math.Ceil(n.count/cells)*cells + cells
	return n
}

// brokers are found by their number in one cell. Leaders are spread evenly over them.
func (l load) brokers(p plan, c costs, m machines) need {
	cells := p.design.cells
	n := need{count: fewestBrokers, by: "three"}.
		atLeast(p.kafkaOut/cells/(m.link*m.busy), "network").
		atLeast(l.kept(p)/cells/(m.brokerDisk*m.full), "disk")
	low, high := 1.0, many
	for low < high {
		middle := math.Floor((low + high) / 2)
		if p.cores(c, middle)/(cells*middle) <= m.brokerCores*m.busy {
			high = middle
		} else {
			low = middle + 1
		}
	}
	n = n.atLeast(low, "CPU")
	if n.count > p.design.partitions {
		n.count = many
	}
	n.count *= cells
	return n
}

// kept is what all logs take on all replicas, in bytes.
func (l load) kept(p plan) float64 {
	logs := (p.conversations.bytes+p.presence.bytes)*eventsKept + p.sessions.bytes*sessionsKept + p.inboxes.bytes*inboxesKept
	return logs / l.peak * replicas
}

// cores is what all brokers spend, if there are so many in a cell. The more of them, the more requests: every node asks
// each of them.
func (p plan) cores(c costs, brokers float64) float64 {
	cells := p.design.cells
	nodes, leaders := p.fleet/cells, p.leaders(brokers)
	answer := c.fetchCPU + c.askedCPU*min(p.design.partitions/leaders, 16)
	conversations, sessions := p.conversations.records/cells, p.sessions.records/cells
	cpu := 0.0 // in each cell
	if p.design.inboxes {
		cpu += (p.answers(c, conversations, leaders) + p.design.routers*p.answers(c, sessions, leaders)) * answer
		cpu += nodes * p.answers(c, p.inboxes.records/p.fleet, 1) * (c.fetchCPU + c.askedCPU)
	} else {
		cpu += nodes * p.answers(c, conversations, leaders) * answer
	}
	if !p.design.interest {
		cpu += nodes * p.answers(c, sessions, leaders) * answer
	}
	read := p.fleet*p.node.records + p.conversations.records + p.sessions.records
	return (p.appended().records*(c.appendCPU+c.followCPU) + cells*cpu + read*c.fetchedCPU) / 1e6
}

// bill is what it takes, the spare parts of machines that are meant to stay free included, and what leaves Kafka in a month.
type bill struct {
	nodeCores, kafkaCores, sqlCores float64
	memory                          float64 // of nodes, bytes
	logs, history                   float64 // bytes on disks
	network                         float64 // bytes from Kafka to readers and replicas in a month
	crossZone                       float64 // the part from Kafka to readers in other zones
}

func (b bill) cores() float64 { return b.nodeCores + b.kafkaCores + b.sqlCores }

func (l load) bill(p plan, c costs, m machines) bill {
	whole := func(count, used, least float64) float64 { // cores of so many machines that are alike
		return count * math.Ceil(max(least, used/count/m.busy))
	}
	used := p.sharedCPU(c)/1e6 + p.fleet*p.nodeCores
	return bill{
		nodeCores:  whole(p.fleet, used, 1) + math.Ceil(p.routerCores/m.busy),
		kafkaCores: whole(p.brokers.count, p.kafkaCores, 2),
		sqlCores:   whole(p.sql.count, p.sqlCores, 2),
		memory:     (p.fleet*(c.nodeBytes+p.entries*c.entryBytes) + l.online*p.users*c.connectionBytes) / m.full,
		logs:       p.kept / m.full,
		history:    p.history / m.full,
		network:    p.kafkaOut / l.peak * month,
		crossZone:  p.crossZone / l.peak * month,
	}
}

// end finds the number of users, up to 10^10, from which on too much is true.
func (l load) end(d design, c costs, m machines, tooMuch func(plan) bool) float64 {
	low, high := 3.0, 10.0
	for range 40 {
		middle := (low + high) / 2
		if tooMuch(l.plan(d, c, m, math.Pow(10, middle))) {
			high = middle
		} else {
			low = middle
		}
	}
	return math.Pow(10, low)
}
