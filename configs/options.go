package configs

import (
	"net/netip"
	"strings"
	"time"
)

// Option describes one setting. The table of all options is the only place where they are defined: loading, the flags,
// the example file, the printed configuration and the documentation follow it.
type Option struct {
	Key     string // in the file, its levels joined by dots: http.addr
	Flag    bool   // may be given on the command line, too
	Default string // as it would be written in the environment; "" where there is none
	Unit    string // what kind of value it is: "host:port", "duration", "size", "URL", ...
	Doc     string // one or more sentences; what an empty value means, what the bounds are for
	Secret  bool   // never printed, but for the host of a URL, and readable from a file: see FileKey

	set setter
}

// unitURL is the unit of options that are a URL of their own. Nothing of it but its host is ever printed.
const unitURL = "URL"

// envPrefix begins the name of every environment variable that is for this server.
const envPrefix = "CHATTING_"

// Env returns the name of the environment variable: CHATTING_HTTP_ADDR for http.addr.
func (o Option) Env() string { return envName(o.Key) }

// FlagName returns the name of the flag, without hyphens before it: http-addr for http.addr.
func (o Option) FlagName() string { return strings.NewReplacer(".", "-", "_", "-").Replace(o.Key) }

// FileKey returns the key under which the name of a file that holds a secret can be given instead: jwt.secret_file for
// jwt.secret, and so CHATTING_JWT_SECRET_FILE.
func (o Option) FileKey() string { return o.Key + "_file" }

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Options returns the table, in the order in which the example file shows it.
func Options() []Option { return append([]Option(nil), options...) }

