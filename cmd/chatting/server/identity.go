package server

import (
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/google/uuid"

	"chatting/application/port"
	"chatting/configs"
	"chatting/domain"
)

// identity is the name of a node, which it keeps, its version, and its first incarnation.
type identity struct {
	node        string
	version     string // "" if nobody said
	incarnation domain.Incarnation
}

// newIdentity names a node by its machine and port, and takes an incarnation.
func newIdentity(cfg configs.Config) identity {
	host, err := os.Hostname()
	if host = domain.NodeName(host); err != nil || host == "" {
		host = "localhost"
	}
	if port := cfg.HTTP.Addr.Port(); port != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return identity{node: host, incarnation: domain.Incarnation(uuid.New())}
}

// first returns ids that begin with the incarnation.
func (i identity) first(ids port.IDs) port.IDs {
	taken := false
	return func() domain.EventID {
		if taken {
			return ids()
		}
		taken = true
		return domain.EventID(i.incarnation)
	}
}

func (i identity) attrs(incarnation domain.Incarnation) []any {
	return []any{slog.String("node", i.node), slog.String("incarnation", incarnation.String())}
}
