package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go/sasl/plain"
	"go.uber.org/fx"

	"chatting/adapters/auth"
	"chatting/adapters/embedded"
	"chatting/adapters/httpconn"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/limits"
	"chatting/adapters/rest"
	"chatting/adapters/sqlstore"
	"chatting/adapters/texthook"
	"chatting/adapters/tracing"
	"chatting/adapters/usermanagement"
	"chatting/adapters/web"
	"chatting/adapters/ws"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/messaging"
	"chatting/application/presence"
	"chatting/application/replay"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
	"chatting/domain"
)

// received is what the parts of a server get of its configuration.
type received struct {
	cfg         configs.Config
	api         rest.Options
	sockets     ws.Options
	connections httpconn.Options
	broker      embedded.Options
	store       sqlstore.Options
	service     usermanagement.Options
	hook        texthook.Options
	tracing     tracing.Options
	keys        auth.Options
	appender    appending.AppenderOptions
	projector   projector.Options
	topics      kafka.TopicSetup
	cluster     logclient.ClusterOptions
	presence    presence.Times
	mailboxes   messaging.MailboxBounds
	recheck     *application.RecheckTokens
	past        kafka.PastOptions
	resume      replay.ResumeBounds
	site        *web.Site
}

func receivedOf(t *testing.T, environ ...string) received {
	t.Helper()
	cfg := configured(t, environ...)
	places := placesFor(0, cfg.Limit.Connections)
	cluster, err := installation.ClusterOptions(cfg.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	site, err := newSite(cfg)
	if err != nil {
		t.Fatal(err)
	}
	traced, err := tracingOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return received{
		cfg: cfg, api: apiOptions(cfg, s2sToken(cfg.S2S.Token.Reveal()), places), sockets: socketOptions(cfg, places),
		connections: connectionOptions(cfg, places), broker: brokerOptions(cfg), store: installation.StoreOptions(cfg, nil),
		service: userManagementOptions(cfg), hook: textHookOptions(cfg), tracing: traced, keys: keyOptions(cfg), appender: appenderOptions(cfg, "topic"),
		projector: installation.ProjectorOptions(cfg), topics: installation.TopicSetup(cfg, nil), cluster: cluster, presence: presenceTimes(cfg), mailboxes: mailboxBounds(cfg),
		recheck: newRecheckTokens(common{Config: cfg}, nil), past: pastOptions(cfg, nil, nil),
		resume: resumeBounds(cfg),
		site:   site,
	}
}

// optionUse is an option with a value that no other option has, and where that value has to arrive.
type optionUse struct {
	key, value string
	want       any
	got        func(received) any
}

var (
	proxyOfTest  = netip.MustParsePrefix("192.0.2.0/24")
	clientOfTest = netip.MustParseAddr("203.0.113.7")
)

// clientOf returns whom a part counts a request under that comes from the trusted proxy.
func clientOf(address func(net.Addr, [][]byte) netip.Addr) netip.Addr {
	return address(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, [][]byte{[]byte(clientOfTest.String())})
}

var optionUses = []optionUse{
	{"http.cors_origins", "https://cors.example", []string{"https://cors.example"}, func(r received) any { return r.api.CORSOrigins }},
	{"http.cors_headers", "X-One", []string{"X-One"}, func(r received) any { return r.api.CORSHeaders }},
	{"http.body_limit", "3MiB", 3 << 20, func(r received) any { return r.api.BodyLimit }},
	{"http.documents", "false", 0, func(r received) any {
		app := fiber.New()
		if err := mountDocuments(r.cfg, app); err != nil {
			return err
		}
		return len(app.GetRoutes())
	}},
	{"http.read_timeout", "11s", [2]time.Duration{11 * time.Second, 11 * time.Second}, func(r received) any {
		return [2]time.Duration{r.api.ReadTimeout, r.connections.ReadTimeout}
	}},
	{"http.idle_timeout", "12s", [2]time.Duration{12 * time.Second, 12 * time.Second}, func(r received) any {
		return [2]time.Duration{r.api.IdleTimeout, r.connections.IdleTimeout}
	}},
	{"http.trusted_proxies", proxyOfTest.String(), [3]any{clientOfTest, clientOfTest, true}, func(r received) any {
		return [3]any{clientOf(r.api.ClientAddress), clientOf(r.sockets.ClientAddress), r.connections.Proxies.Trusts(proxyOfTest.Addr())}
	}},
	{"http.page_bytes", "600KiB", 600 << 10, func(r received) any { return r.api.PageBytes }},
	{"web.enabled", "false", true, func(r received) any { return r.site == nil }},
	{"topic_prefix", "other", [5]any{"other.conversations", "other.history", "other.sessions", "other.conversations", true}, func(r received) any {
		_, own := r.broker.Own["other.conversations"]
		return [5]any{r.projector.Topic, r.projector.Group, r.topics.Names.Sessions, r.past.Topic, own}
	}},
	{"kafka.partitions", "3", [3]int{3, 3, 3}, func(r received) any {
		return [3]int{r.appender.Partitions, r.projector.Partitions, r.topics.Partitions}
	}},
	{"kafka.append_deadline", "13s", 13 * time.Second, func(r received) any { return r.appender.Deadline }},
	{"embedded_kafka.addr", "127.0.0.1:19092", "127.0.0.1:19092", func(r received) any { return r.broker.Addr }},
	{"embedded_kafka.allow_remote", "true", true, func(r received) any { return r.broker.AllowRemote }},
	{"embedded_kafka.client_bytes", "70MiB", 70 << 20, func(r received) any { return r.broker.ClientBytes }},
	{"database.url", "sqlite:/nowhere/x.db", "sqlite:/nowhere/x.db", func(r received) any { return r.store.URL }},
	{"database.max_open_conns", "17", 17, func(r received) any { return r.store.MaxOpen }},
	{"database.max_idle_conns", "5", 5, func(r received) any { return r.store.MaxIdle }},
	{"database.timeout", "14s", 14 * time.Second, func(r received) any { return r.store.Timeout }},
	{"jwt.secret", "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", func(r received) any { return string(r.keys.Secret) }},
	{"jwt.public_key_file", "/nowhere/key.pem", "/nowhere/key.pem", func(r received) any { return r.keys.PublicKeyFile }},
	{"jwt.issuer", "https://id.example", "https://id.example", func(r received) any { return r.keys.Issuer }},
	{"jwt.audience", "chat", []string{"chat"}, func(r received) any { return r.keys.Audiences }},
	{"jwt.user_claim", "uid", "uid", func(r received) any { return r.keys.UserClaim }},
	{"jwt.leeway", "15s", 15 * time.Second, func(r received) any { return r.keys.Leeway }},
	{"jwks.url", "https://keys.example/", "https://keys.example/", func(r received) any { return r.keys.JWKSURL }},
	{"jwks.refresh", "16m", 16 * time.Minute, func(r received) any { return r.keys.Refresh }},
	{"jwks.max_age", "17h", 17 * time.Hour, func(r received) any { return r.keys.MaxAge }},
	{"s2s.token", "a-token-of-16-bytes", "a-token-of-16-bytes", func(r received) any { return r.api.S2SToken }},
	{"s2s.trust_loopback", "true", true, func(r received) any { return r.api.TrustLoopback }},
	{"chat.offline_messages_per_sender", "111", 111, func(r received) any { return r.mailboxes.Messages }},
	{"chat.offline_bytes_per_sender", "5MiB", int64(5 << 20), func(r received) any { return r.mailboxes.Bytes }},
	{"hook.url", "http://texts.example/check", "http://texts.example/check", func(r received) any { return r.hook.URL }},
	{"hook.token", "another-token-of-22-by", "another-token-of-22-by", func(r received) any { return r.hook.Token }},
	{"hook.allow_http", "true", "http://texts.example/check", func(r received) any { return r.hook.URL }}, // refused without it
	{"hook.timeout", "2900ms", 2900 * time.Millisecond, func(r received) any { return r.hook.Timeout }},
	{"hook.on_failure", "closed", false, func(r received) any {
		return newCheck(common{Config: r.cfg, Store: &sqlstore.Store{}}, &texthook.Client{}).FailOpen
	}},
	{"hook.concurrency", "257", 257, func(r received) any { return r.hook.Concurrency }},
	{"history.retention", "18h", 18 * time.Hour, func(r received) any { return r.projector.Retention }},
	{"history.delay", "1900ms", 1900 * time.Millisecond, func(r received) any { return r.projector.Delay }},
	{"resume.max_events", "1112", 1112, func(r received) any { return r.resume.Events }},
	{"resume.max_bytes", "1235KiB", 1235 << 10, func(r received) any { return r.resume.Bytes }},
	{"resume.max_age", "23h", 23 * time.Hour, func(r received) any { return r.resume.Age }},
	{"resume.log_records", "112000", 112_000, func(r received) any { return r.past.Records }},
	{"resume.log_bytes", "1234KiB", 1234 << 10, func(r received) any { return r.past.Bytes }},
	{"limit.frames_per_second", "101", 101, func(r received) any { return r.sockets.FramesPerSecond }},
	{"limit.connections", "106", 106, func(r received) any { return r.sockets.MaxConnections }},
	{"limit.connections_per_address", "108", 108, func(r received) any { return r.sockets.MaxPerAddress }},
	{"limit.address_http_connections", "109", 109, func(r received) any { return r.connections.PerAddress }},
	{"limit.user_concurrent_requests", "110", 110, func(r received) any { return r.api.UserConcurrency }},
	{"limit.inbound_bytes", "65MiB", 65 << 20, func(r received) any { return r.api.InboundBytes }},
	{"websocket.max_frame_bytes", "66KiB", 66 << 10, func(r received) any { return r.sockets.MaxFrame }},
	{"websocket.outbound_queue_bytes", "2MiB", 2 << 20, func(r received) any { return r.sockets.QueueBytes }},
	{"websocket.login_deadline", "21s", 21 * time.Second, func(r received) any { return r.sockets.Times.FirstFrame }},
	{"websocket.ping_after", "22s", 22 * time.Second, func(r received) any { return r.sockets.Times.Silence }},
	{"websocket.pong_wait", "23s", 23 * time.Second, func(r received) any { return r.sockets.Times.Pong }},
	{"websocket.write_timeout", "24s", 24 * time.Second, func(r received) any { return r.sockets.Times.Write }},
	{"websocket.token_recheck", "25s", 25 * time.Second, func(r received) any { return r.recheck.Every }},
	{"websocket.token_warning", "27s", 27 * time.Second, func(r received) any { return r.sockets.Times.TokenWarning }},
	{"websocket.allowed_origins", "https://ws.example", []string{"https://ws.example"}, func(r received) any { return r.sockets.AllowedOrigins }},
	{"presence.lease", "26s", 26 * time.Second, func(r received) any { return r.presence.Lease }},
	{"presence.offline_grace", "28s", 28 * time.Second, func(r received) any { return r.presence.OfflineGrace }},
	{"metrics.pprof", "true", true, func(r received) any { return metricsOptions(r.cfg).Pprof }},
	{"tracing.endpoint", "http://127.0.0.1:4318/x", "http://127.0.0.1:4318/x/v1/traces", func(r received) any { return r.tracing.Endpoint }},
	{"tracing.headers", "x-one=a%20b", "a b", func(r received) any { return r.tracing.Headers["x-one"] }},
	{"tracing.sample_ratio", "0.125", 0.125, func(r received) any { return r.tracing.SampleRatio }},
	{"shutdown.close_over", "3s", 3 * time.Second, func(r received) any { return r.sockets.CloseOver }},
}

// dropInUses are those of drop-in mode, which allows no keys.
var dropInUses = []optionUse{
	{"user_management.url", "http://users.example", "http://users.example", func(r received) any { return r.service.URL }},
	{"user_management.timeout", "31s", 31 * time.Second, func(r received) any { return r.service.Timeout }},
	{"user_management.concurrency", "33", [2]int{33, 16}, func(r received) any { return [2]int{r.service.Concurrency, r.recheck.AtATime} }},
	{"user_management.cache_ttl", "32s", 32 * time.Second, func(r received) any { return r.service.CacheFor }},
}

// kafkaUses are those of a server without the embedded broker.
var kafkaUses = []optionUse{
	{"kafka.brokers", "k1.example:9092,k2.example:9093", []string{"k1.example:9092", "k2.example:9093"}, func(r received) any { return r.cluster.Brokers }},
	{"kafka.topics", "verify", true, func(r received) any { return r.topics.VerifyOnly }},
	{"kafka.tls", "true", uint16(tls.VersionTLS12), func(r received) any { return r.cluster.TLS.MinVersion }},
	{"kafka.tls_server_name", "kafka.example", "kafka.example", func(r received) any { return r.cluster.TLS.ServerName }},
	{"kafka.sasl_mechanism", "PLAIN", "PLAIN", func(r received) any { return r.cluster.SASL.Name() }},
	{"kafka.sasl_username", "one", "one", func(r received) any { return r.cluster.SASL.(plain.Mechanism).Username }},
	{"kafka.sasl_password", "two", "two", func(r received) any { return r.cluster.SASL.(plain.Mechanism).Password }},
}

// usedElsewhere are the options that other tests look after.
var usedElsewhere = map[string]string{
	"metrics.addr": "TestANodeServesItsMetrics",
	"http.addr":    "TestAFailedStartNamesTheOptionThatCausedIt", "data_dir": "TestFilesThatAServerMakesAreForItsOwner",
	"kafka.tls_ca_file": "the tests of a secured Kafka", "kafka.tls_cert_file": "the tests of a secured Kafka",
	"kafka.tls_key_file": "the tests of a secured Kafka",
	"chat.html_escape":   "TestUseCasesGetTheirOptions", "chat.offline": "TestUseCasesGetTheirOptions",
	"history.enabled": "the contract", "invite.expires_after": "TestUseCasesGetTheirOptions",
	"limit.user_frames_per_second": "TestRatesAreTheConfiguredOnes", "limit.user_writes_per_second": "TestRatesAreTheConfiguredOnes",
	"limit.user_logins_per_second": "TestRatesAreTheConfiguredOnes", "limit.address_logins_per_second": "TestRatesAreTheConfiguredOnes",
	"limit.connections_per_user": "TestUseCasesGetTheirOptions",
	"limit.user_outbound_bytes":  "TestOutboundBytesAreBoundAsConfigured", "limit.outbound_bytes": "TestOutboundBytesAreBoundAsConfigured",
	"user_management.friends_reload": "TestUseCasesGetTheirOptions", "presence.hide_from_blocked": "TestUseCasesGetTheirOptions",
	"presence.leave_grace": "the tests of clusters", "shutdown.deadline": "TestUseCasesGetTheirOptions",
	"log.level": "TestTheLogHasWhatItsLevelSays", "log.format": "TestTheLogHasWhatItsLevelSays",
}

// TestEveryOptionReachesThePartThatItIsFor gives each option a value that no other one has.
func TestEveryOptionReachesThePartThatItIsFor(t *testing.T) {
	used := make(map[string]bool)
	for _, uses := range [][]optionUse{optionUses, kafkaUses, dropInUses} {
		environ := []string{"CHATTING_METRICS_ADDR=127.0.0.1:9600"} // which metrics.pprof needs
		for _, use := range uses {
			environ = append(environ, configs.Option{Key: use.key}.Env()+"="+use.value)
			used[use.key] = true
		}
		parts, usual := receivedOf(t, environ...), receivedOf(t)
		for _, use := range uses {
			if got := use.got(parts); !reflect.DeepEqual(got, use.want) {
				t.Errorf("%s: %s arrives as %v, want %v", use.key, use.value, got, use.want)
			}
			// Of some, what is usual depends on other options.
			depends := use.key == "s2s.trust_loopback" || strings.HasPrefix(use.key, "kafka.tls") || strings.HasPrefix(use.key, "kafka.sasl")
			if !depends && reflect.DeepEqual(use.got(usual), use.want) {
				t.Errorf("%s: %s is what arrives without it", use.key, use.value)
			}
		}
	}
	parts := receivedOf(t)
	if places := parts.connections.Requests + parts.connections.Reserve; parts.api.Concurrency <= places {
		t.Errorf("%d workers serve %d connections: one that was closed to make room keeps its worker for a moment", parts.api.Concurrency, places)
	}
	for _, option := range configs.Options() {
		if used[option.Key] == (usedElsewhere[option.Key] != "") {
			t.Errorf("%s: which test sees that this option is read? Name it once", option.Key)
		}
	}
}

func TestRatesAreTheConfiguredOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes between the questions
		rates := newRates(configured(t, "CHATTING_LIMIT_USER_FRAMES_PER_SECOND=102", "CHATTING_LIMIT_USER_WRITES_PER_SECOND=103",
			"CHATTING_LIMIT_USER_LOGINS_PER_SECOND=104", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=105",
			"CHATTING_RESUME_LOG_RECORDS=1060"))
		address := netip.MustParseAddr("192.0.2.1")
		logins := func(l *limits.Logins) func() time.Duration {
			return func() time.Duration { return l.Take(7, address.String()) }
		}
		for name, row := range map[string]struct {
			take func() time.Duration
			want int
		}{
			"frames":          {func() time.Duration { return rates.userFrames.Take(7, 1) }, 2 * 102},
			"writes":          {func() time.Duration { return rates.userWrites.Take(7, 1) }, 2 * 103},
			"logins":          {logins(rates.userLogins), 2*104 + 1}, // and the one that each address has
			"address logins":  {func() time.Duration { return rates.addressLogins.Take(address, 1) }, 2 * 105},
			"refused answers": {func() time.Duration { return rates.refusals.Take(7, 1) }, throttle.MaxRefusals},
			"records of the log": {func() time.Duration {
				if rates.mayReadPast(7, 1) && rates.mayReadPast(8, 0) {
					return 0
				}
				return time.Second
			}, 4 * 1060},
		} {
			at := 0
			for at <= 5000 && row.take() == 0 {
				at++
			}
			if at != row.want {
				t.Errorf("%s: %d may come at once, want %d", name, at, row.want)
			}
		}
	})
}

