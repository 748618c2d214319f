package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/auth"
	rest "chatting/adapters/http"
	"chatting/adapters/httpconn"
	"chatting/adapters/kafka"
	sqlstore "chatting/adapters/sql"
	"chatting/adapters/ws"
	"chatting/application"
	"chatting/configs"
	"chatting/domain"
)

// node is what runs: the transports, the tails and the background work, in their order of starting and stopping.
type node struct {
	parts nodeParts

	topics kafka.TopicNames
	// database is the id of the database, once it is prepared.
	database string
	// background is everything that runs until the sockets are closed and the sessions buried, and the HTTP server.
	background *supervisor
	cancel     context.CancelFunc
}

// nodeParts are the parts that a node runs.
type nodeParts struct {
	fx.In

	Identity identity
	Config   configs.Config
	Logger   *slog.Logger
	Notices  *application.Notices
	Logins   *application.LoginLog
	// Listener is the port, and Connections what is accepted there.
	Listener    net.Listener
	Connections *httpconn.Listener
	Keys        *auth.Verifier // nil in drop-in mode
	API         *rest.API
	Sockets     *ws.Server
	Broker      broker
	Cluster     *kafka.Cluster
	Store       *sqlstore.Store
	Appenders   appenders
	Log         *kafka.Conversations
	Delivery    *application.Delivery
	Echoes      *application.Echoes
	Presence    *application.SetPresence
	System      *application.SendSystemMessage
	Stored      stored
	Relay       *application.RelayBlocks

	ExpireInvites *application.ExpireInvites
	Refresh       *application.FriendRefresh
	Friends       *application.Friends // nil in drop-in mode
	Expire        *application.ExpireHistory
	HistoryLag    *application.HistoryLag
	Flushes       *kafka.HistoryFlushes
	Recheck       *application.RecheckTokens
	Readiness     *readiness
	Clock         *nodeClock
	Shutdown      fx.Shutdowner
}

func newNode(parts nodeParts) (*node, error) {
	if err := parts.Sockets.Mount(parts.API.App()); err != nil {
		return nil, err
	}
	n := &node{parts: parts, topics: kafka.NamesFor(parts.Config.TopicPrefix)}
	n.background = &supervisor{logger: parts.Logger, fail: n.fail}
	return n, nil
}

// start serves at once, though until the node is ready only the health paths, and gets ready in the background: a broker
// that is away is waited for; a database that is away ends the process.
func (n *node) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	parts := n.background
	parts.startEndless(ctx, "held back log lines", n.parts.Notices.Run)
	parts.startEndless(ctx, "the counts of logins", n.parts.Logins.Run)
	parts.start(ctx, "serving HTTP", func(context.Context) error {
		return n.parts.API.App().Listener(n.parts.Sockets.WrapListener(n.parts.Connections))
	})
	parts.watch(ctx, "the keeper of the WebSocket connections", n.parts.Sockets.Ended())
	for topic, appender := range n.parts.Appenders.all() {
		parts.watch(ctx, "appending to "+topic, appender.Ended())
	}
	if n.parts.Keys != nil {
		parts.watch(ctx, "loading the JWK set", n.parts.Keys.Ended())
	}
	if n.parts.Broker.Broker != nil {
		parts.start(ctx, "the embedded broker", func(ctx context.Context) error {
			select {
			case <-n.parts.Broker.Failed():
				return errors.New("it stopped, for the reason in the line before")
			case <-ctx.Done():
				return nil
			}
		})
	}
	parts.once(ctx, n.run)
	return nil
}

// fail ends the process with exit code 1.
func (n *node) fail(err error) {
	n.parts.Logger.Error("the node cannot go on", "error", err)
	if err := n.parts.Shutdown.Shutdown(fx.ExitCode(1)); err != nil {
		n.parts.Logger.Error("shutting down", "error", err)
	}
}

