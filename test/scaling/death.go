package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"chatting/domain"
)

// death is what follows when a node ends without a word.
type death struct {
	clients      float64 // that it had
	back         float64 // seconds until the last of them is online again
	loginRate    float64 // on all nodes together, meanwhile
	flapping     float64 // users whom others see offline, and then online again
	statusFrames float64
}

// buried is so many seconds after the end of a node, at most, for others it is dead: invariant 5.
func buried(c costs) float64 { return lease + beatEvery + c.hop }

// logins is how many a node, and the database, can take in a second beside what else they do.
func (m machines) logins(c costs) (node, database float64) {
	return m.nodeCores * m.busy * 1e6 / c.loginCPU, m.sqlCores * m.busy * 1e6 / c.loginSQLCPU
}

// death works out what follows for the other nodes of a cell. Clients come back at any time within load.returns; if that is
// more than the nodes or the database can take, they wait.
func (l load) death(c costs, m machines, clients, others float64) death {
	node, database := m.logins(c)
	d := death{clients: clients, back: max(l.returns, clients/(others*node), clients/database)}
	d.loginRate = clients / d.back
	d.flapping = clients * max(0, 1-buried(c)/d.back)
	d.statusFrames = 2 * d.flapping * l.friends * l.online
	return d
}

// playDeath plays it, client by client.
func (l load) playDeath(c costs, m machines, clients, others int, seed uint64) death {
	random := rand.New(rand.NewPCG(seed, 0))
	arrivals := make([]float64, clients)
	for i := range arrivals {
		arrivals[i] = random.Float64() * l.returns
	}
	slices.Sort(arrivals)

	// The database and every node take one login after the other; an up is in the log when its login ends.
	atNode, atDatabase := m.logins(c)
	type up struct {
		at   float64
		user int
		node domain.Incarnation
	}
	ups := make([]up, clients)
	free, asked := make([]float64, others), 0.0
	for i, at := range arrivals {
		node := random.IntN(others)
		asked = max(at, asked) + 1/atDatabase
		free[node] = max(asked, free[node]) + 1/atNode
		ups[i] = up{free[node], i, domain.Incarnation{byte(node), byte(node >> 8), 2}}
	}
	slices.SortFunc(ups, func(a, b up) int { return cmp.Compare(a.at, b.at) })

	dead := domain.Incarnation{0, 0, 1}
	sessions := domain.NewSessions()
	write := func(kind domain.SessionKind, user int, node domain.Incarnation) int {
		r := domain.SessionRecord{Kind: kind, Incarnation: node, Count: 1}
		if kind == domain.SessionUp {
			r.User = domain.UserID(user + 1)
		}
		return len(sessions.Apply(r, time.Time{}))
	}
	for i := range clients {
		write(domain.SessionUp, i, dead)
	}
	d := death{clients: float64(clients)}
	changes, lives := 0, true
	for _, u := range ups {
		if lives && u.at > buried(c) {
			lives = false
			changes += write(domain.SessionDead, 0, dead)
		}
		changes += write(domain.SessionUp, u.user, u.node)
		d.back = u.at
	}
	d.loginRate = d.clients / d.back
	d.flapping = float64(changes) / 2
	for range changes { // a frame to each friend who is online
		for range int(l.friends) {
			if random.Float64() < l.online {
				d.statusFrames++
			}
		}
	}
	return d
}
