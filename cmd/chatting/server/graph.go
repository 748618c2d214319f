package server

import (
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.uber.org/fx"

	"chatting/adapters/kafka"
	"chatting/adapters/sqlstore"
	"chatting/application"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/cmd/chatting/servicemanager"
	"chatting/configs"
	"chatting/domain"
)

// graph lists the constructors of all parts. Constructors open files, listeners and connections. The node starts the parts, and
// closes what was opened. If a constructor fails, there is no node to do so: the process ends with what is open, as a kill may end
// it at any time.
func graph(own identity, cfg configs.Config, logger *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(own, cfg, logger),
		fx.Provide(
			clock, ids, notice.NewLog, application.NewLoginLog, newObservers, newTracing, newTraces,
			// The brokers, the database, and what is written to them.
			lockDataDir, startBroker, newCluster, openStore, newInstallation, newAppenders, newConversations, newSessions,
			newFlushes,
			// The use cases.
			newTokens, newActs, newModeration, newBlocks, newPresence, newTextHook, newMessages, newInvites, newHistory, newLogins,
			// The transports.
			newAnnounce, newActivity,
			newS2SToken, newRates, newByteLedger, newPlaces, listen, listenMetrics, newConnections, newAPI, newSockets, newSite,
			// What the node itself does.
			newReadiness, newNodeClock, newTails, newConsumers, servicemanager.New, newNode,
		),
		fx.Invoke(func(lc fx.Lifecycle, n *node) { lc.Append(fx.Hook{OnStart: n.start, OnStop: n.stop}) }),
		fx.Invoke(readState),
	)
}

// common are what many constructors need.
type common struct {
	fx.In

	Config   configs.Config
	Store    *sqlstore.Store
	Log      *kafka.Conversations
	Sessions *kafka.Sessions
	Notices  *notice.Log
	Now      port.Clock
	NewID    port.IDs
	Logger   *slog.Logger
	// Observers are what parts report to.
	Observers observers
	// Traces have the spans of parts.
	Traces port.Traces
}

func clock() port.Clock { return time.Now }

// ids makes UUIDs of version 4: version 7 would tell clients when and in what order other people's events were made.
func ids() port.IDs { return func() domain.EventID { return domain.EventID(uuid.New()) } }
