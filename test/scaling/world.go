package main

import (
	"math/rand/v2"

	"chatting/domain"
)

// world is a small installation that is played through second by second: users who come, go and write, and nodes that read
// their logs record by record. It does not know the formulas. Who is online is worked out by the server's own
// domain.Sessions, on each node.
type world struct {
	load   load
	design design
	costs  costs
	random *rand.Rand

	users           []user
	online, offline []int // users; user.index is where
	cells           []*cell
	nodes           []*node
	now             int
	due             map[int][]refresh // sessions to write again, by second
	chats           map[[2]int]*chat
	sent            int // messages so far, which are numbered

	counted             rates // sums since the last reset
	seconds, samples    int   // since then; of entries
	present             int   // the sum of the users online in each second
	doubled, disordered int   // deliveries

	// crash is a second in which bridges and routers fail after they wrote, and before they noted how far they have read.
	crash int
	// forgetful nodes do not know what they have read already.
	forgetful bool
}

// size of a world.
type size struct{ users, nodes, partitions int }

type user struct {
	friends []int
	cell    *cell
	node    *node // nil: offline
	index   int   // in world.online or world.offline
	logins  int
}

type refresh struct{ user, login int }

// chat is a conversation: the number of the last message that each of its two users got.
type chat [2]int

// cell is a Kafka with its nodes.
type cell struct {
	nodes         []*node
	conversations []record // of this second; everybody has read what is older
	sessions      []record
	ends          []int // of the partitions of conversations
	// interest is how many users of this cell who are online watch a user of another one.
	interest []int
	// online is who is, by partition, as the audit and the routers know it.
	online []*domain.Sessions
	// bridgeAgain and routeAgain are records of the second before, after a crash.
	bridgeAgain, routeAgain []record
}

// node is a chat server.
type node struct {
	number   int
	cell     *cell
	zone     int
	inbox    []record
	sessions []*domain.Sessions // by partition
	entries  int                // users online there
	watching []int              // how many users of this node watch a user
	// read is up to where the node has read what was first written to a place.
	read map[place]int
}

// place is a partition of conversations of a cell. Copies keep the place where they were first written.
type place struct {
	cell      *cell
	partition int
}

// record is one of any topic.
type record struct {
	partition    int
	bytes        float64
	from, to, id int // of a message
	place        place
	offset       int // there
	session      domain.SessionRecord
	copied       bool // from another cell
	snapshot     bool // it tells a cell what is so already
}

func newWorld(l load, d design, c costs, s size, seed uint64) *world {
	w := &world{
		load: l, design: d, costs: c, random: rand.New(rand.NewPCG(seed, 0)),
		users: make([]user, s.users), due: make(map[int][]refresh), chats: make(map[[2]int]*chat), crash: -1,
	}
	for range int(d.cells) {
		w.cells = append(w.cells, &cell{
			ends: make([]int, s.partitions), interest: make([]int, s.users), online: newSessions(s.partitions),
		})
	}
	for i := range s.nodes {
		home := w.cells[i%len(w.cells)]
		n := &node{
			number: i, cell: home, zone: i / len(w.cells) % int(zones),
			sessions: newSessions(s.partitions), watching: make([]int, s.users), read: make(map[place]int),
		}
		home.nodes, w.nodes = append(home.nodes, n), append(w.nodes, n)
	}
	for i := range w.users {
		w.users[i] = user{cell: w.cells[i%len(w.cells)], index: len(w.offline)}
		w.offline = append(w.offline, i)
	}
	w.befriend()
	for float64(len(w.online)) < l.online*float64(s.users) {
		w.login(w.offline[w.random.IntN(len(w.offline))], int(w.random.ExpFloat64()*l.session))
	}
	w.read()
	w.reset()
	return w
}

func newSessions(partitions int) []*domain.Sessions {
	all := make([]*domain.Sessions, partitions)
	for i := range all {
		all[i] = domain.NewSessions()
	}
	return all
}

// befriend makes friends of random users.
func (w *world) befriend() {
	crossing := w.load.crossing
	if len(w.cells) == 1 {
		crossing = 0
	}
	for range int(float64(len(w.users)) * w.load.friends / 2) {
		crosses := w.random.Float64() < crossing
		a, b := 0, 0
		for a == b || (w.users[a].cell != w.users[b].cell) != crosses {
			a, b = w.random.IntN(len(w.users)), w.random.IntN(len(w.users))
		}
		w.users[a].friends = append(w.users[a].friends, b)
		w.users[b].friends = append(w.users[b].friends, a)
	}
}

func (w *world) reset() {
	w.counted, w.seconds, w.samples, w.present, w.doubled, w.disordered = rates{}, 0, 0, 0, 0, 0
}

// run plays so many seconds.
func (w *world) run(seconds int) {
	l := w.load
	comes := l.online / (1 - l.online) / l.session // who is offline, in a second
	for range seconds {
		w.now++
		w.seconds++
		for range w.times(float64(len(w.online)) / l.session) {
			w.logout(w.online[w.random.IntN(len(w.online))])
		}
		for range w.times(float64(len(w.offline)) * comes) {
			w.login(w.offline[w.random.IntN(len(w.offline))], 0)
			w.counted.logins++
		}
		for _, r := range w.due[w.now] {
			if u := &w.users[r.user]; u.node != nil && u.logins == r.login {
				w.writeSession(u.cell, domain.SessionUp, r.user, u.node, false)
				w.refreshIn(refreshEvery, r)
			}
		}
		delete(w.due, w.now)
		for range w.times(float64(len(w.online)) * l.messages * l.peak / day / l.online) {
			w.say(w.online[w.random.IntN(len(w.online))])
		}
		for _, n := range w.nodes {
			beat := domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: n.incarnation()}
			w.appendSession(n.cell, record{bytes: w.costs.beatBytes, session: beat})
		}
		w.read()
		w.present += len(w.online)
		if w.now%60 == 0 {
			w.samples++
			for _, n := range w.nodes {
				w.counted.entries += float64(w.known(n)) / float64(len(w.nodes))
			}
		}
	}
}