func TestOutboundBytesAreBoundAsConfigured(t *testing.T) {
	const ofUser, ofAll = 9 << 20, 40 << 20
	const atOnce = (ofAll - ofAll/8) / ofUser // an eighth is for holders that were cut off
	cfg := configured(t, "CHATTING_LIMIT_USER_OUTBOUND_BYTES=9MiB", "CHATTING_LIMIT_OUTBOUND_BYTES=40MiB")
	ledger := newByteLedger(cfg, time.Now)
	for user := domain.UserID(1); user <= atOnce; user++ {
		if !ledger.OpenFor(user, func() {}).Hold(ofUser) || ledger.Cuts() != 0 {
			t.Errorf("user %d: there is no room for %d bytes", user, ofUser)
		}
	}
	if !ledger.OpenFor(100, func() {}).Hold(ofUser) || ledger.Cuts() != 1 {
		t.Errorf("%d holders were cut off by one too many, want 1", ledger.Cuts())
	}
	if newByteLedger(cfg, time.Now).OpenFor(1, func() {}).Hold(ofUser + 1) {
		t.Error("a user may have more than limit.user_outbound_bytes")
	}
}

// silentLog confirms every event and shows none.
type silentLog struct{}

func (silentLog) Append(_ domain.Event, done func(error)) { done(nil) }

func TestAnEchoIsWaitedForAsLongAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		echoes := newEchoes(configured(t, "CHATTING_KAFKA_APPEND_DEADLINE=7s"), silentLog{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			echoes.Run(ctx)
		}()
		since, outcome := time.Now(), make(chan error, 1)
		echoes.Append(domain.Event{ID: domain.EventID(uuid.New())}, func(err error) { outcome <- err })
		err := <-outcome
		if waited := time.Since(since); waited != 7*time.Second || domain.CodeOf(err) != domain.CodeUnconfirmed {
			t.Errorf("after %s the outcome is %v, want %s after 7 s", waited, err, domain.CodeUnconfirmed)
		}
		stop()
		<-ended
	})
}

// useCasesOf are those of a server with options.
type useCasesOf struct {
	fx.In

	Blocks   blockParts
	Presence presenceParts
	Messages messageParts
	Invites  inviteParts
	History  historyParts
	Logins   loginParts
	Identity identity
}

func buildUseCases(t *testing.T, environ ...string) useCasesOf {
	t.Helper()
	cfg := configured(t, append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
		"CHATTING_KAFKA_PARTITIONS=3",
	}, environ...)...)
	var built useCasesOf
	server := newServer(newIdentity(cfg), cfg, slog.New(slog.DiscardHandler), fx.Invoke(func(u useCasesOf) { built = u }))
	if server.StopTimeout() != cfg.Shutdown.Deadline {
		t.Errorf("shutdown.deadline arrives as %s, want %s", server.StopTimeout(), cfg.Shutdown.Deadline)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	return built
}

