package main

import (
	"time"

	"chatting/domain"
)

// read has everybody read what was written in this second: first the bridges, which write to other cells, then the routers,
// which write to inboxes, then the nodes.
func (w *world) read() {
	if len(w.cells) > 1 {
		for _, c := range w.cells {
			w.bridge(c)
		}
	}
	for _, c := range w.cells {
		w.readOnce(c)
		w.route(c)
		for _, n := range c.nodes {
			w.readAll(n)
		}
	}
	for _, c := range w.cells {
		c.conversations, c.sessions = nil, nil
	}
}

// bridge copies to other cells what concerns them.
func (w *world) bridge(c *cell) {
	written := c.conversations
	for _, r := range append(c.bridgeAgain, written...) {
		if r.copied {
			continue
		}
		for _, side := range []int{r.from, r.to} {
			if other := w.users[side].cell; other != c {
				r.copied, r.bytes = true, w.costs.messageBytes+w.costs.sourceBytes
				w.appendMessage(other, r)
			}
		}
	}
	if c.bridgeAgain = nil; w.now == w.crash {
		c.bridgeAgain = written
	}
	for _, r := range c.sessions {
		if r.copied || r.session.User == 0 {
			continue
		}
		r.copied = true
		for _, other := range w.cells {
			if other != c && other.interest[r.session.User-1] > 0 {
				w.appendSession(other, r)
			}
		}
	}
}

// readOnce counts what the groups of consumers read: the history, the audit, and the bridge.
func (w *world) readOnce(c *cell) {
	for _, r := range append(c.conversations[:len(c.conversations):len(c.conversations)], c.sessions...) {
		w.send(r, leaderZone(r.partition), w.anyZone())
		if len(w.cells) > 1 {
			w.send(r, leaderZone(r.partition), w.anyZone())
		}
	}
}

// route is what the audit and the routers do with the records of a cell.
func (w *world) route(c *cell) {
	for _, r := range c.sessions {
		if w.design.inboxes {
			for router := range int(w.design.routers) {
				w.send(r, leaderZone(r.partition), router%int(zones))
			}
		}
		for _, change := range c.online[r.partition].Apply(r.session, time.Time{}) {
			if !r.copied {
				w.counted.transitions++
				w.counted.presence = w.counted.presence.plus(stream{1, w.costs.presenceBytes})
			}
			if w.design.interest {
				w.notify(c, r, change)
			}
		}
	}
	if !w.design.inboxes {
		return
	}
	for _, r := range c.conversations {
		w.send(r, leaderZone(r.partition), w.anyZone())
	}
	written := c.conversations
	for _, r := range append(c.routeAgain, written...) {
		r.bytes = w.costs.messageBytes + w.costs.sourceBytes
		from, to := w.users[r.from].node, w.users[r.to].node
		if from != nil && from.cell == c {
			w.toInbox(from, r)
		}
		if to != nil && to.cell == c && to != from {
			w.toInbox(to, r)
		}
	}
	if c.routeAgain = nil; w.now == w.crash {
		c.routeAgain = written
	}
}

// notify tells those nodes of a cell of a change whose users watch the user.
func (w *world) notify(c *cell, r record, change domain.Transition) {
	for _, n := range c.nodes {
		if n.watching[change.User-1] > 0 {
			r.bytes = w.costs.noticeBytes
			w.toInbox(n, r)
		}
	}
}

func (w *world) toInbox(n *node, r record) {
	n.inbox = append(n.inbox, r)
	w.counted.inboxes = w.counted.inboxes.plus(stream{1, r.bytes})
}

// readAll has a node read what its design says.
func (w *world) readAll(n *node) {
	if !w.design.inboxes {
		for _, r := range n.cell.conversations {
			w.toNode(n, r, leaderZone(r.partition))
			w.readMessage(n, r)
		}
	}
	if !w.design.interest {
		for _, r := range n.cell.sessions {
			w.toNode(n, r, leaderZone(r.partition))
			for _, change := range n.sessions[r.partition].Apply(r.session, time.Time{}) {
				if n.entries--; change.Online {
					n.entries += 2
				}
				w.tell(n, r, change.User)
			}
		}
	}
	for _, r := range n.inbox {
		w.toNode(n, r, w.anyZone())
		if r.session.User == 0 {
			w.readMessage(n, r)
		} else {
			w.tell(n, r, r.session.User)
		}
	}
	n.inbox = nil
}

// tell counts the status frames of a change. A snapshot is no news: it comes with the login that asks for it.
func (w *world) tell(n *node, r record, changed domain.UserID) {
	if !r.snapshot {
		w.counted.statusFrames += float64(n.watching[changed-1])
	}
}

// readMessage delivers a message to those of its users who are here, once.
func (w *world) readMessage(n *node, r record) {
	if r.offset <= n.read[r.place] && !w.forgetful {
		return
	}
	n.read[r.place] = max(r.offset, n.read[r.place])
	key := [2]int{min(r.from, r.to), max(r.from, r.to)}
	for side, i := range key {
		if w.users[i].node != n {
			continue
		}
		got := w.chats[key]
		if got == nil {
			got = &chat{}
			w.chats[key] = got
		}
		w.counted.deliveries++
		switch {
		case r.id == got[side]:
			w.doubled++
		case r.id < got[side]:
			w.disordered++
		}
		got[side] = r.id
	}
}

func leaderZone(partition int) int { return partition % int(zones) }

// anyZone is where the one member of a group is that reads a partition, or the leader of a node's inbox.
func (w *world) anyZone() int { return w.random.IntN(int(zones)) }

func (w *world) toNode(n *node, r record, from int) {
	w.send(r, from, n.zone)
	w.counted.node = w.counted.node.plus(stream{1, r.bytes}.over(float64(len(w.nodes))))
}

// send counts a record that Kafka sends to a reader.
func (w *world) send(r record, from, to int) {
	w.counted.egress += r.bytes
	if from != to && !w.design.nearest {
		w.counted.crossZone += r.bytes
	}
}
