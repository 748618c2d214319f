package main

import (
	"math"
	"strconv"
	"strings"
)

// document is what the tables are made for.
type document struct {
	load     load
	costs    costs
	machines machines
	decades  []float64
}

var decades = []float64{1e4, 1e5, 1e6, 1e7, 1e8}

// table is one of the document, between markers that have its name.
type table struct{ name, title, markdown string }

func (d document) tables() []table {
	return []table{
		{"decades", "As it is", d.decadesTable()},
		{"bill", "What it takes, and a month of it", d.billTable()},
		{"load", "What users do", d.loadTable()},
		{"costs", "What it costs", d.costsTable()},
		{"limits", "Users of a day at which a limit is reached", d.limitsTable()},
		{"deaths", "A node ends without a word", d.deathsTable()},
		{"designs", "Designs", d.designsTable()},
	}
}

// The designs of the document.
var (
	larger  = asItIs.but("larger nodes", "nothing", func(d *design) { d.clients = 50_000 })
	paced   = larger.but("and reads paced", "up to 5 ms", func(d *design) { d.paced = 0.005 })
	nearest = paced.but("and nearest replicas", "and a fetch of the follower", func(d *design) { d.nearest = true })
	inboxes = nearest.but("inboxes", "and one more hop", func(d *design) { d.inboxes, d.routers = true, 3 })
	byWatch = inboxes.but("and presence by interest", "the same", func(d *design) { d.interest = true })
)

// but returns the design with a change.
func (d design) but(name, adds string, change func(*design)) design {
	d.name, d.adds = name, adds
	change(&d)
	return d
}

// usersOfACell is how many users of a day a cell of the document has.
const usersOfACell = 5e6

func celled(users float64) design {
	cells := max(2, math.Ceil(users/usersOfACell))
	return nearest.but(number(cells)+" cells", "two hops between cells", func(d *design) { d.cells = cells })
}

// rows makes a table of Markdown.
func rows(lines ...[]string) string {
	var b strings.Builder
	for i, cells := range lines {
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
		}
	}
	return b.String()
}

func (d document) decadesTable() string {
	lines := [][]string{{
		"users of a day", "online", "messages/s", "session records/s", "nodes", "into a node", "in answers/s", "presence in a node",
		"out of Kafka", "brokers", "databases", "a node starts in", "take",
	}}
	for _, users := range d.decades {
		p := d.load.plan(asItIs, d.costs, d.machines, users)
		lines = append(lines, []string{
			number(users), number(d.load.online * users), number(p.messages), number(p.sessions.records), p.nodes.showEach(),
			bytes(p.node.bytes) + "/s", number(p.answersIn), bytes(p.entries * d.costs.entryBytes), bytes(p.kafkaOut) + "/s",
			p.brokers.showEach(), p.sql.showEach(), seconds(p.starts), d.take(users),
		})
	}
	return rows(lines...)
}

// take names the first design that suffices for so many users.
func (d document) take(users float64) string {
	for _, of := range []design{asItIs, paced} {
		if p := d.load.plan(of, d.costs, d.machines, users); p.exists() && p.brokers.count <= mostBrokers {
			return plainNames[of.name]
		}
	}
	return "cells, or " + plainNames[byWatch.name]
}

// plainNames are the names of designs where they do not stand below each other.
var plainNames = map[string]string{
	asItIs.name: asItIs.name, paced.name: "larger nodes, reads paced", byWatch.name: "inboxes and presence by interest",
}

// show names the limit that decides.
func (n need) show() string {
	if n.count >= many {
		return "**too many**: " + n.by
	}
	return number(n.count) + ": " + n.by
}

// showEach names them all.
func (n need) showEach() string {
	if n.count >= many {
		return "**too many**: " + n.each
	}
	return "**" + number(n.count) + "**: " + n.each
}

// exists tells whether there is a number of nodes and brokers that suffices.
func (p plan) exists() bool { return p.nodes.count < many && p.brokers.count < many }

