package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"go.uber.org/fx"

	"chatting/adapters/auth"
	"chatting/adapters/embedded"
	rest "chatting/adapters/http"
	"chatting/adapters/httpconn"
	"chatting/adapters/kafka"
	"chatting/adapters/limits"
	sqlstore "chatting/adapters/sql"
	"chatting/adapters/usermanagement"
	"chatting/adapters/ws"
	"chatting/application"
	"chatting/configs"
	"chatting/domain"
)

// startTimeout bounds what a constructor does before the node starts: opening files and a first word with the database.
const startTimeout = 30 * time.Second

// dataDir is the locked data directory; "" where nothing is kept in one.
type dataDir string

// openDataDir locks the data directory where something of this process's own lives in it.
func openDataDir(lc fx.Lifecycle, cfg configs.Config) (dataDir, error) {
	if !cfg.Kafka.Embedded() && !cfg.Database.Embedded {
		return dataDir(cfg.DataDir), nil // at most the secret is there, which several processes may share
	}
	lock, err := embedded.LockDir(cfg.DataDir)
	if err != nil {
		return "", causedBy("data_dir", err)
	}
	lc.Append(fx.StopHook(lock.Close))
	return dataDir(cfg.DataDir), nil
}

// broker is the embedded broker; nil where brokers are configured.
type broker struct{ *embedded.Broker }