// run gets the node ready and keeps its background work going until ctx ends. The order matters: the sessions of all
// nodes are known before anybody is answered who is online, and the tail of conversations delivers from where
// the log ends, and knows what became of the invites before.
func (n *node) run(ctx context.Context) error {
	if err := n.prepare(ctx); err != nil {
		return err
	}
	at, err := n.parts.Clock.await(ctx)
	if err != nil {
		return err
	}
	from, to, err := kafka.LookbackFrom(
		ctx, n.parts.Cluster, n.topics.Sessions, n.parts.Config.Kafka.Partitions, at, lookback())
	if err != nil {
		return err
	}
	sessions := kafka.NewTail(n.parts.Cluster, kafka.TailOptions{
		Topic: n.topics.Sessions, From: from, Logger: n.parts.Logger,
		Handler: &kafka.SessionTail{
			Presence: n.parts.Presence, Notices: n.parts.Notices, HistoryWanted: n.parts.Flushes.Hear, Lost: n.lostSessions,
		},
	})
	recalled, ends, err := kafka.LookbackFrom(
		ctx, n.parts.Cluster, n.topics.Conversations, n.parts.Config.Kafka.Partitions, at, domain.InviteLookback)
	if err != nil {
		return err
	}
	conversations := kafka.NewTail(n.parts.Cluster, kafka.TailOptions{
		Topic: n.topics.Conversations, From: recalled, Logger: n.parts.Logger,
		Handler: &kafka.ConversationTail{
			Delivery: n.parts.Delivery, Log: n.parts.Log, From: maps.Clone(ends), Logger: n.parts.Logger,
		},
	})
	audit := kafka.NewPresenceAudit(n.parts.Cluster, kafka.AuditOptions{
		Sessions: n.topics.Sessions, Group: n.auditGroup(), Database: n.database,
		Presence: n.parts.Appenders.presence, Lookback: kafka.SessionRetention, Logger: n.parts.Logger,
	})
	present := kafka.NewReadBarrier(n.parts.Cluster, n.topics.Sessions, n.parts.Config.Kafka.Partitions, sessions)
	ingest := kafka.NewIngest(n.parts.Cluster, kafka.IngestOptions{
		Topic: n.topics.SystemMessages, Group: n.parts.Config.TopicPrefix + ".system-messages", Database: n.database, Messages: n.parts.System,
		DeadLetters: n.parts.Appenders.deadLetters, Presence: present.Wait, Logger: n.parts.Logger, Notices: n.parts.Notices,
	})

	parts := n.background
	parts.start(ctx, "the tail of "+n.topics.Sessions, sessions.Run)
	parts.start(ctx, "the tail of "+n.topics.Conversations, conversations.Run)
	parts.startEndless(ctx, "the deadlines of echoes", n.parts.Echoes.Run)
	parts.startEndless(ctx, "the lookup of block versions", n.parts.Delivery.Run)
	if err := sessions.WaitFor(ctx, to); err != nil {
		return err
	}
	if err := conversations.WaitFor(ctx, ends); err != nil {
		return err
	}
	n.suspectEarlier(ctx, from[0])
	if n.parts.Broker.Broker != nil {
		if err := n.parts.Presence.BuryOthers(ctx); err != nil {
			return err
		}
	}
	parts.startEndless(ctx, "heartbeats and sessions", n.parts.Presence.Run)
	parts.startEndless(ctx, "the relay of blocks", n.parts.Relay.Run)
	parts.startEndless(ctx, "the expiry of invites", n.parts.ExpireInvites.Run)
	parts.startEndless(ctx, "the reload of friends", n.parts.Refresh.Run)
	parts.startEndless(ctx, "the recheck of tokens", n.parts.Recheck.Run)
	if n.parts.Friends != nil {
		parts.startEndless(ctx, "the announcement of friends", n.parts.Friends.Run)
	}
	parts.start(ctx, "the presence audit", audit.Run)
	parts.startEndless(ctx, "the expiry of the history", n.parts.Expire.Run) // what was kept grows old also once nothing is added
	if n.parts.Config.History.Enabled {
		projector := newProjector(
			n.parts.Config, n.parts.Cluster, n.parts.Store, n.database, n.parts.Logger, n.parts.Notices, n.parts.Flushes)
		parts.start(ctx, "the projection of the history", projector.Run)
		parts.startEndless(ctx, "the wishes for the history", n.parts.Flushes.Run)
		parts.startEndless(ctx, "the watch over the history's lag", n.parts.HistoryLag.Run)
	}
	if messages := n.parts.Stored.messages; messages != nil {
		if err := n.beginStoring(ctx, messages); err != nil {
			return err
		}
		parts.startEndless(ctx, "the saving of delivery cursors", messages.Run)
	}
	n.parts.Readiness.open(sessions, conversations)
	if err := n.parts.Readiness.wait(ctx); err != nil {
		return err
	}
	parts.start(ctx, "the ingest of system messages", func(ctx context.Context) error {
		defer present.Close()
		return ingest.Run(ctx)
	})
	n.announce()
	return nil
}

// suspectEarlier has nodes buried that stand in the sessions topic before where this one reads from, as when all were away
// for a while.
func (n *node) suspectEarlier(ctx context.Context, from int64) {
	unburied, err := kafka.Unburied(ctx, n.parts.Cluster, n.topics.Sessions, from)
	if err != nil {
		if ctx.Err() == nil {
			n.parts.Logger.Warn("nodes that ended long ago may not be buried", "error", err)
		}
		return
	}
	n.parts.Presence.Suspect(unburied)
}

