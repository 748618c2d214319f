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
	return appOf(newIdentity(cfg), cfg, logger)
}

func appOf(own identity, cfg configs.Config, logger *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(own, cfg, logger),
		fx.Provide(
			clock, ids, application.NewNotices, application.NewLoginLog, newRates,
			openDataDir, startBroker, newCluster, openStore, newAppenders, newConversations, newSessions, newFlushes,
			newTokens, newRecheckTokens, newS2SToken, newFriendLists,
		),
		useCases,
		fx.Provide(newReadiness, newNodeClock, newByteLedger, newAPI, newSockets, listen, newPlaces, newConnections, newNode),
		fx.Invoke(func(lc fx.Lifecycle, n *node) { lc.Append(fx.Hook{OnStart: n.start, OnStop: n.stop}) }),
	)
}

func clock() application.Clock { return time.Now }

// ids makes UUIDs of version 4: version 7 would tell clients when and in what order other people's events were made.
func ids() application.IDs { return func() domain.EventID { return domain.EventID(uuid.New()) } }

// useCases wires the application: each port is one of the parts.
var useCases = fx.Provide(
	func(cfg configs.Config, store *sqlstore.Store) *application.HidePresence {
		if !cfg.Presence.HideFromBlocked {
			return nil
		}
		return &application.HidePresence{Blocks: store}
	},
	func(hide *application.HidePresence, log *kafka.Conversations, sessions *kafka.Sessions) blockLog {
		return blockLog{hide.Announcing(log, sessions)}
	},
	func(store *sqlstore.Store, log blockLog, now application.Clock) *application.Block {
		return &application.Block{Store: store, Users: store, Log: log, Now: now}
	},
	func(cfg configs.Config, log *kafka.Conversations) *application.Echoes { return newEchoes(cfg, log) },
	newStored,
	func(
		cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, now application.Clock, logger *slog.Logger,
	) *application.HistoryLag {
		return application.NewHistoryLag(store, log, cfg.Kafka.Partitions, now, logger)
	},
	func(
		cfg configs.Config, echoes *application.Echoes, presence *application.SetPresence, stored stored,
		hide *application.HidePresence, now application.Clock, newID application.IDs,
	) *application.SendMessage {
		return &application.SendMessage{
			Log: echoes, Online: presence, Now: now, NewID: newID, Stored: stored.to, Mailboxes: stored.mailboxes,
			EscapeHTML: cfg.Chat.HTMLEscape, Hide: hide,
		}
	},
	application.NewInvites,
	func(
		cfg configs.Config, echoes *application.Echoes, presence *application.SetPresence, invites *application.Invites,
		hide *application.HidePresence, now application.Clock, newID application.IDs,
	) *application.Invite {
		return &application.Invite{
			Log: echoes, Online: presence, Invites: invites, Now: now, NewID: newID, Life: cfg.Invite.ExpiresAfter,
			Hide: hide,
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
		own identity, cfg configs.Config, sessions *kafka.Sessions, store *sqlstore.Store,
		now application.Clock, newID application.IDs, notices *application.Notices,
	) *application.SetPresence {
		presence := application.NewSetPresence(sessions, now, own.first(newID), presenceTimes(cfg), notices)
		presence.Name = own.node
		presence.Forgotten = store.LookUpAgain
		presence.HidesFromBlocked = cfg.Presence.HideFromBlocked
		return presence
	},
	func(
		cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, blocks blockLog, sessions *kafka.Sessions,
		now application.Clock, logger *slog.Logger,
	) *application.EraseUser {
		return &application.EraseUser{
			Eraser: store, Blocks: store, Log: blocks, Sessions: sessions, Ends: log, Projected: store, Partitions: cfg.Kafka.Partitions,
			Now: now, Logger: logger,
		}
	},
	func(cfg configs.Config, store *sqlstore.Store, sessions *kafka.Sessions) *application.Friends {
		if cfg.DropIn() {
			return nil // the user-management service keeps them
		}
		return &application.Friends{Store: store, Sessions: sessions}
	},
	func(
		store *sqlstore.Store, presence *application.SetPresence, hide *application.HidePresence,
	) *application.IsOnline {
		return &application.IsOnline{Users: store, Presence: presence, Hide: hide}
	},
	func(tokens application.Tokens, store *sqlstore.Store, notices *application.Notices) *application.Authenticate {
		return &application.Authenticate{Tokens: tokens, Users: store, Notices: notices}
	},
	func(
		echoes *application.Echoes, invites *application.Invites, store *sqlstore.Store, notices *application.Notices,
	) *application.Delivery {
		delivery := application.NewDelivery(echoes, invites, notices)
		delivery.Versions = store
		return delivery
	},
	func(
		cfg configs.Config, authenticate *application.Authenticate, recheck *application.RecheckTokens,
		store *sqlstore.Store, friends application.FriendLists, log *kafka.Conversations, blocks blockLog,
		delivery *application.Delivery, presence *application.SetPresence, hide *application.HidePresence, stored stored, rates rates,
		notices *application.Notices,
	) *application.Login {
		return &application.Login{
			Authenticate: authenticate, Blocks: store, Log: blocks, Friends: friends, Hide: hide, Ends: log, Delivery: delivery, Presence: presence,
			Stored: stored.messages, MaxPerUser: cfg.Limit.ConnectionsPerUser, Rate: rates.userLogins, Notices: notices,
			Recheck: recheck,
		}
	},
	func(
		store *sqlstore.Store, log blockLog, now application.Clock, logger *slog.Logger,
	) *application.RelayBlocks {
		return &application.RelayBlocks{Outbox: store, Log: log, Now: now, Every: relayEvery, Logger: logger}
	},
	func(cfg configs.Config, store *sqlstore.Store, presence *application.SetPresence, logger *slog.Logger) *application.ExpireHistory {
		return &application.ExpireHistory{
			Store: store, Clock: store, LogTime: presence.LogTime, Retention: cfg.History.Retention, Every: expireEvery, Logger: logger,
		}
	},
	func(
		cfg configs.Config, presence *application.SetPresence, store *sqlstore.Store, friends application.FriendLists,
		hide *application.HidePresence,
	) *application.FriendRefresh {
		refresh := &application.FriendRefresh{
			Presence: presence, Users: store, Lists: friends, Hide: hide, Retry: refreshRetry, AtATime: refreshAtATime,
		}
		if cfg.DropIn() {
			refresh.AtATime = max(1, cfg.UserManagement.Concurrency/2) // the others are for logins
			refresh.MaxAge = cfg.UserManagement.FriendsReload
		}
		return refresh
	},
)

func newEchoes(cfg configs.Config, log application.ConversationLog) *application.Echoes {
	return application.NewEchoes(log, cfg.Kafka.AppendDeadline)
}

func presenceTimes(cfg configs.Config) application.PresenceTimes {
	times := application.DefaultPresenceTimes
	times.Lease = cfg.Presence.Lease
	return times
}

// blockLog is where changes of blocks are published.
type blockLog struct{ application.ConversationLog }

// stored is what chat.offline: store needs; empty with reject.
type stored struct {
	to        application.KnownUsers
	messages  *application.StoredMessages
	mailboxes *application.Mailboxes
}

func newStored(
	cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, flushes *kafka.HistoryFlushes, logger *slog.Logger,
) stored {
	if cfg.Chat.Offline != configs.OfflineStore {
		return stored{}
	}
	return stored{
		to:        store,
		messages:  application.NewStoredMessages(store, store, followedLog(cfg, store, log, flushes), logger),
		mailboxes: application.NewMailboxes(store, mailboxBounds(cfg)),
	}
}

func mailboxBounds(cfg configs.Config) application.MailboxBounds {
	return application.MailboxBounds{
		Messages: cfg.Chat.OfflineMessagesPerSender, Bytes: int64(cfg.Chat.OfflineBytesPerSender),
	}
}

// followedLog is the log as the history follows it.
func followedLog(
	cfg configs.Config, store *sqlstore.Store, log *kafka.Conversations, flushes *kafka.HistoryFlushes,
) application.FollowedLog {
	return application.FollowedLog{
		Projected: store, Ends: log.Readable(), Partitions: cfg.Kafka.Partitions, Flush: flushes,
	}
}

const (
	relayEvery   = 5 * time.Second
	expireEvery  = time.Minute
	refreshRetry = 5 * time.Second
	// refreshAtATime is how many lists are loaded from the database at a time: few of its connections.
	refreshAtATime = 4
)