func (d document) billTable() string {
	lines := [][]string{{
		"users of a day", "design", "cores of nodes", "of Kafka", "of PostgreSQL", "memory of nodes", "logs", "history",
		"out of Kafka a month", "of it between zones",
	}}
	for _, users := range d.decades {
		for _, of := range []struct {
			design
			from float64 // fewer users do not need it
		}{{asItIs, 0}, {paced, 1e6}, {byWatch, 1e7}, {celled(users), 1e8}} {
			p := d.load.plan(of.design, d.costs, d.machines, users)
			b := d.load.bill(p, d.costs, d.machines)
			if !p.exists() || users < of.from {
				continue
			}
			name := of.name
			if plain := plainNames[name]; plain != "" {
				name = plain
			}
			lines = append(lines, []string{
				number(users), name, number(b.nodeCores), number(b.kafkaCores), number(b.sqlCores), bytes(b.memory), bytes(b.logs),
				bytes(b.history), bytes(b.network), bytes(b.crossZone),
			})
		}
	}
	return rows(lines...)
}

func (d document) loadTable() string {
	l := d.load
	return rows(
		[]string{"flag", "assumption", "value", "from"},
		[]string{"`-online`", "share of the users of a day that is online at the peak", percent(l.online),
			"Steam in 2020: 24.8 of 62.6 million. Steam stays open beside a game, so this is rather high"},
		[]string{"`-messages`", "messages that a user sends a day", number(l.messages), "WhatsApp in 2020: 100 billion a day of 2 billion users"},
		[]string{"`-peak`", "busiest hour to mean hour", number(l.peak), "assumed: one region sleeps at the same time"},
		[]string{"`-session`", "a connection lasts", seconds(l.session), "assumed: a match or two, or a phone that changes networks"},
		[]string{"`-friends`", "friends of a user", number(l.friends), "assumed"},
		[]string{"`-crossing`", "friendships between cells", percent(l.crossing), "assumed: friends play in one region"},
		[]string{"`-returns`", "the clients of a dead node come back within", seconds(l.returns), "assumed: a random wait before it"},
	)
}

func (d document) costsTable() string {
	c := d.costs
	return rows(
		[]string{"what", "costs", "measured by"},
		[]string{"log: a message with 64 bytes of text, alone in its batch", number(c.messageBytes) + " B",
			"size of the topic at 20 messages/s; 520 B at full speed"},
		[]string{"log: a login, logout or refresh; a heartbeat", number(c.upBytes) + " B; " + number(c.beatBytes) + " B",
			"size of the topic, length of the record"},
		[]string{"log: of a batch of 1; 10; 100 messages, zstd leaves",
			percent(compressed(1)) + "; " + percent(compressed(10)) + "; " + percent(compressed(100)), "a test, with made-up messages"},
		[]string{"node: a message with both deliveries, alone in its batch", micro(c.messageCPU),
			"1,000 to 3,000 messages/s, less the answers. 10 µs at full speed, where batches are full"},
		[]string{"node: the same message projected", micro(c.historyCPU), "as much as delivering it at full speed"},
		[]string{"node: an answer of Kafka with news", micro(c.answerCPU), "a second node without users, at 200, 1,000 and 3,000 messages/s"},
		[]string{"node: a message of others in it; a session record", micro(c.foreignCPU) + "; " + micro(c.sessionCPU),
			"the same at full speed; `BenchmarkReadSessions`"},
		[]string{"node: a login of a known user", micro(c.loginCPU), "`chatting bench logins`"},
		[]string{"node: a status frame", micro(c.statusCPU), "assumed: a write, as of a message"},
		[]string{"node: an idle connection", bytes(c.connectionBytes), "10,000 connections"},
		[]string{"node: a user who is online anywhere", bytes(c.entryBytes), "a test"},
		[]string{"Kafka: an append of one record; followers", micro(c.appendCPU) + "; " + micro(c.followCPU),
			"8 writers, 14,000 appends/s; followers: assumed"},
		[]string{"Kafka: an answer with news; a partition that it is about; a record in it",
			micro(c.fetchCPU) + "; " + micro(c.askedCPU) + "; " + micro(c.fetchedCPU),
			"8 readers of 2, 4, 16 and 64 partitions: 74, 99, 210 and 247 µs an answer"},
		[]string{"PostgreSQL: a message in the history", micro(c.rowCPU) + ", " + number(c.rowBytes) + " B",
			"1,000 messages/s; size of the table with its indexes"},
		[]string{"PostgreSQL: a login", micro(c.loginSQLCPU), "`chatting bench logins`, all processes of PostgreSQL"},
	)
}