func TestUseCasesGetTheirOptions(t *testing.T) {
	u := buildUseCases(t, "CHATTING_CHAT_HTML_ESCAPE=true", "CHATTING_CHAT_OFFLINE=store", "CHATTING_INVITE_EXPIRES_AFTER=19s",
		"CHATTING_LIMIT_CONNECTIONS_PER_USER=107", "CHATTING_SHUTDOWN_DEADLINE=28s", "CHATTING_HISTORY_RETENTION=18h")
	for name, row := range map[string][2]any{
		"chat.html_escape":           {u.Messages.Send.EscapeHTML, true},
		"invite.expires_after":       {u.Invites.Invite.Life, 19 * time.Second},
		"limit.connections_per_user": {u.Logins.Login.MaxPerUser, 107},
		"history.retention":          {u.History.Expire.Retention, 18 * time.Hour},
		"kafka.partitions":           {u.History.Erase.Partitions, 3},
		"rechecks with keys":         {u.Logins.Recheck.AtATime, 1},
		"the node's name":            {u.Presence.Set.Name, u.Identity.node},
	} {
		if row[0] != row[1] {
			t.Errorf("%s arrives as %v, want %v", name, row[0], row[1])
		}
	}
	for name, known := range map[string]bool{
		"messages":               u.Messages.Send.Stored != nil && u.Messages.Send.Mailboxes == u.Messages.Mailboxes && u.Messages.Mailboxes != nil,
		"system messages":        u.Messages.System.Stored != nil,
		"logins":                 u.Logins.Login.Replays.Stored == u.Messages.Stored && u.Messages.Stored != nil,
		"friends at a login":     u.Logins.Login.Lookup != nil && u.Logins.Login.Friends == nil, // the lookup has them
		"forgotten users":        u.Presence.Set.Forgotten != nil,
		"the versions of blocks": u.Logins.Delivery.Versions != nil,
		"the past": u.Logins.Past.Log == u.Logins.Log && u.Logins.Past.Versions != nil && u.Logins.Past.Erasures != nil &&
			u.Logins.Past.Verdicts == u.Logins.Delivery.Verdicts && u.Logins.Past.Verdicts != nil && u.Messages.Stored.Past == u.Logins.Past,
		"what is said again": u.Logins.Past.Repeats != nil && u.Logins.Delivery.Repeats == u.Logins.Past.Repeats && u.Logins.Past.Repeats.Log == u.Logins.Log &&
			u.Logins.Past.Repeats.History != nil && u.Logins.Past.Repeats.Progress != nil && u.Logins.Past.Repeats.Acts != nil &&
			u.Logins.Past.Repeats.Verdicts == u.Logins.Delivery.Verdicts && u.Logins.Past.Repeats.MayRead != nil,
		"friends":                       u.Presence.Friends != nil,
		"the relay of blocks":           u.Blocks.Relay.Every == relayEvery,
		"lines about refused tokens":    u.Logins.Authenticate.Notices != nil && u.Logins.Recheck.Notices == u.Logins.Authenticate.Notices,
		"friends that cannot be loaded": u.Presence.Refresh.Retry == refreshRetry && u.Presence.Refresh.AtATime == refreshAtATime && u.Presence.Refresh.MaxAge == 0,
	} {
		if !known {
			t.Errorf("%s: a part is missing or wrong", name)
		}
	}
	if hidden := [...]*blocks.HidePresence{u.Messages.Send.Hide, u.Invites.Invite.Hide, u.Presence.IsOnline.Hide, u.Logins.Login.Hide, u.Presence.Refresh.Hide}; u.Blocks.Hide == nil ||
		hidden != [...]*blocks.HidePresence{u.Blocks.Hide, u.Blocks.Hide, u.Blocks.Hide, u.Blocks.Hide, u.Blocks.Hide} || !u.Presence.Set.HidesFromBlocked {
		t.Errorf("presence.hide_from_blocked is not in force everywhere: %v, %t", hidden, u.Presence.Set.HidesFromBlocked)
	}

	u = buildUseCases(t, "CHATTING_USER_MANAGEMENT_URL=http://"+away, "CHATTING_USER_MANAGEMENT_FRIENDS_RELOAD=34s",
		"CHATTING_USER_MANAGEMENT_CONCURRENCY=33")
	if u.Presence.Refresh.MaxAge != 34*time.Second || u.Presence.Refresh.AtATime != 16 || u.Logins.Recheck.AtATime != 16 || u.Presence.Friends != nil {
		t.Errorf("in drop-in mode friends are loaded again after %s, %d at a time", u.Presence.Refresh.MaxAge, u.Presence.Refresh.AtATime)
	}
	if u.Logins.Login.Friends == nil {
		t.Error("in drop-in mode a login does not ask the service for friends")
	}
	if u.Blocks.Hide != nil || u.Messages.Send.Hide != nil || u.Presence.Set.HidesFromBlocked {
		t.Error("in drop-in mode presence is hidden, unless told otherwise")
	}
	if u.Messages.Send.Stored != nil || u.Messages.System.Stored != nil || u.Logins.Login.Replays.Stored != nil {
		t.Error("chat.offline is reject, and messages are stored")
	}
}
