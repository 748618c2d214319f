package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/embedded"
	"chatting/adapters/httpconn"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/metrics"
	"chatting/adapters/rest"
	"chatting/adapters/texthook"
	"chatting/adapters/tracing"
	"chatting/adapters/web"
	"chatting/adapters/ws"
	"chatting/application"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/servicemanager"
)

// node is a server that lives: it starts the parts of the graph, and stops and closes them.
type node struct {
	parts nodeParts
	// background runs the parts that starting names.
	background *supervisor
	cancel     context.CancelFunc
	// lives are those of the embedded log, this node's first.
	lives []embedded.Life
}

// nodeParts are the parts that a node starts or stops. They are made in this order, with what each of them needs before it: what is
// wrong with the port, the data directory or the keys is told before a database or a broker is opened.
type nodeParts struct {
	fx.In

	Identity    identity
	Listener    net.Listener       // the port
	Connections *httpconn.Listener // what is accepted there
	Metrics     *metrics.Server    // nil if they are switched off
	Tracing     *tracing.Tracing   // nil if it is switched off
	DataLock    dataLock
	Tokens      tokenParts
	TextHook    *texthook.Client // nil if it is switched off

	Common       common
	Broker       broker
	Cluster      *logclient.Cluster
	Installation installation.Installation
	Appenders    appenders
	Flushes      *projector.Flushes

	Moderation moderationParts

	Blocks   blockParts
	Presence presenceParts
	Messages messageParts
	Invites  inviteParts
	History  historyParts
	Logins   loginParts
	LoginLog *application.LoginLog

	API     *rest.API
	Sockets *ws.Server
	Site    *web.Site // nil if it is switched off

	Readiness *readiness
	Tails     *tails
	Consumers *consumers
	Manager   *servicemanager.Manager
	Shutdown  fx.Shutdowner
}

func newNode(parts nodeParts) (*node, error) {
	if err := mountDocuments(parts.Common.Config, parts.API.App()); err != nil {
		return nil, err
	}
	if err := parts.Sockets.Mount(parts.API.App()); err != nil {
		return nil, err
	}
	if parts.Site != nil {
		parts.Site.Mount(parts.API.App())
	}
	parts.Connections.PaceWhile(parts.Logins.Delivery.Live)
	n := &node{parts: parts}
	parts.Moderation.Register.OnEnd(n.endConnections)
	n.background = &supervisor{logger: parts.Common.Logger, fail: n.fail}
	return n, nil
}

