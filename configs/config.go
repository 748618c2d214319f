// Package configs holds the configuration of the server: one table of options (their names, defaults, units and
// meaning), its loading from a YAML file, the environment and flags, and the typed, validated result.
package configs

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"
)

// Config is a complete and valid configuration, as Load returns it. It is handed on by value and never changes; its
// slices are read only.
type Config struct {
	HTTP           HTTP
	DataDir        string // directory of everything that is embedded; relative to the working directory
	EmbeddedKafka  EmbeddedKafka
	Kafka          Kafka
	TopicPrefix    string // before the dot of each topic's name; legal in Kafka topic names
	Database       Database
	JWT            JWT
	JWKS           JWKS
	UserManagement UserManagement
	S2S            S2S
	Chat           Chat
	History        History
	Invite         Invite
	Limit          Limit
	WebSocket      WebSocket
	Presence       Presence
	Shutdown       Shutdown
	Log            Log

	// settings are what the options were given, in the order of the table: for Masked.
	settings []setting
}

// HTTP is the listener of REST, WebSocket and service calls.
type HTTP struct {
	Addr        Address
	CORSOrigins []string // as origins.NewSet takes them, "*" only alone; empty: CORS is off
	CORSHeaders []string // that pages may send beside those of origins.CORS
	BodyLimit   int      // bytes of a request's body
	PageBytes   int      // of the messages of a page
	ReadTimeout time.Duration
	IdleTimeout time.Duration
	// TrustedProxies are believed about their clients' addresses. Each network is masked, and none is IPv4 mapped to IPv6.
	TrustedProxies []netip.Prefix
}

// EmbeddedKafka is the broker inside the process. It runs when Kafka.Brokers is empty.
type EmbeddedKafka struct {
	Addr        Address
	AllowRemote bool // Addr may be no loopback address
	ClientBytes int  // requests and answers of all clients under way, half for each
}

// Kafka is the log that every event goes through.
type Kafka struct {
	Brokers        []string // host:port; empty: the embedded broker
	Partitions     int      // of each topic that the server creates
	AppendDeadline time.Duration
	Topics         TopicsMode
	TLS            KafkaTLS
	SASL           KafkaSASL
}

// TopicsMode says who makes the topics.
type TopicsMode string

// The ways to come to topics.
const (
	TopicsCreate TopicsMode = "create" // the server creates those that are missing
	TopicsVerify TopicsMode = "verify" // the operator made them, and the server refuses to start on wrong ones
)

// KafkaTLS is the encryption of connections to the brokers. Its files are named, not read.
type KafkaTLS struct {
	On         bool
	CAFile     string // PEM; empty: the system's roots
	CertFile   string // PEM, the client's certificate chain; empty, as KeyFile then is: none
	KeyFile    string // PEM
	ServerName string // that the brokers' certificates must be for; empty: the host of each broker's address
}

// KafkaSASL is how the server proves to the brokers who it is.
type KafkaSASL struct {
	Mechanism SASLMechanism
	Username  string // as Password, set where there is a mechanism and only there
	Password  Secret
}

// SASLMechanism is the name of a mechanism as brokers spell it; SASLNone for none.
type SASLMechanism string

// The mechanisms.
const (
	SASLNone        SASLMechanism = ""
	SASLPlain       SASLMechanism = "PLAIN"
	SASLScramSHA256 SASLMechanism = "SCRAM-SHA-256"
	SASLScramSHA512 SASLMechanism = "SCRAM-SHA-512"
)

// Embedded tells whether the broker inside the process is the log.
func (k Kafka) Embedded() bool { return len(k.Brokers) == 0 }

// Database holds users, blocks and friends.
type Database struct {
	URL          URL // postgres:, postgresql: or sqlite:; never empty, see Embedded
	MaxOpenConns int
	MaxIdleConns int
	Timeout      time.Duration // of one statement or transaction
	// Embedded tells that no database was configured, so that URL is the SQLite file in the data directory.
	Embedded bool
}

// JWT holds the keys that tokens are verified with. More than one source may be set: a token is good by any.
type JWT struct {
	Secret        Secret // HMAC, at least 32 bytes; empty: see Config.GeneratesSecret
	PublicKeyFile string // PEM; empty: none

	Issuer    string        // that tokens must have; empty: any
	Audiences []string      // of which tokens must name one; empty: any
	UserClaim string        // that names the user; empty: user_id or sub
	Leeway    time.Duration // by which nbf may lie in the future
}

// JWKS is a key set that is fetched.
type JWKS struct {
	URL     URL           // http or https; empty: none
	Refresh time.Duration // the set is fetched again after that
	MaxAge  time.Duration // the last set counts for so long where that fails; more than Refresh
}

