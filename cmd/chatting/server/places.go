package server

import (
	"log/slog"

	"chatting/adapters/httpconn"
	"chatting/configs"
)

// places says how many connections of each kind a node takes, so that files are left for its other uses.
type places struct {
	requests, reserve int // of HTTP, see httpconn.Options
	sockets           int // WebSocket connections; 0 means no cap
}

// workers is how many connections the HTTP server may have at once: more than there are places, because a connection that was
// closed to make room keeps its worker for a moment.
func (p places) workers() int { return 4 * (p.requests + p.reserve) }

const (
	// leastOwnFiles is how many files at least are kept for the database, Kafka, and what else a node opens.
	leastOwnFiles = 256
	// ofFiles says which part of all files these are at least, and which part of the rest HTTP has at least.
	ownPart, httpPart = 8, 4
)

// placesFor shares the files of the process out. files is how many it may have open, 0 for any number. sockets is the
// configured cap on WebSocket connections.
func placesFor(files uint64, sockets int) places {
	p := places{requests: httpconn.DefaultRequests, reserve: httpconn.DefaultReserve, sockets: sockets}
	const plenty = 1 << 30
	if files == 0 || files > plenty {
		return p
	}
	all := int(files)
	rest := all - min(max(leastOwnFiles, all/ownPart), all/2)
	most := rest - min(p.requests+p.reserve, rest/httpPart)
	if p.sockets == 0 || p.sockets > most {
		p.sockets = max(1, most)
	}
	http := min(p.requests+p.reserve, rest-p.sockets)
	p.reserve = max(1, min(p.reserve, http/4))
	p.requests = max(1, http-p.reserve)
	return p
}

func newPlaces(cfg configs.Config, logger *slog.Logger) places {
	p := placesFor(openFiles(), cfg.Limit.Connections)
	if p.sockets < cfg.Limit.Connections {
		logger.Warn("the limit on open files (ulimit -n) leaves room for fewer WebSocket connections than configured",
			"files", openFiles(), "connections", p.sockets, "configured", cfg.Limit.Connections)
	}
	return p
}
