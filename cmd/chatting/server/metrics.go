package server

import (
	"context"
	"database/sql"
	"log/slog"
	"net"
	"strconv"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/httpconn"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/ingest"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/metrics"
	"chatting/adapters/rest"
	"chatting/adapters/sqlstore/database"
	"chatting/adapters/tracing"
	"chatting/adapters/ws"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/moderation"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
)

// observers are what the parts of a node report to. All are nil if metrics are off: then nobody measures anything.
type observers struct {
	metrics *metrics.Metrics

	sockets    ws.Observer
	requests   rest.Observer
	appends    func(topic string) appending.AppendObserver // never nil
	deliveries kafka.DeliveryObserver
	letters    ingest.Observer
	database   database.Observer
	platform   moderation.Observer
	texts      messaging.TextObserver
}

func newObservers(own identity, cfg configs.Config) observers {
	o := observers{appends: func(string) appending.AppendObserver { return nil }}
	if !cfg.Metrics.Enabled {
		return o
	}
	m := metrics.New(own.version)
	log := m.Log()
	return observers{
		metrics: m, sockets: m.Sockets(), requests: m.Requests(), deliveries: m.Deliveries(), letters: m.Letters(),
		platform: m.Platform(), texts: m.Texts(), database: m.Queries(),
		appends: func(topic string) appending.AppendObserver { return log.To(topic) },
	}
}

// listenMetrics opens the listener of the metrics; the server is nil if they are off.
func listenMetrics(cfg configs.Config, o observers, logger *slog.Logger) (*metrics.Server, error) {
	if o.metrics == nil {
		return nil, nil //nolint:nilnil // nil is a listener that is switched off
	}
	ctx, cancel := context.WithTimeout(context.Background(), installation.OpenTimeout)
	defer cancel()
	addr := cfg.Metrics.Addr.String()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError("metrics.addr", addr, err)
	}
	options := metricsOptions(cfg)
	options.Logger = logger
	return o.metrics.Serve(listener, options), nil
}

func metricsOptions(cfg configs.Config) metrics.ServerOptions {
	return metrics.ServerOptions{Pprof: cfg.Metrics.Pprof}
}

// measured are the parts whose state is read at each scrape.
type measured struct {
	fx.In

	Observers   observers
	Common      common
	Cluster     *logclient.Cluster
	Appenders   appenders
	Connections *httpconn.Listener
	API         *rest.API
	Sockets     *ws.Server
	Rates       rates
	Places      places
	Bytes       *ledger.ByteLedger
	Blocks      blockParts
	Presence    presenceParts
	History     historyParts
	Readiness   *readiness
	Tracing     *tracing.Tracing
}

// readState has the state of the parts read at each scrape. Nothing of it waits for a broker or the database.
func readState(p measured) {
	m := p.Observers.metrics
	if m == nil {
		return
	}
	m.Read(metrics.Ready, metrics.Known(func() int { return flag(p.Readiness.isOpen()) }))
	p.readSockets(m)
	p.readLimits(m)
	p.readLog(m)
	p.readHistory(m)
	p.readPresence(m)
	p.readDatabase(m)
	p.readTracing(m)
}

// flag is 1 for true.
func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func (p measured) readSockets(m *metrics.Metrics) {
	counts := p.Sockets.Counts()
	m.Read(metrics.Connections, metrics.Known(func() int { login, _ := counts.Connections(); return login }), "login")
	m.Read(metrics.Connections, metrics.Known(func() int { _, open := counts.Connections(); return open }), "open")
	m.Read(metrics.ConnectionsLimit, metrics.Known(func() int { return p.Places.sockets }))
	for _, how := range ws.Closings() {
		m.Read(metrics.ConnectionsClosed, metrics.Known(func() uint64 { return counts.Closed(how) }), strconv.Itoa(how.Code), how.Reason)
	}
	m.Read(metrics.Resumes, metrics.Known(func() uint64 { recovered, _ := counts.Resumes(); return recovered }), "recovered")
	m.Read(metrics.Resumes, metrics.Known(func() uint64 { _, not := counts.Resumes(); return not }), "not_recovered")
	m.Read(metrics.HeldBytes, metrics.Known(p.Bytes.Held))
	m.Read(metrics.HeldLimit, metrics.Known(func() int { return p.Common.Config.Limit.OutboundBytes }))
}

func (p measured) readLimits(m *metrics.Metrics) {
	counts := p.Sockets.Counts()
	for limit, refused := range map[string]func() uint64{
		"frames_per_second":         func() uint64 { return counts.Refusals().ConnectionFrames },
		"user_frames_per_second":    p.Rates.userFrames.Refused,
		"user_writes_per_second":    p.Rates.userWrites.Refused,
		"user_logins_per_second":    p.Rates.userLogins.Refused,
		"address_logins_per_second": p.Rates.addressLogins.rate.Refused,
		"connections":               func() uint64 { return counts.Refusals().Connections },
		"connections_per_user":      func() uint64 { return counts.Refusals().OfUser },
		"connections_per_address":   func() uint64 { return counts.Refusals().OfAddress },
		"address_http_connections":  p.Connections.RefusedOfAddress,
		"user_concurrent_requests":  func() uint64 { return p.API.Refusals().UserConcurrency },
		"inbound_bytes":             func() uint64 { return p.API.Refusals().InboundBytes },
		"user_outbound_bytes":       func() uint64 { return p.Bytes.Refusals().User },
		"outbound_bytes":            func() uint64 { return p.Bytes.Refusals().Sum },
	} {
		m.Read(metrics.Refusals, metrics.Known(refused), limit)
	}
}