// sections says what each group of options is about, for the example file.
var sections = map[string]string{
	"http":            "The listener of REST, WebSocket and service-to-service calls.",
	"kafka":           "The log that every event goes through.",
	"embedded_kafka":  "The Kafka-protocol broker inside the process. It is for trial, development and one small node.",
	"database":        "Users, blocks, friends, the history and the delivery cursors.",
	"jwt":             "Tokens. Several sources of keys together are fine: a token is good by any of them.",
	"jwks":            "Tokens signed by an identity provider.",
	"user_management": "Drop-in mode: the service that the original server asked decides on tokens and friends.",
	"s2s":             "Calls of other servers of the platform.",
	"chat":            "Texts, and who can be reached.",
	"history":         "What was said, in the database.",
	"invite":          "Game invites.",
	"limit":           "Caps; 0 means none.",
	"websocket":       "The socket.",
	"presence":        "Who is online.",
	"shutdown":        "Leaving.",
	"log":             "Log lines, on standard error.",
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

var options = []Option{
	{Key: "http.addr", Flag: true, Default: "127.0.0.1:8000", Unit: "host:port",
		Doc: "Where the server listens. An empty host (:8000) means every interface, port 0 a free one.",
		set: address(func(c *Config) *Address { return &c.HTTP.Addr })},
	{Key: "http.cors_origins", Unit: "list of origins",
		Doc: "Web pages of which origins may call the REST API. Empty: CORS is off. * alone: any page on the web may. " +
			"For how to write origins, see websocket.allowed_origins.",
		set: originList(func(c *Config) *[]string { return &c.HTTP.CORSOrigins })},
	{Key: "http.cors_headers", Unit: "list of header names",
		Doc: "Further request headers that these pages may send, beside Authorization, Content-Type, X-Requested-With, X-CSRFToken, " +
			"traceparent, tracestate and baggage.",
		set: headerNames(func(c *Config) *[]string { return &c.HTTP.CORSHeaders })},
	{Key: "http.body_limit", Default: "1MiB", Unit: "size",
		Doc: "The longest body of a request.",
		set: size(kib, 64*mib, func(c *Config) *int { return &c.HTTP.BodyLimit })},
	{Key: "http.read_timeout", Default: "10s", Unit: "duration",
		Doc: "How long a request may take to arrive.",
		set: duration(100*time.Millisecond, 10*time.Minute, func(c *Config) *time.Duration { return &c.HTTP.ReadTimeout })},
	{Key: "http.idle_timeout", Default: "60s", Unit: "duration",
		Doc: "How long a connection may wait for its next request.",
		set: duration(100*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.HTTP.IdleTimeout })},
	{Key: "http.trusted_proxies", Unit: "list of addresses or networks",
		Doc: "Reverse proxies, as 10.0.0.7 or 10.0.0.0/8, that are believed in X-Forwarded-For: limits and logs then count the " +
			"client that it names. Empty: none. What they say never decides who may call /s2sapi/, " +
			"but a server behind a proxy is no trial server: see s2s.trust_loopback.",
		set: networks(func(c *Config) *[]netip.Prefix { return &c.HTTP.TrustedProxies })},
	{Key: "http.page_bytes", Default: "512KiB", Unit: "size",
		Doc: "How many bytes of messages a page of the history has at most, one message at least. " +
			"The lower bound is the longest one there can be: 64 KiB of text, every character of it escaped.",
		set: size(512*kib, 2*mib, func(c *Config) *int { return &c.HTTP.PageBytes })},

	{Key: "data_dir", Flag: true, Default: "./data", Unit: "directory",
		Doc: "Where everything embedded is kept: the broker's log, the SQLite file, the secrets that the server made. Made if it is missing.",
		set: path(false, func(c *Config) *string { return &c.DataDir })},
	{Key: "topic_prefix", Flag: true, Default: "chatting", Unit: "text",
		Doc: "The beginning of topic names: chatting gives chatting.conversations. Letters, digits, dot, _ and -.",
		set: topicPrefix},

	{Key: "kafka.brokers", Flag: true, Unit: "list of host:port",
		Doc: "Some brokers of the cluster, version 4.0 or newer. Empty: the broker inside the process.",
		set: brokers(func(c *Config) *[]string { return &c.Kafka.Brokers })},
	{Key: "kafka.partitions", Default: "16", Unit: "number",
		Doc: "Partitions of each topic. It cannot be changed once there are topics, because keys would move.",
		set: integer(1, 1024, func(c *Config) *int { return &c.Kafka.Partitions })},
	{Key: "kafka.append_deadline", Default: "5s", Unit: "duration",
		Doc: "How long a message may wait for its acknowledgement until its sender is told that the outcome is unknown.",
		set: duration(100*time.Millisecond, time.Minute, func(c *Config) *time.Duration { return &c.Kafka.AppendDeadline })},
	{Key: "kafka.topics", Default: "create", Unit: "create or verify",
		Doc: "create: the server makes the topics that are missing. verify: you make them; the server needs no right to, " +
			"and does not start on topics that are missing or wrong.",
		set: topicsMode},
	{Key: "kafka.tls", Default: "false", Unit: "true or false",
		Doc: "Speak TLS to the brokers. Their certificates are always checked.",
		set: boolean(func(c *Config) *bool { return &c.Kafka.TLS.On })},
	{Key: "kafka.tls_ca_file", Unit: "file",
		Doc: "PEM file with the authorities that the brokers' certificates must come from. Empty: those of the system.",
		set: path(true, func(c *Config) *string { return &c.Kafka.TLS.CAFile })},
	{Key: "kafka.tls_cert_file", Unit: "file",
		Doc: "PEM file with the certificate that the server shows to brokers that ask for one. Empty: none.",
		set: path(true, func(c *Config) *string { return &c.Kafka.TLS.CertFile })},
	{Key: "kafka.tls_key_file", Unit: "file",
		Doc: "PEM file with the key of that certificate, not encrypted.",
		set: path(true, func(c *Config) *string { return &c.Kafka.TLS.KeyFile })},
	{Key: "kafka.tls_server_name", Unit: "host",
		Doc: "The name that the certificate of every broker must be for. Empty: the host of its address.",
		set: host(func(c *Config) *string { return &c.Kafka.TLS.ServerName })},
	{Key: "kafka.sasl_mechanism", Unit: "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
		Doc: "How the server authenticates to the brokers. Empty: not at all, or by its certificate. " +
			"PLAIN shows them the password, so use it over TLS only.",
		set: saslMechanism},
	{Key: "kafka.sasl_username", Unit: "text",
		Doc: "The user that the brokers know the server by.",
		set: credential(func(c *Config) *string { return &c.Kafka.SASL.Username })},
	{Key: "kafka.sasl_password", Unit: "secret", Secret: true,
		Doc: "The password of that user.",
		set: saslPassword},
	{Key: "embedded_kafka.addr", Flag: true, Default: "127.0.0.1:9092", Unit: "host:port",
		Doc: "Where the broker inside the process listens, for any Kafka client. It asks for no password: keep it on loopback.",
		set: address(func(c *Config) *Address { return &c.EmbeddedKafka.Addr })},
	{Key: "embedded_kafka.allow_remote", Default: "false", Unit: "true or false",
		Doc: "Allow an embedded_kafka.addr that is not a loopback address. Then every program that reaches it " +
			"can read and write all topics.",
		set: boolean(func(c *Config) *bool { return &c.EmbeddedKafka.AllowRemote })},
	{Key: "embedded_kafka.client_bytes", Default: "64MiB", Unit: "size",
		Doc: "What may be under way between that broker and all its clients: half of it requests, half of it answers. " +
			"The server's own connections do not count.",
		set: size(32*mib, 1024*mib, func(c *Config) *int { return &c.EmbeddedKafka.ClientBytes })},

	{Key: "database.url", Unit: unitURL, Secret: true,
		Doc: "postgres://user:password@host:port/database, or sqlite:PATH. Empty: chatting.db in the data directory.",
		set: databaseURL},
	{Key: "database.max_open_conns", Default: "16", Unit: "number",
		Doc: "Connections to the database at a time; with SQLite those that read, beside the one that writes.",
		set: integer(1, 10000, func(c *Config) *int { return &c.Database.MaxOpenConns })},
	{Key: "database.max_idle_conns", Default: "4", Unit: "number",
		Doc: "Connections to the database that are kept when there is nothing to do; at most database.max_open_conns.",
		set: integer(0, 10000, func(c *Config) *int { return &c.Database.MaxIdleConns })},
	{Key: "database.timeout", Default: "5s", Unit: "duration",
		Doc: "How long one access to the database may take.",
		set: duration(100*time.Millisecond, time.Minute, func(c *Config) *time.Duration { return &c.Database.Timeout })},

	{Key: "jwt.secret", Unit: "secret", Secret: true,
		Doc: "Key of HS256, HS384 and HS512 tokens, at least 32 bytes. With no key configured at all, " +
			"the first start makes one in the data directory.",
		set: secret(32, func(c *Config) *Secret { return &c.JWT.Secret })},
	{Key: "jwt.public_key_file", Flag: true, Unit: "file",
		Doc: "PEM file with the public key of RS*, ES* or EdDSA tokens.",
		set: path(true, func(c *Config) *string { return &c.JWT.PublicKeyFile })},
	{Key: "jwt.issuer", Unit: "text",
		Doc: "What iss of a token must be, whichever key signed it. Empty: anything.",
		set: credential(func(c *Config) *string { return &c.JWT.Issuer })},
	{Key: "jwt.audience", Unit: "list of text",
		Doc: "The aud of a token must name at least one of these. Empty: aud is not looked at.",
		set: list(func(c *Config) *[]string { return &c.JWT.Audiences }, audience)},
	{Key: "jwt.user_claim", Unit: "text",
		Doc: "The claim that names the user by a positive integer, as a number or a string. Not iss, aud, exp, nbf, iat or jti. " +
			"Empty: user_id, or sub in tokens without user_id.",
		set: userClaim},
	{Key: "jwt.leeway", Default: "5s", Unit: "duration",
		Doc: "How far the issuer's clock may be ahead: nbf of a token may lie that much in the future. exp has no leeway.",
		set: duration(0, 5*time.Minute, func(c *Config) *time.Duration { return &c.JWT.Leeway })},
	{Key: "jwks.url", Flag: true, Unit: unitURL,
		Doc: "Key set (JWKS) of the identity provider that issues tokens.",
		set: webURL(func(c *Config) *URL { return &c.JWKS.URL })},
	{Key: "jwks.refresh", Default: "5m", Unit: "duration",
		Doc: "After how long the key set is loaded again, so that withdrawn keys are refused. A token with an unknown key has it loaded sooner.",
		set: duration(time.Second, 24*time.Hour, func(c *Config) *time.Duration { return &c.JWKS.Refresh })},
	{Key: "jwks.max_age", Default: "24h", Unit: "duration",
		Doc: "How long the last key set is used while it cannot be loaded again. After that /readyz fails. " +
			"Must be more than jwks.refresh.",
		set: duration(2*time.Second, 30*24*time.Hour, func(c *Config) *time.Duration { return &c.JWKS.MaxAge })},

	{Key: "user_management.url", Flag: true, Unit: unitURL,
		Doc: "The user-management service of the original server. Set: drop-in mode, where it decides on tokens and " +
			"friends alone, so that no token key may be set as well.",
		set: webURL(func(c *Config) *URL { return &c.UserManagement.URL })},
	{Key: "user_management.timeout", Default: "3s", Unit: "duration",
		Doc: "How long one answer of the service may take.",
		set: duration(100*time.Millisecond, time.Minute, func(c *Config) *time.Duration { return &c.UserManagement.Timeout })},
	{Key: "user_management.concurrency", Default: "32", Unit: "number",
		Doc: "Requests to the service at a time.",
		set: integer(1, 10000, func(c *Config) *int { return &c.UserManagement.Concurrency })},
	{Key: "user_management.cache_ttl", Default: "5s", Unit: "duration",
		Doc: "For how long the answer about a token counts without asking again; 0s asks every time.",
		set: duration(0, 10*time.Minute, func(c *Config) *time.Duration { return &c.UserManagement.CacheTTL })},
	{Key: "user_management.friends_reload", Default: "60s", Unit: "duration",
		Doc: "Within which time the friends of a user who is online are asked for again, with at most half of " +
			"user_management.concurrency at a time.",
		set: duration(time.Second, 24*time.Hour, func(c *Config) *time.Duration { return &c.UserManagement.FriendsReload })},

	{Key: "s2s.token", Unit: "secret", Secret: true,
		Doc: "Bearer token of the servers that may call /s2sapi/, at least 16 bytes: letters, digits and -._~+/, and = at the end. " +
			"The same on all nodes. Empty: the first start makes one in the data directory, unless s2s.trust_loopback is in force.",
		set: bearer(16, func(c *Config) *Secret { return &c.S2S.Token })},
	{Key: "s2s.trust_loopback", Unit: "true or false",
		Doc: "Let programs on this machine call /s2sapi/ without the token. A reverse proxy on this machine is such a program, unless it " +
			"sets X-Forwarded-For. Empty: true for a trial server, which has everything embedded, no token key, no s2s.token, no " +
			"http.trusted_proxies, and loopback addresses in http.addr and embedded_kafka.addr; false otherwise.",
		set: trustLoopback},

	// After user_management.url, on which its default depends.
	{Key: "chat.html_escape", Unit: "true or false",
		Doc: "Replace & < > \" ' in texts by entities, as the original server did. Empty: true in drop-in mode, false otherwise.",
		set: htmlEscape},
	{Key: "chat.offline", Default: "reject", Unit: "reject or store",
		Doc: "What becomes of a message to a known user who is offline. reject: its sender is told so. store: it is kept and " +
			"delivered at the next login; needs history.enabled.",
		set: offline},
	{Key: "chat.offline_messages_per_sender", Default: "1000", Unit: "number",
		Doc: "With store: how many messages of one sender may wait for one user who is offline. More are refused with " +
			"mailbox_full. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Chat.OfflineMessagesPerSender })},
	{Key: "chat.offline_bytes_per_sender", Default: "1MiB", Unit: "size",
		Doc: "With store: how many bytes of frames of one sender may wait for one user who is offline. 0: no limit.",
		set: size(0, 1024*mib, func(c *Config) *int { return &c.Chat.OfflineBytesPerSender })},

	{Key: "history.enabled", Default: "true", Unit: "true or false",
		Doc: "Keep what is said in the database, for clients that scroll back. The same on all nodes.",
		set: boolean(func(c *Config) *bool { return &c.History.Enabled })},
	{Key: "history.retention", Default: "2160h", Unit: "duration",
		Doc: "For how long it is kept there: 2160h are 90 days.",
		set: duration(time.Hour, 10*365*24*time.Hour, func(c *Config) *time.Duration { return &c.History.Retention })},
	{Key: "history.delay", Default: "500ms", Unit: "duration",
		Doc: "For how long what was said may wait until it is written there together with what follows it. Fewer, larger writes leave the disk " +
			"and the processors to live chat. A client that asks for the history does not wait so long. 0s writes at once. At most 2s.",
		set: duration(0, 2*time.Second, func(c *Config) *time.Duration { return &c.History.Delay })},

	{Key: "invite.expires_after", Default: "60s", Unit: "duration",
		Doc: "How long a game invite waits for its answer. The same on all nodes.",
		set: duration(time.Second, 10*time.Minute, func(c *Config) *time.Duration { return &c.Invite.ExpiresAfter })},

	{Key: "limit.frames_per_second", Default: "100", Unit: "number",
		Doc: "Frames that one connection may send in a second, control frames too; twice as many may come at once. " +
			"A frame counts one more for each 4 KiB. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.FramesPerSecond })},
	// After limit.frames_per_second, on which its default depends.
	{Key: "limit.user_frames_per_second", Unit: "number",
		Doc: "The same over all connections of one user. Connections that go on sending above a limit are closed with 1008. " +
			"Empty: twice limit.frames_per_second. 0: no limit.",
		set: userFrames},
	{Key: "limit.user_writes_per_second", Default: "50", Unit: "number",
		Doc: "POST, PUT and DELETE requests of one user in a second; twice as many may come at once, more get 429. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.UserWritesPerSecond })},
	{Key: "limit.user_logins_per_second", Default: "50", Unit: "number",
		Doc: "Logins and renewals of one user in a second; twice as many may come at once, more are closed with 1013. Each " +
			"address may log the user in once in 10 s all the same. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.UserLoginsPerSecond })},
	{Key: "limit.address_logins_per_second", Default: "5000", Unit: "number",
		Doc: "Login attempts from one address in a second, and requests whose token is refused; twice as many may come at once. " +
			"More are closed with 1013, or get 429. Behind a load balancer every client may have the balancer's address. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.AddressLoginsPerSecond })},
	{Key: "limit.connections", Default: "10000", Unit: "number",
		Doc: "WebSocket connections in all; 0: no limit. Each needs an open file: see ulimit -n.",
		set: limit(func(c *Config) *int { return &c.Limit.Connections })},
	{Key: "limit.connections_per_user", Default: "32", Unit: "number",
		Doc: "WebSocket connections of one user on a node. At the next login the oldest is closed with 3409. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.ConnectionsPerUser })},
	{Key: "limit.connections_per_address", Default: "0", Unit: "number",
		Doc: "WebSocket connections from one address; 0: no limit. Behind a load balancer every client has the balancer's address.",
		set: limit(func(c *Config) *int { return &c.Limit.ConnectionsPerAddress })},
	{Key: "limit.address_http_connections", Default: "4096", Unit: "number",
		Doc: "HTTP connections from one address, or IPv6 network of 64 bits, and so requests at a time. WebSocket connections do not " +
			"count, nor do connections of http.trusted_proxies. 0: no limit. Behind a load balancer every client has the balancer's address.",
		set: limit(func(c *Config) *int { return &c.Limit.AddressHTTPConnections })},
	{Key: "limit.user_concurrent_requests", Default: "8", Unit: "number",
		Doc: "REST requests of one user that are carried out at once; more get 429. 0: no limit.",
		set: limit(func(c *Config) *int { return &c.Limit.UserConcurrentRequests })},
	{Key: "limit.user_outbound_bytes", Default: "8MiB", Unit: "size",
		Doc: "Bytes that are under way for one user, over all its connections: frames and answers that it did not take yet, and " +
			"messages that it has not finished sending. For more, its slowest connection is cut off. 0: no limit.",
		set: sizeOrNone(4*mib, 1024*mib, func(c *Config) *int { return &c.Limit.UserOutboundBytes })},
	{Key: "limit.outbound_bytes", Default: "256MiB", Unit: "size",
		Doc: "The same for all users together. For more, the slowest connections are cut off: sockets with 1013. 0: no limit.",
		set: sizeOrNone(32*mib, 1024*1024*mib, func(c *Config) *int { return &c.Limit.OutboundBytes })},
	{Key: "limit.inbound_bytes", Default: "64MiB", Unit: "size",
		Doc: "Bodies of requests longer than 16 KiB that are under way together; more get 503. Half of it is for servers that bear " +
			"s2s.token. 0: no limit.",
		set: sizeOrNone(2*mib, 1024*1024*mib, func(c *Config) *int { return &c.Limit.InboundBytes })},

	{Key: "websocket.max_frame_bytes", Default: "64KiB", Unit: "size",
		Doc: "The longest frame of a client; a longer one closes its connection with 1009.",
		set: size(kib, mib, func(c *Config) *int { return &c.WebSocket.MaxFrameBytes })},
	{Key: "websocket.outbound_queue_bytes", Default: "1MiB", Unit: "size",
		Doc: "What may wait for a slow reader before its connection is closed with 1013. " +
			"The lower bound is the longest frame there can be: 64 KiB of text, every character of it escaped.",
		set: size(512*kib, 256*mib, func(c *Config) *int { return &c.WebSocket.OutboundQueueBytes })},
	{Key: "websocket.login_deadline", Default: "10s", Unit: "duration",
		Doc: "How long a connection may take to send its first frame.",
		set: duration(100*time.Millisecond, 10*time.Minute, func(c *Config) *time.Duration { return &c.WebSocket.LoginDeadline })},
	{Key: "websocket.ping_after", Default: "20s", Unit: "duration",
		Doc: "After how much silence a client is pinged.",
		set: duration(100*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.WebSocket.PingAfter })},
	{Key: "websocket.pong_wait", Default: "30s", Unit: "duration",
		Doc: "How much more silence after a ping ends the connection.",
		set: duration(100*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.WebSocket.PongWait })},
	{Key: "websocket.write_timeout", Default: "10s", Unit: "duration",
		Doc: "How long one write to a client may take.",
		set: duration(100*time.Millisecond, 10*time.Minute, func(c *Config) *time.Duration { return &c.WebSocket.WriteTimeout })},
	{Key: "websocket.token_recheck", Default: "60s", Unit: "duration",
		Doc: "How often, at least, the token of an open connection is verified again, by the keys or by the user-management service. " +
			"A connection whose token is revoked is then closed with 3401.",
		set: duration(time.Second, 24*time.Hour, func(c *Config) *time.Duration { return &c.WebSocket.TokenRecheck })},
	{Key: "websocket.allowed_origins", Unit: "list of origins",
		Doc: "Web pages of which origins may open the socket. Empty: pages of the same host only. * alone: any page on the web may. " +
			"https://example.com, capacitor://localhost, app://. or null (in a YAML file \"null\") name one origin, " +
			"https://*.example.com those of all names below example.com. Clients that are no browsers send no origin and are always let in.",
		set: originList(func(c *Config) *[]string { return &c.WebSocket.AllowedOrigins })},

	{Key: "presence.lease", Default: "6s", Unit: "duration",
		Doc: "A node that is silent for so long is dead, and its users are offline. The same on all nodes.",
		set: duration(3*time.Second, time.Minute, func(c *Config) *time.Duration { return &c.Presence.Lease })},
	// After user_management.url, on which its default depends.
	{Key: "presence.hide_from_blocked", Unit: "true or false",
		Doc: "Keep from a user who is blocked whether the one who blocked is online: the blocked user sees an offline one, and what it " +
			"sends is echoed either way. The original server does not hide. The same on all nodes. Empty: false in drop-in mode, true " +
			"otherwise.",
		set: hideFromBlocked},
	{Key: "presence.leave_grace", Default: "0s", Unit: "duration",
		Doc: "For how long the users of a node that leaves on purpose stay online for others, so that who comes back " +
			"on another node in time was never offline.",
		set: duration(0, 5*time.Minute, func(c *Config) *time.Duration { return &c.Presence.LeaveGrace })},

	{Key: "shutdown.deadline", Default: "10s", Unit: "duration",
		Doc: "After how long a server that was asked to leave does so, finished or not.",
		set: duration(time.Second, time.Minute, func(c *Config) *time.Duration { return &c.Shutdown.Deadline })},
	{Key: "shutdown.close_over", Default: "2s", Unit: "duration",
		Doc: "Over how long the closing of the sockets is spread, so that not all clients come to the other nodes at once. " +
			"Less than shutdown.deadline; 0s closes all at once.",
		set: duration(0, time.Minute, func(c *Config) *time.Duration { return &c.Shutdown.CloseOver })},

	{Key: "log.level", Flag: true, Default: "info", Unit: "debug, info, warn or error",
		Doc: "The least important lines that are written.",
		set: logLevel},
	{Key: "log.format", Flag: true, Default: "auto", Unit: "auto, text or json",
		Doc: "auto is text on a terminal and JSON otherwise.",
		set: logFormat},
}