// starting is the life of a node from its start to its first user, in order. The health paths are served at once. The node waits for
// a broker that is away, and for a database that goes away; one that is away before that ends the process.
func (n *node) starting() []step {
	p, topics := n.parts, n.parts.Tails.names
	inside, history, stores := p.Broker.Broker != nil, p.Common.Config.History.Enabled, p.Messages.Stored != nil
	patient := func(do func(context.Context) error) step { // the database may go away meanwhile
		return first(func(ctx context.Context) error { return installation.Patiently(ctx, p.Common.Logger, do) })
	}
	return []step{
		endless("held back log lines", p.Common.Notices.Run),
		endless("the counts of logins", p.LoginLog.Run),
		only(p.Metrics != nil, part("serving metrics", p.Metrics.Run)),
		part("serving HTTP", func(context.Context) error { return p.API.App().Listener(p.Sockets.WrapListener(p.Connections)) }),
		watched("the keeper of the WebSocket connections", p.Sockets.Ended),
		watched("appending to "+topics.Conversations, p.Appenders.conversations.Ended),
		watched("appending to "+topics.Sessions, p.Appenders.sessions.Ended),
		watched("appending to "+topics.Presence, p.Appenders.presence.Ended),
		watched("appending to "+topics.DeadLetters, p.Appenders.deadLetters.Ended),
		watched("appending to "+topics.Audit, p.Appenders.audit.Ended),
		only(p.Tokens.Keys != nil, watched("loading the JWK set", p.Tokens.Keys.Ended)),
		only(inside, part("the embedded broker", p.Broker.watch)),
		only(!inside, step{run: brokerWait{p.Cluster, p.Common.Logger}.run, mayEnd: true}),

		// The database has this program's schema and belongs to the configured log, whose topics are there.
		patient(p.Installation.Claim),
		part("the beat on the database", p.Installation.Beat),
		patient(p.Consumers.recognise),
		only(inside, first(n.beginLife)),
		patient(n.sealTokens),
		patient(n.sealAnswers),
		// Without storing, what is not delivered is refused. So storing begins anew once it is switched on.
		only(!stores, patient(p.Common.Store.Cursors.ForgetCursors)),

		// The sessions of all nodes, and what the platform did, are known before anybody is answered who is online.
		first(p.Tails.open),
		part("the tail of "+topics.Sessions, p.Tails.runSessions),
		part("the tail of "+topics.Conversations, p.Tails.runConversations),
		endless("the deadlines of echoes", p.Messages.Echoes.Run),
		endless("the lookup of block versions", p.Logins.Delivery.Run),
		first(p.Tails.caughtUp),
		first(p.Tails.suspectEarlier),
		only(inside, first(p.Presence.Set.BuryOthers)),

		// This node takes part.
		endless("the answers where users are connected", p.Presence.Whereabouts.Run),
		endless("heartbeats and sessions", p.Presence.Set.Run),
		endless("the relay of blocks", p.Blocks.Relay.Run),
		endless("the relay of acts", p.Moderation.Relay.Run),
		endless("the expiry of invites", p.Invites.Expire.Run),
		endless("the reload of friends", p.Presence.Refresh.Run),
		endless("the recheck of tokens", p.Logins.Recheck.Run),
		only(p.Presence.Friends != nil, endless("the announcement of friends", p.Presence.Friends.Run)),
		part("the presence audit", p.Consumers.audit),
		endless("the expiry of the history", p.History.Expire.Run), // also without history.enabled: old messages are still there
		only(history, part("the projection of the history", p.Consumers.project)),
		only(history, endless("the wishes for the history", p.Flushes.Run)),
		only(history, endless("the watch over the history's lag", p.History.Lag.Run)),
		only(stores, first(p.Messages.beginStoring(p.Common))),
		only(stores, endless("the saving of delivery cursors", p.Messages.Stored.Run)),

		// Users are let in.
		first(func(context.Context) error { p.Readiness.open(p.Tails.sessions, p.Tails.conversations); return nil }),
		first(p.Readiness.wait),
		part("the ingest of system messages", p.Consumers.ingest),
		first(n.announce),
		first(p.Manager.Ready),
		only(p.Manager.IsWatching(), endless("the signs of life for the service manager", p.Manager.Watch)),
	}
}

// leaving is the end of a node, in the order that loses nothing. Clients decide how long sockets and requests take, so neither gets
// all of the time: the sessions need some to be buried.
func (n *node) leaving() []step {
	p := n.parts
	return []step{
		{do: done(n.background.stopping)},
		{do: done(p.Manager.Stopping)},
		{do: done(p.API.SetDraining)},
		{do: done(p.Presence.Set.Freeze)},
		{name: "closing sockets", do: within(socketsShare, p.Sockets.Shutdown)},
		{name: "ending requests", do: within(requestsShare, p.API.App().ShutdownWithContext)},
		{do: done(func() { _ = p.Connections.Close() })}, // an app that does not serve yet does not close them
		{name: "ending sessions", do: n.depart},
		{do: done(func() { n.cancel(); n.background.wait() })},
	}
}

// closing closes what the constructors opened, users before what they use.
func (n *node) closing() []step {
	p := n.parts
	return []step{
		{do: done(p.Logins.Turns.Wait)},
		{do: done(p.Logins.Lookup.Wait)},
		{do: done(p.Logins.Erasures.Wait)},
		{do: done(p.Logins.Log.Close)},
		{do: done(p.Common.Log.Close)},
		{do: p.Appenders.Close},
		{do: done(p.Cluster.Close)},
		only(p.Broker.Broker != nil, step{name: "closing the embedded broker", do: failing(p.Broker.Close)}),
		{name: "closing the database", do: failing(p.Common.Store.Close)},
		only(p.TextHook != nil, step{do: done(p.TextHook.Close)}),
		only(p.Tokens.Service != nil, step{do: done(p.Tokens.Service.Close)}),
		only(p.Tokens.Keys != nil, step{do: done(p.Tokens.Keys.Close)}),
		only(p.DataLock.DirLock != nil, step{name: "unlocking the data directory", do: failing(p.DataLock.Close)}),
		only(p.Tracing != nil, step{do: lastSpans(p.Tracing.Close, p.Common.Logger)}),
		only(p.Metrics != nil, step{name: "closing the listener of metrics", do: failing(p.Metrics.Close)}),
		{do: done(func() { _ = p.Listener.Close() })}, // it is closed already, unless the app never served
	}
}

// done is a step that cannot fail.
func done(f func()) func(context.Context) error {
	return func(context.Context) error { f(); return nil }
}