func (p measured) readLog(m *metrics.Metrics) {
	for topic, appender := range map[string]*appending.Appender{
		"conversations": p.Appenders.conversations, "sessions": p.Appenders.sessions, "presence": p.Appenders.presence,
		"dead_letters": p.Appenders.deadLetters, "audit": p.Appenders.audit,
	} {
		m.Read(metrics.AppendQueueBytes, metrics.Known(appender.Queued), topic)
		m.Read(metrics.AppendQueueLimit, metrics.Known(func() int { return appendQueueBytes }), topic)
		m.Read(metrics.AppendStuck, metrics.Known(func() int { return flag(appender.Stuck()) }), topic)
	}
	for i, topic := range []string{"sessions", "conversations"} {
		m.Read(metrics.TailLagRecords, func() (float64, bool) {
			lag, known := p.Readiness.lag(i)
			return float64(lag.Records), known
		}, topic)
		m.Read(metrics.TailLagSeconds, func() (float64, bool) {
			lag, known := p.Readiness.lag(i)
			return time.Since(lag.ReadToEnd).Seconds(), known
		}, topic)
	}
	for kind, failed := range map[string]func(logclient.Failures) uint64{
		"unreachable": func(f logclient.Failures) uint64 { return f.Unreachable },
		"timeout":     func(f logclient.Failures) uint64 { return f.Timeout },
		"broken":      func(f logclient.Failures) uint64 { return f.Broken },
		"refused":     func(f logclient.Failures) uint64 { return f.Refused },
	} {
		m.Read(metrics.BrokerErrors, metrics.Known(func() uint64 { return failed(p.Cluster.Failures()) }), kind)
	}
	for _, group := range []string{"history", "presence-audit", "system-messages"} {
		m.Read(metrics.GroupMember, func() (float64, bool) {
			for _, state := range p.Cluster.Groups() {
				if state.Group == p.Common.Config.TopicPrefix+"."+group {
					return float64(flag(state.Joined)), true
				}
			}
			return 0, false
		}, group)
	}
}

func (p measured) readHistory(m *metrics.Metrics) {
	m.Read(metrics.OutboxPending, metrics.Known(p.Blocks.Relay.Found))
	if !p.Common.Config.History.Enabled {
		return
	}
	lag := p.History.Lag
	m.Read(metrics.HistoryLagRecords, func() (float64, bool) {
		state := lag.State()
		return float64(state.Records), state.Known
	})
	m.Read(metrics.HistoryStill, func() (float64, bool) {
		state := lag.State()
		if state.StandsStillSince.IsZero() {
			return 0, state.Known
		}
		return p.Common.Now().Sub(state.StandsStillSince).Seconds(), true
	})
}

func (p measured) readPresence(m *metrics.Metrics) {
	set := p.Presence.Set
	m.Read(metrics.Users, metrics.Known(func() int { return set.Stats().Users }))
	m.Read(metrics.WatchedUsers, metrics.Known(func() int { return set.Stats().Watched }))
	m.Read(metrics.NodesAlive, metrics.Known(func() int { return set.Stats().Nodes }))
	m.Read(metrics.NodeBurials, metrics.Known(func() uint64 { return set.Stats().Burials }))
	m.Read(metrics.Rebirths, metrics.Known(func() uint64 { return set.Stats().Rebirths }))
}

func (p measured) readTracing(m *metrics.Metrics) {
	if p.Tracing == nil {
		return
	}
	for outcome, count := range map[string]func(tracing.Counts) uint64{
		"sent":    func(c tracing.Counts) uint64 { return c.Sent },
		"failed":  func(c tracing.Counts) uint64 { return c.Failed },
		"dropped": func(c tracing.Counts) uint64 { return c.Dropped },
	} {
		m.Read(metrics.Spans, metrics.Known(func() uint64 { return count(p.Tracing.Counts()) }), outcome)
	}
}

func (p measured) readDatabase(m *metrics.Metrics) {
	for _, pool := range []string{"read", "write"} {
		stats := func() (state sql.DBStats, known bool) {
			read, write, two := p.Common.Store.Pools()
			if pool == "read" {
				return read, two
			}
			return write, true
		}
		value := func(of func(sql.DBStats) float64) func() (float64, bool) {
			return func() (float64, bool) {
				state, known := stats()
				return of(state), known
			}
		}
		m.Read(metrics.DatabaseConnections, value(func(s sql.DBStats) float64 { return float64(s.Idle) }), pool, "idle")
		m.Read(metrics.DatabaseConnections, value(func(s sql.DBStats) float64 { return float64(s.InUse) }), pool, "in_use")
		m.Read(metrics.DatabaseLimit, value(func(s sql.DBStats) float64 { return float64(s.MaxOpenConnections) }), pool)
		m.Read(metrics.DatabaseWaits, value(func(s sql.DBStats) float64 { return float64(s.WaitCount) }), pool)
		m.Read(metrics.DatabaseWaitSeconds, value(func(s sql.DBStats) float64 { return s.WaitDuration.Seconds() }), pool)
	}
}
