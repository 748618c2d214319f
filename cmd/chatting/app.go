package main

import (
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.uber.org/fx"

	"chatting/adapters/kafka"
	sqlstore "chatting/adapters/sql"
	"chatting/application"
	"chatting/configs"
	"chatting/domain"
)

// app is the graph of a server: the parts, the use cases, the transports, and the node that runs them.
func app(cfg configs.Config, logger *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(cfg, logger),
		fx.Provide(
			clock, ids,
			openDataDir, startBroker, newCluster, openStore, newAppenders, newConversations, newSessions,
			newTokens, newFriendLists,
		),
		useCases,
		fx.Provide(newReadiness, newByteLedger, newAPI, newSockets, listen, newNode),
		fx.Invoke(func(lc fx.Lifecycle, n *node) { lc.Append(fx.Hook{OnStart: n.start, OnStop: n.stop}) }),
	)
}

func clock() application.Clock { return time.Now }

// ids makes UUIDs of version 4: version 7 would tell clients when and in what order other people's events were made.
func ids() application.IDs { return func() domain.EventID { return domain.EventID(uuid.New()) } }

// useCases wires the application: each port is one of the parts.
var useCases = fx.Provide(
	func(
		store *sqlstore.Store, log *kafka.Conversations, now application.Clock, newID application.IDs,
	) *application.Block {
		return &application.Block{Store: store, Users: store, Log: log, Now: now, NewID: newID}
	},
	func(cfg configs.Config, log *kafka.Conversations) *application.Echoes {
		return application.NewEchoes(log, cfg.Kafka.AppendDeadline)
	},
	newStored,
	func(
		cfg configs.Config, echoes *application.Echoes, presence *application.SetPresence, stored stored,
		now application.Clock, newID application.IDs,
	) *application.SendMessage {
		return &application.SendMessage{
			Log: echoes, Online: presence, Now: now, NewID: newID, Stored: stored.to, EscapeHTML: cfg.Chat.HTMLEscape,
		}
	},
	application.NewInvites,
	func(
		cfg configs.Config, echoes *application.Echoes, presence *application.SetPresence, invites *application.Invites,
		now application.Clock, newID application.IDs,
	) *application.Invite {
		return &application.Invite{
			Log: echoes, Online: presence, Invites: invites, Now: now, NewID: newID, Life: cfg.Invite.ExpiresAfter,
		}
	},
	func(
		invites *application.Invites, log *kafka.Conversations, now application.Clock, newID application.IDs,
	) *application.ExpireInvites {
		return &application.ExpireInvites{Invites: invites, Log: log, Now: now, Salt: int(newID()[0])}
	},
	func(
		log *kafka.Conversations, presence *application.SetPresence, stored stored, now application.Clock, newID application.IDs,
	) *application.SendSystemMessage {
		return &application.SendSystemMessage{Log: log, Online: presence, Now: now, NewID: newID, Stored: stored.to}
	},
	func(
		cfg configs.Config, sessions *kafka.Sessions, store *sqlstore.Store,
		now application.Clock, newID application.IDs, logger *slog.Logger,
	) *application.SetPresence {
		times := application.DefaultPresenceTimes
		times.Lease = cfg.Presence.Lease
		presence := application.NewSetPresence(sessions, now, newID, times, logger)
		presence.Forgotten = store.LookUpAgain
		return presence
	},
	func(
		cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, sessions *kafka.Sessions,
		now application.Clock, newID application.IDs, logger *slog.Logger,
	) *application.EraseUser {
		return &application.EraseUser{
			Eraser: store, Blocks: store, Log: log, Sessions: sessions, Ends: log, Projected: store, Partitions: cfg.Kafka.Partitions,
			Now: now, NewID: newID, Logger: logger,
		}
	},
	func(store *sqlstore.Store, presence *application.SetPresence) *application.IsOnline {
		return &application.IsOnline{Users: store, Presence: presence}
	},
	func(tokens application.Tokens, store *sqlstore.Store) *application.Authenticate {
		return &application.Authenticate{Tokens: tokens, Users: store}
	},
	func(echoes *application.Echoes, invites *application.Invites, logger *slog.Logger) *application.Delivery {
		return application.NewDelivery(echoes, invites, logger)
	},
	func(
		cfg configs.Config, authenticate *application.Authenticate, store *sqlstore.Store, friends application.FriendLists,
		log *kafka.Conversations, delivery *application.Delivery, presence *application.SetPresence, stored stored,
		logger *slog.Logger,
	) *application.Login {
		return &application.Login{
			Authenticate: authenticate, Blocks: store, Log: log, Friends: friends, Ends: log, Delivery: delivery, Presence: presence,
			Logger: logger, Stored: stored.messages, MaxPerUser: cfg.Limit.ConnectionsPerUser,
		}
	},
	func(
		store *sqlstore.Store, log *kafka.Conversations, now application.Clock, logger *slog.Logger,
	) *application.RelayBlocks {
		return &application.RelayBlocks{Outbox: store, Log: log, Now: now, Every: relayEvery, Logger: logger}
	},
	func(cfg configs.Config, store *sqlstore.Store, now application.Clock, logger *slog.Logger) *application.ExpireHistory {
		return &application.ExpireHistory{
			Store: store, Retention: cfg.History.Retention, Now: now, Every: expireEvery, Logger: logger,
		}
	},
	func(
		cfg configs.Config, presence *application.SetPresence, store *sqlstore.Store, friends application.FriendLists,
	) *application.FriendRefresh {
		refresh := &application.FriendRefresh{Presence: presence, Users: store, Lists: friends, Retry: refreshRetry}
		if cfg.DropIn() {
			refresh.MaxAge = cfg.UserManagement.FriendsReload
		}
		return refresh
	},
)

// stored is what chat.offline: store needs; empty with reject.
type stored struct {
	to       application.KnownUsers
	messages *application.StoredMessages
}

func newStored(cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, logger *slog.Logger) stored {
	if cfg.Chat.Offline != configs.OfflineStore {
		return stored{}
	}
	return stored{to: store, messages: application.NewStoredMessages(store, store, log, cfg.Kafka.Partitions, logger)}
}

const (
	relayEvery   = 5 * time.Second
	expireEvery  = time.Minute
	refreshRetry = 5 * time.Second
)