func startBroker(lc fx.Lifecycle, cfg configs.Config, dir dataDir, now application.Clock, logger *slog.Logger) (broker, error) {
	if !cfg.Kafka.Embedded() {
		return broker{}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	options := brokerOptions(cfg, dir)
	options.Logger, options.Now = logger, now
	started, err := embedded.Start(ctx, options)
	if err != nil {
		return broker{}, brokerError(cfg, err)
	}
	lc.Append(fx.StopHook(started.Close))
	return broker{started}, nil
}

func brokerOptions(cfg configs.Config, dir dataDir) embedded.Options {
	return embedded.Options{
		Addr: cfg.EmbeddedKafka.Addr.String(), AllowRemote: cfg.EmbeddedKafka.AllowRemote,
		ClientBytes: cfg.EmbeddedKafka.ClientBytes, Own: kafka.NamesFor(cfg.TopicPrefix).Configs(),
		Dir: filepath.Join(string(dir), "kafka"),
	}
}

func openStore(
	lc fx.Lifecycle, cfg configs.Config, _ dataDir, now application.Clock, notices *application.Notices, logger *slog.Logger,
) (*sqlstore.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	options := storeOptions(cfg, logger)
	options.Notices, options.Now = notices, now
	store, err := sqlstore.Open(ctx, options)
	if err != nil {
		return nil, causedBy(databaseOption(cfg), err)
	}
	lc.Append(fx.StopHook(store.Close))
	return store, nil
}

// databaseOption names the option that says where the database is.
func databaseOption(cfg configs.Config) string {
	if cfg.Database.Embedded {
		return "data_dir"
	}
	return "database.url"
}

// storeOptions are those of the configured database, for the server and for the commands.
func storeOptions(cfg configs.Config, logger *slog.Logger) sqlstore.Options {
	return sqlstore.Options{
		URL: cfg.Database.URL.Reveal(), MaxOpen: cfg.Database.MaxOpenConns, MaxIdle: cfg.Database.MaxIdleConns,
		Timeout: cfg.Database.Timeout, Logger: logger, Now: time.Now,
	}
}

// appenders are those of the topics that a node writes.
type appenders struct {
	conversations, sessions, presence, deadLetters *kafka.Appender
}

// all returns them by their topics.
func (a appenders) all() map[string]*kafka.Appender {
	all := make(map[string]*kafka.Appender)
	for _, appender := range []*kafka.Appender{a.conversations, a.sessions, a.presence, a.deadLetters} {
		all[appender.Topic()] = appender
	}
	return all
}

// appendQueueBytes bounds what waits for one partition: some seconds of an embedded broker's throughput.
const appendQueueBytes = 8 << 20

func newAppenders(
	lc fx.Lifecycle, cfg configs.Config, cluster *kafka.Cluster, now application.Clock, logger *slog.Logger,
) appenders {
	names := kafka.NamesFor(cfg.TopicPrefix)
	start := func(topic string) *kafka.Appender {
		options := appenderOptions(cfg, topic)
		options.Logger, options.Now = logger, now
		appender := kafka.NewAppender(cluster, options)
		lc.Append(fx.StopHook(appender.Close))
		return appender
	}
	return appenders{
		conversations: start(names.Conversations), sessions: start(names.Sessions), presence: start(names.Presence),
		deadLetters: start(names.DeadLetters),
	}
}

func appenderOptions(cfg configs.Config, topic string) kafka.AppenderOptions {
	return kafka.AppenderOptions{
		Topic: topic, Partitions: cfg.Kafka.Partitions, Deadline: cfg.Kafka.AppendDeadline, QueueBytes: appendQueueBytes,
	}
}

func newConversations(lc fx.Lifecycle, cluster *kafka.Cluster, appenders appenders) *kafka.Conversations {
	conversations := kafka.NewConversations(cluster, appenders.conversations)
	lc.Append(fx.StopHook(conversations.Close))
	return conversations
}

func newSessions(appenders appenders) *kafka.Sessions { return kafka.NewSessions(appenders.sessions) }

func newFlushes(sessions *kafka.Sessions) *kafka.HistoryFlushes {
	return kafka.NewHistoryFlushes(sessions)
}

// tokens are the parts that decide on tokens.
type tokens struct {
	fx.Out

	Tokens   application.Tokens
	Rechecks application.TokenRechecks
	Service  *usermanagement.Client // nil where keys decide
	Keys     *auth.Verifier         // nil where the service decides
}

// newTokens returns who verifies tokens: the user-management service in drop-in mode, else the configured keys, else the
// secret that the first start made.
func newTokens(lc fx.Lifecycle, cfg configs.Config, dir dataDir, logger *slog.Logger) (tokens, error) {
	if cfg.DropIn() {
		client, err := usermanagement.New(userManagementOptions(cfg))
		if err != nil {
			return tokens{}, causedBy("user_management.url", err)
		}
		lc.Append(fx.StopHook(client.Close))
		return tokens{Tokens: client, Rechecks: client, Service: client}, nil
	}
	options := keyOptions(cfg)
	options.Logger = logger
	if cfg.GeneratesSecret() {
		secret, err := auth.LoadOrCreateSecret(string(dir))
		if err != nil {
			return tokens{}, causedBy("data_dir", err)
		}
		options.Secret = secret
	}
	verifier, err := auth.New(options)
	if err != nil {
		return tokens{}, keyError(err)
	}
	lc.Append(fx.StopHook(verifier.Close))
	return tokens{Tokens: verifier, Rechecks: verifier, Keys: verifier}, nil
}

func userManagementOptions(cfg configs.Config) usermanagement.Options {
	return usermanagement.Options{
		URL: cfg.UserManagement.URL.Reveal(), Timeout: cfg.UserManagement.Timeout,
		Concurrency: cfg.UserManagement.Concurrency, CacheFor: cfg.UserManagement.CacheTTL,
	}
}

// keyOptions are those of the configured keys.
func keyOptions(cfg configs.Config) auth.Options {
	options := auth.Options{
		PublicKeyFile: cfg.JWT.PublicKeyFile, JWKSURL: cfg.JWKS.URL.Reveal(), Refresh: cfg.JWKS.Refresh, MaxAge: cfg.JWKS.MaxAge,
		Required: requiredOfTokens(cfg), Leeway: cfg.JWT.Leeway,
	}
	if cfg.JWT.Secret.IsSet() {
		options.Secret = []byte(cfg.JWT.Secret.Reveal())
	}
	return options
}

// requiredOfTokens is what tokens must say, for the server and for `chatting token`.
func requiredOfTokens(cfg configs.Config) auth.Required {
	return auth.Required{Issuer: cfg.JWT.Issuer, Audiences: cfg.JWT.Audiences, UserClaim: cfg.JWT.UserClaim}
}

// newRecheckTokens has the tokens of open connections verified again. In drop-in mode it may ask half as many questions at
// a time as logins may, beside theirs.
func newRecheckTokens(
	cfg configs.Config, rechecks application.TokenRechecks, notices *application.Notices, now application.Clock, logger *slog.Logger,
) *application.RecheckTokens {
	atATime := 1 // keys need no more
	if cfg.DropIn() {
		atATime = max(1, cfg.UserManagement.Concurrency/2)
	}
	return &application.RecheckTokens{
		Tokens: rechecks, Notices: notices, Every: cfg.WebSocket.TokenRecheck, AtATime: atATime, Now: now, Logger: logger,
	}
}

// rates bound what users and addresses do on this node; nil ones bound nothing.
type rates struct {
	userFrames, userWrites, refusals *limits.Rate[domain.UserID]
	addressLogins                    networkRate
	userLogins                       *limits.Logins
}

func newRates(cfg configs.Config) rates {
	return rates{
		userFrames:    limits.PerSecond[domain.UserID](cfg.Limit.UserFramesPerSecond),
		userWrites:    limits.PerSecond[domain.UserID](cfg.Limit.UserWritesPerSecond),
		refusals:      limits.New[domain.UserID](ws.RefusalsPerSecond, ws.MaxRefusals, time.Now),
		addressLogins: networkRate{limits.PerSecond[netip.Addr](cfg.Limit.AddressLoginsPerSecond)},
		userLogins:    limits.NewLogins(cfg.Limit.UserLoginsPerSecond),
	}
}

// networkRate is a rate of the networks that addresses are counted under.
type networkRate struct{ rate *limits.Rate[netip.Addr] }

// Take implements rest.AddressRate and ws.AddressRate.
func (r networkRate) Take(address netip.Addr, n int) time.Duration {
	return r.rate.Take(httpconn.Network(address), n)
}

// Wait implements rest.AddressRate and ws.AddressRate.
func (r networkRate) Wait(address netip.Addr, n int) time.Duration {
	return r.rate.Wait(httpconn.Network(address), n)
}

// s2sToken is what other servers of the platform present; "" if they need none.
type s2sToken string

// newS2SToken returns the configured token, or that which the first start made in the data directory.
func newS2SToken(cfg configs.Config, dir dataDir, logger *slog.Logger) (s2sToken, error) {
	if !cfg.GeneratesS2SToken() {
		return s2sToken(cfg.S2S.Token.Reveal()), nil
	}
	token, err := auth.LoadOrCreateS2SToken(string(dir))
	if err != nil {
		return "", causedBy("data_dir", fmt.Errorf("%w (s2s.token is not set)", err))
	}
	logger.Info("other servers call /s2sapi/ with the token in this file; all nodes of a cluster need the same one: set CHATTING_S2S_TOKEN",
		"file", filepath.Join(string(dir), auth.S2STokenFile))
	return s2sToken(token), nil
}

// newFriendLists returns who knows the friends: the user-management service in drop-in mode, else the database.
func newFriendLists(client *usermanagement.Client, store *sqlstore.Store) application.FriendLists {
	if client != nil {
		return client
	}
	return store
}

// apiDeps are the parts of the REST API.
type apiDeps struct {
	fx.In

	Config       configs.Config
	Keys         *auth.Verifier
	Authenticate *application.Authenticate
	Block        *application.Block
	IsOnline     *application.IsOnline
	System       *application.SendSystemMessage
	Erase        *application.EraseUser
	Friends      *application.Friends
	Log          *kafka.Conversations
	Store        *sqlstore.Store
	Cluster      *kafka.Cluster
	Appenders    appenders
	Readiness    *readiness
	Clock        *nodeClock
	Rates        rates
	Notices      *application.Notices
	Places       places
	S2SToken     s2sToken
	HistoryLag   *application.HistoryLag
	Flushes      *kafka.HistoryFlushes
	Bytes        *application.ByteLedger
	Now          application.Clock
	Logger       *slog.Logger
}

func newAPI(d apiDeps) (*rest.API, error) {
	var history *application.ReadHistory
	if d.Config.History.Enabled {
		history = application.NewReadHistory(d.Store, d.Store, followedLog(d.Config, d.Store, d.Log, d.Flushes), d.Log)
	}
	checks := []rest.Check{
		{Name: "broker", Probe: func(ctx context.Context) error {
			if d.Appenders.conversations.Stuck() || d.Appenders.sessions.Stuck() {
				return domain.NewError(domain.CodeUnavailable, "an append has no answer")
			}
			return d.Cluster.Ping(ctx)
		}},
		{Name: "database", Probe: d.Store.Ping},
		{Name: "tail", Probe: d.Readiness.probe},
		{Name: "clock", Probe: d.Clock.probe},
	}
	if !d.Config.JWKS.URL.IsZero() {
		checks = append(checks, rest.Check{Name: "keys", Probe: d.Keys.Ready})
	}
	return rest.New(apiOptions(d.Config, d.S2SToken, d.Places), rest.Deps{
		Bytes: d.Bytes, Authenticate: d.Authenticate, Block: d.Block, Friends: d.Friends, IsOnline: d.IsOnline, SystemMessage: d.System,
		History: history, Erase: d.Erase, Idempotency: idempotency{d.Store}, Now: d.Now, Logger: d.Logger,
		Notices: d.Notices, Writes: d.Rates.userWrites, Logins: d.Rates.addressLogins,
		Ready: d.Readiness.ready, Checks: checks,
		Background: func() rest.Background { return background(d.Config, d.HistoryLag, d.Cluster, d.Now()) },
	})
}

func apiOptions(cfg configs.Config, token s2sToken, places places) rest.Options {
	return rest.Options{
		S2SToken: string(token), TrustLoopback: cfg.S2S.TrustLoopback,
		CORSOrigins: cfg.HTTP.CORSOrigins, CORSHeaders: cfg.HTTP.CORSHeaders, ClientAddress: clientAddress(cfg),
		Concurrency: places.workers(),
		ReadTimeout: cfg.HTTP.ReadTimeout, IdleTimeout: cfg.HTTP.IdleTimeout, BodyLimit: cfg.HTTP.BodyLimit,
		PageBytes: cfg.HTTP.PageBytes, UserConcurrency: cfg.Limit.UserConcurrentRequests, InboundBytes: cfg.Limit.InboundBytes,
	}
}

// idempotency is the store as the API asks it. The database's clock counts: nodes whose clocks differ would take each
// other's requests for dead.
type idempotency struct{ *sqlstore.Store }

func (i idempotency) Begin(ctx context.Context, key string, fingerprint [32]byte, now time.Time) (int, []byte, bool, error) {
	if at, err := i.Store.Time(ctx); err == nil { // else Begin fails, too
		now = at
	}
	stored, err := i.Store.Begin(ctx, key, fingerprint, now)
	if err != nil || stored == nil {
		return 0, nil, false, err
	}
	return stored.Status, stored.Body, true, nil
}

// newByteLedger returns the ledger of what is under way for clients, over sockets and in answers.
func newByteLedger(cfg configs.Config, now application.Clock) *application.ByteLedger {
	return application.NewByteLedger(cfg.Limit.OutboundBytes, cfg.Limit.UserOutboundBytes, now)
}

func newSockets(
	cfg configs.Config, login *application.Login, messages *application.SendMessage, invites *application.Invite,
	ready *readiness, places places, rates rates, bytes *application.ByteLedger, now application.Clock, logger *slog.Logger,
	notices *application.Notices, logins *application.LoginLog,
) (*ws.Server, error) {
	return ws.New(socketOptions(cfg, places), ws.Deps{
		Login: ready.gate(ws.LoginWith(login)), Messages: messages, Invites: invites, Bytes: bytes, Now: now, Logger: logger,
		Notices: notices, Logins: logins, Rates: ws.Rates{Frames: rates.userFrames, Refusals: rates.refusals, Logins: rates.addressLogins},
	})
}

func socketOptions(cfg configs.Config, places places) ws.Options {
	return ws.Options{
		AllowedOrigins: cfg.WebSocket.AllowedOrigins,
		MaxConnections: places.sockets, MaxPerAddress: cfg.Limit.ConnectionsPerAddress,
		FramesPerSecond: cfg.Limit.FramesPerSecond,
		MaxFrame:        cfg.WebSocket.MaxFrameBytes, QueueBytes: cfg.WebSocket.OutboundQueueBytes,
		CloseOver: cfg.Shutdown.CloseOver, ClientAddress: clientAddress(cfg),
		Times: ws.Times{
			FirstFrame: cfg.WebSocket.LoginDeadline, Silence: cfg.WebSocket.PingAfter, Pong: cfg.WebSocket.PongWait,
			Write: cfg.WebSocket.WriteTimeout,
		},
	}
}

// listen opens the one port of the server.
func listen(lc fx.Lifecycle, cfg configs.Config) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	addr := cfg.HTTP.Addr.String()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError("http.addr", addr, err)
	}
	lc.Append(fx.StopHook(func() { _ = listener.Close() })) // the app has closed it before, unless it never served
	return listener, nil
}