// beginStoring notes where storing begins; a broker or database that is away is waited for.
func (n *node) beginStoring(ctx context.Context, messages *application.StoredMessages) error {
	for {
		err := messages.Begin(ctx)
		if domain.CodeOf(err) != domain.CodeUnavailable || ctx.Err() != nil {
			return err
		}
		n.parts.Logger.Warn("where storing for offline users begins cannot be noted, will try again", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lookback is how far back session records are read.
func lookback() time.Duration { return application.DefaultPresenceTimes.Lookback() }

// prepare migrates the database, sees that it belongs to the configured log from now on, and sets up the topics.
func (n *node) prepare(ctx context.Context) error {
	if err := n.parts.Store.Migrate(ctx); err != nil {
		return causedBy(databaseOption(n.parts.Config), err)
	}
	topics := topicSetup(n.parts.Config, n.parts.Logger)
	own, err := ownLog(ctx, n.parts.Config, topics, n.parts.Cluster)
	if err != nil {
		return err
	}
	if err := checkLog(ctx, n.parts.Store, own); err != nil { // before topics are made that nobody wants
		return err
	}
	if err := topics.Ensure(ctx, n.parts.Cluster); err != nil {
		return err
	}
	if err := claimLog(ctx, n.parts.Store, own); err != nil {
		return err
	}
	n.background.start(ctx, "the beat on the database", n.beat)
	if n.database, err = n.parts.Store.DatabaseID(ctx); err != nil {
		return err
	}
	if err := kafka.CheckDatabase(ctx, n.parts.Cluster, n.auditGroup(), n.database); err != nil {
		return err
	}
	for _, topic := range []string{n.topics.Conversations, n.topics.Sessions} {
		recorded, err := n.parts.Store.PartitionCount(ctx, topic, n.parts.Config.Kafka.Partitions)
		if err != nil {
			return err
		}
		if recorded != n.parts.Config.Kafka.Partitions {
			return kafka.WrongPartitions(topic, n.parts.Config.Kafka.Partitions, recorded)
		}
	}
	if n.parts.Stored.messages == nil {
		// Whatever is not delivered from now on was refused: storing, once it is switched on, begins anew.
		return n.parts.Store.ForgetCursors(ctx)
	}
	return nil
}

// auditGroup is the consumer group that every node is in.
func (n *node) auditGroup() string { return n.parts.Config.TopicPrefix + ".presence-audit" }

// lostSessions handles a hole in the sessions topic: who is online can no longer be told from what this node has read.
func (n *node) lostSessions() {
	n.parts.Presence.Forget()
	n.parts.Delivery.CloseAll(application.CloseHole)
}

// stop leaves in the order that loses nothing: no new work, the outcomes of the work under way, the sockets, the
// sessions, the background. What ctx leaves no time for is cut; a tenth of it is left to the parts, which close after this.
// Clients decide how long sockets and requests take, so neither gets all of the time: the sessions need some to be buried.
func (n *node) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.parts.Config.Shutdown.Deadline*9/10)
	defer cancel()
	n.background.stopping()
	n.parts.API.SetDraining()
	n.parts.Presence.Freeze()
	var failed error
	if err := within(ctx, socketsShare, n.parts.Sockets.Shutdown); err != nil {
		failed = errors.Join(failed, fmt.Errorf("closing sockets: %w", err))
	}
	if err := within(ctx, requestsShare, n.parts.API.App().ShutdownWithContext); err != nil {
		failed = errors.Join(failed, fmt.Errorf("ending requests: %w", err))
	}
	_ = n.parts.Connections.Close() // an app that has not begun to serve yet does not know it
	if n.parts.Readiness.isOpen() {
		if err := n.parts.Presence.Depart(ctx, n.parts.Config.Presence.LeaveGrace); err != nil {
			failed = errors.Join(failed, fmt.Errorf("ending sessions: %w", err))
		}
	}
	n.cancel()
	n.background.wait()
	return failed
}

// The shares of the time that is left, in percent.
const (
	socketsShare  = 80
	requestsShare = 50
)

// within runs f with a share, in percent, of the time that ctx has left.
func within(ctx context.Context, share int, f func(context.Context) error) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return f(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/100*time.Duration(share))
	defer cancel()
	return f(ctx)
}

// announce says in one line that the node serves, what is embedded, and what that is not for.
func (n *node) announce() {
	http := n.parts.Listener.Addr().String()
	attributes := n.parts.Identity.attrs(n.parts.Presence.Incarnation())
	attributes = append(attributes, "http", "http://"+http, "websocket", "ws://"+http+ws.Path)
	if n.parts.Broker.Broker != nil {
		attributes = append(attributes, "embedded_kafka", n.parts.Broker.Addr())
	} else {
		attributes = append(attributes, "kafka", n.parts.Cluster.String())
	}
	if n.parts.Config.Database.Embedded {
		attributes = append(attributes, "embedded_sqlite", n.parts.Config.DataDir)
	}
	if n.parts.Config.S2S.TrustLoopback {
		attributes = append(attributes, "s2s", "programs on this machine need no token")
	}
	if n.parts.Broker.Broker != nil || n.parts.Config.Database.Embedded {
		n.parts.Logger.Info("ready, on embedded parts: for trial, development and one small node, not for production", attributes...)
		return
	}
	n.parts.Logger.Info("ready", attributes...)
}