func (d document) limitsTable() string {
	end := func(of design, tooMuch func(plan) bool) string {
		users := d.load.end(of, d.costs, d.machines, tooMuch)
		if users > 9e9 {
			return "–"
		}
		return number(users)
	}
	lines := [][]string{{"limit", "as it is", "50,000 connections a node", "and reads paced", "inboxes, presence by interest"}}
	for _, limit := range []struct {
		name    string
		tooMuch func(plan) bool
	}{
		{"one database does not suffice", func(p plan) bool { return p.sql.count > 1 }},
		{"what others write takes a core of a node's four", func(p plan) bool { return p.nodeCores > d.machines.nodeCores/4 }},
		{"Kafka needs more than 30 brokers of 16 cores", func(p plan) bool { return p.brokers.count > mostBrokers }},
		{"a starting node reads back for a minute", func(p plan) bool { return p.starts > 60 }},
		{"presence fills half of a node's memory", func(p plan) bool { return p.entries*d.costs.entryBytes > d.machines.nodeMemory/2 }},
		{"the logs take a quarter of a node's network", func(p plan) bool { return p.node.bytes > d.machines.link/4 }},
	} {
		line := []string{limit.name}
		for _, of := range []design{asItIs, larger, paced, byWatch} {
			line = append(line, end(of, limit.tooMuch))
		}
		lines = append(lines, line)
	}
	return rows(lines...)
}

func (d document) deathsTable() string {
	lines := [][]string{{
		"clients", "nodes left", "all at once: back after", "within " + seconds(d.load.returns) + ": logins/s",
		"seen offline", "status frames",
	}}
	atOnce := d.load
	atOnce.returns = 0
	for _, row := range [][2]float64{{10_000, 1}, {10_000, 40}, {50_000, 1}, {50_000, 8}} {
		later := d.load.death(d.costs, d.machines, row[0], row[1])
		lines = append(lines, []string{
			number(row[0]), number(row[1]), seconds(atOnce.death(d.costs, d.machines, row[0], row[1]).back),
			number(later.loginRate), number(later.flapping), number(later.statusFrames),
		})
	}
	return rows(lines...)
}

func (d document) designsTable() string {
	lines := [][]string{{
		"users", "design", "nodes", "brokers", "into a node", "presence in a node", "out of Kafka", "between zones", "cores",
		"adds to a message",
	}}
	for _, users := range d.decades {
		if users < 1e7 && len(d.decades) > 1 {
			continue
		}
		for _, of := range []design{asItIs, larger, paced, nearest, inboxes, byWatch, celled(users)} {
			p := d.load.plan(of, d.costs, d.machines, users)
			cores := "–"
			if p.exists() {
				cores = number(d.load.bill(p, d.costs, d.machines).cores())
			} else if of == larger || of == paced || of == nearest {
				continue // they show nothing that the row above does not
			}
			lines = append(lines, []string{
				number(users), of.name, p.nodes.show(), p.brokers.show(), bytes(p.node.bytes) + "/s", bytes(p.entries * d.costs.entryBytes),
				bytes(p.kafkaOut) + "/s", bytes(p.crossZone) + "/s", cores, of.adds,
			})
		}
	}
	return rows(lines...)
}

// number shows two digits that count, or three if the first is 1.
func number(x float64) string {
	if x <= 0 {
		return "0"
	}
	scale := math.Pow(10, math.Floor(math.Log10(x))-1)
	if x/scale < 20 {
		scale /= 10
	}
	x = math.Round(x/scale) * scale
	if x < 100 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(x, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func bytes(x float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"}} {
		if x >= unit.size {
			return number(x/unit.size) + " " + unit.name
		}
	}
	return number(x) + " B"
}

func seconds(x float64) string {
	switch {
	case x >= 3600:
		return number(x/3600) + " h"
	case x >= 60:
		return number(x/60) + " min"
	case x < 0.1:
		return "below 0.1 s"
	}
	return number(x) + " s"
}

func percent(x float64) string { return number(100*x) + "%" }

func micro(x float64) string { return number(x) + " µs" }