// perSecond returns the mean of what was counted.
func (w *world) perSecond() rates {
	r, seconds := w.counted, float64(w.seconds)
	for _, sum := range []*float64{&r.messages, &r.logins, &r.transitions, &r.deliveries, &r.statusFrames, &r.egress, &r.crossZone} {
		*sum /= seconds
	}
	for _, sum := range []*stream{&r.conversations, &r.sessions, &r.inboxes, &r.presence, &r.node} {
		*sum = sum.over(seconds)
	}
	r.entries /= float64(w.samples)
	return r
}

// played is the load that chance came to.
func (w *world) played() load {
	l, r, users := w.load, w.perSecond(), float64(len(w.users))
	online := float64(w.present) / float64(w.seconds)
	l.online = online / users
	l.session = online / (r.transitions / 2)
	l.messages = r.messages / users * day / l.peak
	return l
}

// known is how many users a node knows to be online.
func (w *world) known(n *node) int {
	if !w.design.interest {
		return n.entries
	}
	known := 0
	for _, i := range w.online {
		if n.watching[i] > 0 {
			known++
		}
	}
	return known
}

// times is how often something happens in a second that happens so often on average (Poisson).
func (w *world) times(rate float64) int {
	n := 0
	for at := w.random.ExpFloat64(); at < rate; at += w.random.ExpFloat64() {
		n++
	}
	return n
}

func (n *node) incarnation() domain.Incarnation {
	return domain.Incarnation{byte(n.number), byte(n.number >> 8), 1}
}

// login brings a user online whose session is some seconds old.
func (w *world) login(i, age int) {
	u := &w.users[i]
	w.move(i, &w.offline, &w.online)
	u.node = u.cell.nodes[w.random.IntN(len(u.cell.nodes))]
	u.logins++
	w.refreshIn(refreshEvery-age%refreshEvery, refresh{i, u.logins})
	w.writeSession(u.cell, domain.SessionUp, i, u.node, false)
	for _, friend := range u.friends {
		f := &w.users[friend]
		u.node.watching[friend]++
		if f.cell == u.cell {
			continue
		}
		if u.cell.interest[friend]++; u.cell.interest[friend] == 1 && f.node != nil {
			w.writeSession(u.cell, domain.SessionUp, friend, f.node, true)
		}
	}
}

func (w *world) refreshIn(seconds int, r refresh) {
	w.due[w.now+seconds] = append(w.due[w.now+seconds], r)
}

func (w *world) logout(i int) {
	u := &w.users[i]
	w.move(i, &w.online, &w.offline)
	w.writeSession(u.cell, domain.SessionDown, i, u.node, false)
	for _, friend := range u.friends {
		f := &w.users[friend]
		u.node.watching[friend]--
		if f.cell == u.cell {
			continue
		}
		if u.cell.interest[friend]--; u.cell.interest[friend] == 0 && f.node != nil {
			w.writeSession(u.cell, domain.SessionDown, friend, f.node, true)
		}
	}
	u.node = nil
}

// move takes a user out of one list and puts it into the other.
func (w *world) move(i int, from, to *[]int) {
	u := &w.users[i]
	last := len(*from) - 1
	(*from)[u.index] = (*from)[last]
	w.users[(*from)[last]].index = u.index
	*from = (*from)[:last]
	u.index = len(*to)
	*to = append(*to, i)
}

func (w *world) writeSession(c *cell, kind domain.SessionKind, i int, n *node, snapshot bool) {
	w.appendSession(c, record{
		partition: w.partition(uint64(i)), bytes: w.costs.upBytes, copied: snapshot, snapshot: snapshot,
		session: domain.SessionRecord{Kind: kind, Incarnation: n.incarnation(), User: domain.UserID(i + 1), Count: int64(w.users[i].logins)},
	})
}

func (w *world) appendSession(c *cell, r record) {
	c.sessions = append(c.sessions, r)
	w.counted.sessions = w.counted.sessions.plus(stream{1, r.bytes})
}

// partition spreads keys evenly.
func (w *world) partition(key uint64) int {
	const odd = 0x9e3779b97f4a7c15
	return int(key * odd >> 32 % uint64(len(w.cells[0].ends)))
}

// say has a user write to one of its friends who are online.
func (w *world) say(i int) {
	var online []int
	for _, friend := range w.users[i].friends {
		if w.users[friend].node != nil {
			online = append(online, friend)
		}
	}
	if len(online) == 0 {
		return
	}
	to := online[w.random.IntN(len(online))]
	w.sent++
	w.counted.messages++
	low, high := min(i, to), max(i, to)
	home := w.users[low].cell
	p := place{home, w.partition(uint64(low)<<32 | uint64(high))}
	home.ends[p.partition]++
	w.appendMessage(home, record{
		partition: p.partition, bytes: w.costs.messageBytes, from: i, to: to, id: w.sent, place: p, offset: home.ends[p.partition],
	})
}

func (w *world) appendMessage(c *cell, r record) {
	c.conversations = append(c.conversations, r)
	w.counted.conversations = w.counted.conversations.plus(stream{1, r.bytes})
}