func failing(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// The shares of the time that is left, in percent.
const (
	socketsShare  = 80
	requestsShare = 50
)

// within runs f with a share, in percent, of the time that is left.
func within(share int, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			return f(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/100*time.Duration(share))
		defer cancel()
		return f(ctx)
	}
}

// start starts the parts that wait for nothing, and does not wait for the other steps.
func (n *node) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	steps := n.starting()
	for ; steps[0].do == nil; steps = steps[1:] {
		n.background.start(ctx, steps[0])
	}
	n.background.start(ctx, step{mayEnd: true, run: func(ctx context.Context) error { return n.take(ctx, steps) }})
	return nil
}

func (n *node) take(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if s.do != nil {
			if err := s.do(ctx); err != nil {
				return err
			}
		}
		n.background.start(ctx, s)
	}
	return nil
}

// fail ends the process with exit code 1.
func (n *node) fail(err error) {
	n.parts.Common.Logger.Error("the node cannot go on", "error", err)
	if err := n.parts.Shutdown.Shutdown(fx.ExitCode(1)); err != nil {
		n.parts.Common.Logger.Error("shutting down", "error", err)
	}
}

// stop ends the life of the node. Leaving has nine tenths of the time, closing has the rest.
func (n *node) stop(ctx context.Context) error {
	leaving, cancel := context.WithTimeout(ctx, n.parts.Common.Config.Shutdown.Deadline*9/10)
	defer cancel()
	return errors.Join(inTurn(leaving, n.leaving()), inTurn(ctx, n.closing()))
}

// inTurn does all steps, also after one that failed.
func inTurn(ctx context.Context, steps []step) error {
	var failed error
	for _, s := range steps {
		if s.do == nil {
			continue
		}
		if err := s.do(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return failed
}

// depart ends the sessions of this node's users, if there may be any.
func (n *node) depart(ctx context.Context) error {
	if !n.parts.Readiness.isOpen() {
		return nil
	}
	return n.parts.Presence.Set.Depart(ctx, n.parts.Common.Config.Presence.LeaveGrace)
}

// beginLife notes that this server begins a life of the embedded log.
func (n *node) beginLife(context.Context) (err error) {
	n.lives, err = n.parts.Broker.BeginLife(n.parts.Tails.names.Conversations, n.parts.Common.Config.Kafka.Partitions)
	return err
}

// sealTokens has this node's resume tokens be those of the claimed log.
func (n *node) sealTokens(ctx context.Context) error {
	key, earlier, err := n.parts.Installation.ResumeKeys(ctx, n.lives)
	if err == nil {
		n.parts.Logins.Delivery.Tokens.SealWith(key, earlier...)
	}
	return err
}

// sealAnswers has only nodes of this installation read on which addresses users are connected.
func (n *node) sealAnswers(ctx context.Context) error {
	key, err := n.parts.Common.Store.Blocks.Secret(ctx, "connections of users")
	if err != nil {
		return err
	}
	return n.parts.Presence.Questions.SealWith(key)
}

// announce says in one line that the node serves, what is embedded, and what that is not for.
func (n *node) announce(context.Context) error {
	p, cfg := n.parts, n.parts.Common.Config
	http := p.Listener.Addr().String()
	attributes := p.Identity.attrs(p.Presence.Set.Incarnation())
	attributes = append(attributes, "http", "http://"+http, "websocket", "ws://"+http+ws.Path)
	if p.Site != nil {
		attributes = append(attributes, "page", "http://"+browsable(p.Listener.Addr())+"/")
	}
	if p.Metrics != nil {
		attributes = append(attributes, "metrics", "http://"+p.Metrics.Addr().String()+metrics.Path)
	}
	if p.Broker.Broker != nil {
		attributes = append(attributes, "embedded_kafka", p.Broker.Addr())
	} else {
		attributes = append(attributes, "kafka", p.Cluster.String())
	}
	if cfg.Database.Embedded {
		attributes = append(attributes, "embedded_sqlite", cfg.DataDir)
	}
	if cfg.S2S.TrustLoopback {
		attributes = append(attributes, "s2s", "programs on this machine need no token")
	}
	if p.Broker.Broker != nil || cfg.Database.Embedded {
		p.Common.Logger.Info("ready, on embedded parts: for trial, development and one small node, not for production", attributes...)
		return nil
	}
	p.Common.Logger.Info("ready", attributes...)
	return nil
}

// browsable returns an address that a browser on this machine can open: what listens everywhere is localhost for it.
func browsable(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return address.String()
}