// UserManagement is the service that the original server asked about tokens and friends.
type UserManagement struct {
	URL           URL // http or https; empty: not in drop-in mode
	Timeout       time.Duration
	Concurrency   int // requests to the service at a time
	CacheTTL      time.Duration
	FriendsReload time.Duration // how long a list of friends is good for
}

// S2S guards /s2sapi/.
type S2S struct {
	Token Secret // empty: see Config.GeneratesS2SToken
	// TrustLoopback lets programs on this machine call without the token.
	TrustLoopback bool
}

// Chat has the rules for texts.
type Chat struct {
	HTMLEscape bool // & < > " ' are replaced before the append
	Offline    OfflineMode
	// What one user may have stored for another one who is offline; 0 means no bound.
	OfflineMessagesPerSender int
	OfflineBytesPerSender    int
}

// OfflineMode says what becomes of messages to known users who are offline.
type OfflineMode string

// The modes for messages to offline users.
const (
	OfflineReject OfflineMode = "reject" // the sender is told
	OfflineStore  OfflineMode = "store"  // they are delivered at the next login; only where the history is enabled
)

// History is what was said, as the database has it.
type History struct {
	Enabled   bool
	Retention time.Duration // by the age of messages
	Delay     time.Duration // what was said waits for what follows it
}

// Invite has the times of game invites.
type Invite struct {
	ExpiresAfter time.Duration
}

// Limit holds the caps; 0 means none.
type Limit struct {
	FramesPerSecond        int // a connection
	UserFramesPerSecond    int // of a user, on this process, as the next ones
	UserWritesPerSecond    int // REST requests that may change something
	UserLoginsPerSecond    int
	AddressLoginsPerSecond int
	Connections            int // of this process
	ConnectionsPerUser     int
	ConnectionsPerAddress  int
	// AddressHTTPConnections are the connections of one address that serve HTTP.
	AddressHTTPConnections int

	UserConcurrentRequests int
	UserOutboundBytes      int // under way for one user
	OutboundBytes          int // under way in all
	InboundBytes           int // of long bodies
}

// WebSocket has the times and sizes of the socket.
type WebSocket struct {
	MaxFrameBytes      int
	OutboundQueueBytes int
	LoginDeadline      time.Duration
	PingAfter          time.Duration // of silence
	PongWait           time.Duration // after the ping
	WriteTimeout       time.Duration
	TokenRecheck       time.Duration // the longest time between two checks of an open connection's token
	AllowedOrigins     []string      // as origins.NewSet takes them, "*" only alone; empty: same host
}

// Presence has the times of presence.
type Presence struct {
	Lease           time.Duration // a node silent for so long is dead
	HideFromBlocked bool          // who is blocked does not see the presence of the one who blocked
	LeaveGrace      time.Duration // the users of a node that leaves on purpose stay online for so long
}

// Shutdown has the times of leaving.
type Shutdown struct {
	Deadline  time.Duration
	CloseOver time.Duration // the closing of sockets is spread over it; less than Deadline
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format LogFormat
}

// LogFormat is a way to write log lines.
type LogFormat string

// The formats of log lines.
const (
	LogAuto LogFormat = "auto" // text on a terminal, JSON otherwise
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// DropIn tells whether the user-management service decides on tokens and friends.
func (c Config) DropIn() bool { return !c.UserManagement.URL.IsZero() }

// GeneratesSecret tells whether tokens are verified by the secret that the first start makes in the data directory:
// because nothing else that could verify them is configured.
func (c Config) GeneratesSecret() bool {
	return !c.DropIn() && !c.JWT.Secret.IsSet() && c.JWT.PublicKeyFile == "" && c.JWKS.URL.IsZero()
}

// GeneratesS2SToken tells whether other servers authenticate by the token that the first start makes in the data directory.
func (c Config) GeneratesS2SToken() bool { return !c.S2S.Token.IsSet() && !c.S2S.TrustLoopback }

// isTrial tells whether nothing is configured for real use: everything is embedded, nothing but this server makes tokens, and
// only this machine reaches it. A proxy in front lets others reach it.
func (c Config) isTrial() bool {
	return c.Kafka.Embedded() && c.Database.Embedded && c.GeneratesSecret() && !c.S2S.Token.IsSet() &&
		c.HTTP.Addr.IsLoopback() && c.EmbeddedKafka.Addr.IsLoopback() && len(c.HTTP.TrustedProxies) == 0
}

// sqliteFile is where the database is when none is configured.
func (c Config) sqliteFile() string { return sqliteScheme + filepath.Join(c.DataDir, "chatting.db") }
