package configs

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	longSecret = "0123456789abcdef0123456789abcdef"
	longToken  = "0123456789abcdef"
)

// load writes yaml to a file, if there is any, and loads it beside the environment.
func load(t *testing.T, yaml string, environ ...string) (Config, error) {
	t.Helper()
	sources := Sources{Environ: environ}
	if yaml != "" {
		sources.File = write(t, "chatting.yaml", yaml)
	}
	return Load(sources)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, yaml string, environ ...string) Config {
	t.Helper()
	c, err := load(t, yaml, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNothingConfiguredGivesTheDocumentedDefaults(t *testing.T) {
	c := mustLoad(t, "")
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"http.addr", c.HTTP.Addr.String(), "127.0.0.1:8000"},
		{"http.cors_origins", len(c.HTTP.CORSOrigins), 0},
		{"http.body_limit", c.HTTP.BodyLimit, 1 << 20},
		{"http.page_bytes", c.HTTP.PageBytes, 512 << 10},
		{"http.documents", c.HTTP.Documents, true},
		{"data_dir", c.DataDir, "./data"},
		{"embedded_kafka.addr", c.EmbeddedKafka.Addr.String(), "127.0.0.1:9092"},
		{"kafka.brokers", c.Kafka.Embedded(), true},
		{"kafka.partitions", c.Kafka.Partitions, 4},
		{"kafka.append_deadline", c.Kafka.AppendDeadline, 5 * time.Second},
		{"kafka.topics", c.Kafka.Topics, TopicsCreate},
		{"kafka.tls", c.Kafka.TLS, KafkaTLS{}},
		{"kafka.sasl", c.Kafka.SASL, KafkaSASL{}},
		{"topic_prefix", c.TopicPrefix, "chatting"},
		{"database.url", c.Database.URL.Reveal(), "sqlite:data/chatting.db"},
		{"database embedded", c.Database.Embedded, true},
		{"generates a secret", c.GeneratesSecret(), true},
		{"drop-in mode", c.DropIn(), false},
		{"chat.html_escape", c.Chat.HTMLEscape, false},
		{"limit", c.Limit, Limit{
			FramesPerSecond: 100, UserFramesPerSecond: 200, UserWritesPerSecond: 50, UserLoginsPerSecond: 50, AddressLoginsPerSecond: 5000,
			Connections: 10000, ConnectionsPerUser: 32, AddressHTTPConnections: 4096,
			UserConcurrentRequests: 8, UserOutboundBytes: 8 << 20, OutboundBytes: 256 << 20, InboundBytes: 64 << 20,
		}},
		{"websocket", c.WebSocket, WebSocket{64 << 10, 1 << 20, 10 * time.Second, 20 * time.Second, 30 * time.Second, 10 * time.Second, time.Minute, time.Minute, nil}},
		{"jwt", c.JWT, JWT{Leeway: 5 * time.Second}},
		{"jwks", c.JWKS, JWKS{Refresh: 5 * time.Minute, MaxAge: 24 * time.Hour}},
		{"user_management.friends_reload", c.UserManagement.FriendsReload, time.Minute},
		{"presence.lease", c.Presence.Lease, 6 * time.Second},
		{"presence.hide_from_blocked", c.Presence.HideFromBlocked, true},
		{"presence.leave_grace", c.Presence.LeaveGrace, time.Duration(0)},
		{"presence.offline_grace", c.Presence.OfflineGrace, time.Duration(0)},
		{"shutdown", c.Shutdown, Shutdown{10 * time.Second, 2 * time.Second}},
		{"log", c.Log, Log{slog.LevelInfo, LogAuto}},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s: %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestVariablesThatScriptsUseKeepTheirNames(t *testing.T) {
	known := map[string]bool{}
	for _, o := range Options() {
		known[o.Env()] = true
	}
	for _, name := range strings.Fields(`CHATTING_HTTP_ADDR CHATTING_DATA_DIR CHATTING_EMBEDDED_KAFKA_ADDR CHATTING_KAFKA_BROKERS
		CHATTING_TOPIC_PREFIX CHATTING_DATABASE_URL CHATTING_JWT_SECRET CHATTING_JWT_PUBLIC_KEY_FILE CHATTING_JWKS_URL
		CHATTING_USER_MANAGEMENT_URL CHATTING_S2S_TOKEN CHATTING_CHAT_HTML_ESCAPE CHATTING_LIMIT_FRAMES_PER_SECOND
		CHATTING_LIMIT_USER_FRAMES_PER_SECOND CHATTING_LIMIT_USER_WRITES_PER_SECOND CHATTING_LIMIT_USER_LOGINS_PER_SECOND
		CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND
		CHATTING_LIMIT_CONNECTIONS CHATTING_LIMIT_CONNECTIONS_PER_USER CHATTING_LIMIT_CONNECTIONS_PER_ADDRESS
		CHATTING_LIMIT_ADDRESS_HTTP_CONNECTIONS`) {
		if !known[name] {
			t.Errorf("%s is not an option", name)
		}
	}
}

func TestNamesOfOptionsDoNotCollide(t *testing.T) {
	seen := map[string]string{configEnv: "the file's name"}
	for _, o := range Options() {
		for _, name := range []string{o.Env(), envName(o.FileKey()), "--" + o.FlagName()} {
			if seen[name] != "" {
				t.Errorf("%s and %s are both %s", o.Key, seen[name], name)
			}
			seen[name] = o.Key
		}
	}
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := write(t, "c.yaml", "http: {addr: \"127.0.0.1:1\"}\ntopic_prefix: from-file\ndata_dir: from-file\n")
	c, err := Load(Sources{
		File:    file,
		Environ: []string{"CHATTING_TOPIC_PREFIX=from-env", "CHATTING_DATA_DIR=from-env", "PATH=/bin"},
		Flags:   map[string]string{"data_dir": "from-flag"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{c.HTTP.Addr.String(), c.TopicPrefix, c.DataDir, c.Log.Level.String()}; !reflect.DeepEqual(got,
		[]string{"127.0.0.1:1", "from-env", "from-flag", "INFO"}) {
		t.Error(got)
	}
}

func TestTheEnvironmentNamesTheFileUnlessAFlagDoes(t *testing.T) {
	first, second := write(t, "a.yaml", "topic_prefix: first"), write(t, "b.yaml", "topic_prefix: second")
	environ := []string{"CHATTING_CONFIG=" + first}
	if c, err := Load(Sources{Environ: environ}); err != nil || c.TopicPrefix != "first" {
		t.Error(c.TopicPrefix, err)
	}
	if c, err := Load(Sources{Environ: environ, File: second}); err != nil || c.TopicPrefix != "second" {
		t.Error(c.TopicPrefix, err)
	}
}

func TestEveryFormOfAListReadsAlike(t *testing.T) {
	want := []string{"a:1", "b:2"}
	for _, c := range []Config{
		mustLoad(t, "kafka: {brokers: [\"a:1\", \"b:2\"]}"),
		mustLoad(t, "kafka:\n  brokers:\n    - a:1\n    - b:2\n"),
		mustLoad(t, "kafka: {brokers: \"a:1,b:2\"}"),
		mustLoad(t, "", "CHATTING_KAFKA_BROKERS= a:1 , b:2 "),
	} {
		if !reflect.DeepEqual(c.Kafka.Brokers, want) {
			t.Error(c.Kafka.Brokers)
		}
	}
}

func TestAKeyWithoutAValueIsAsIfLeftOut(t *testing.T) {
	c := mustLoad(t, "http:\n  addr:\nlog:\n#  level: debug\nchat: {html_escape: ~}\n")
	if c.HTTP.Addr.Port() != 8000 || c.Log.Level != slog.LevelInfo {
		t.Error(c.HTTP.Addr, c.Log.Level)
	}
}

func TestHTMLIsEscapedInDropInModeUnlessSaidOtherwise(t *testing.T) {
	for _, row := range []struct {
		environ []string
		want    bool
	}{
		{nil, false},
		{[]string{"CHATTING_CHAT_HTML_ESCAPE=true"}, true},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/"}, true},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/", "CHATTING_CHAT_HTML_ESCAPE="}, true},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/", "CHATTING_CHAT_HTML_ESCAPE=false"}, false},
	} {
		if got := mustLoad(t, "", row.environ...).Chat.HTMLEscape; got != row.want {
			t.Errorf("%v: %v", row.environ, got)
		}
	}
}

func TestPresenceIsHiddenFromWhoIsBlockedUnlessInDropInModeOrSaidOtherwise(t *testing.T) {
	for _, row := range []struct {
		environ []string
		want    bool
	}{
		{nil, true},
		{[]string{"CHATTING_PRESENCE_HIDE_FROM_BLOCKED=false"}, false},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/"}, false},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/", "CHATTING_PRESENCE_HIDE_FROM_BLOCKED="}, false},
		{[]string{"CHATTING_USER_MANAGEMENT_URL=http://users/", "CHATTING_PRESENCE_HIDE_FROM_BLOCKED=true"}, true},
	} {
		if got := mustLoad(t, "", row.environ...).Presence.HideFromBlocked; got != row.want {
			t.Errorf("%v: %v", row.environ, got)
		}
	}
}

func TestTheFramesOfAUserFollowThoseOfAConnectionUnlessSaidOtherwise(t *testing.T) {
	for _, row := range []struct {
		environ []string
		want    int
	}{
		{nil, 200},
		{[]string{"CHATTING_LIMIT_FRAMES_PER_SECOND=300"}, 600},
		{[]string{"CHATTING_LIMIT_FRAMES_PER_SECOND=0"}, 0},
		{[]string{"CHATTING_LIMIT_USER_FRAMES_PER_SECOND=0"}, 0},
		{[]string{"CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_FRAMES_PER_SECOND=7"}, 7},
	} {
		if got := mustLoad(t, "", row.environ...).Limit.UserFramesPerSecond; got != row.want {
			t.Errorf("%v: %d, want %d", row.environ, got, row.want)
		}
	}
}

func TestOnlyATrialServerTrustsItsMachineUnlessSaidOtherwise(t *testing.T) {
	for setting, trusted := range map[string]bool{
		"":                                      true,
		"CHATTING_HTTP_ADDR=localhost:1":        true,
		"CHATTING_HTTP_ADDR=[::1]:1":            true,
		"CHATTING_HTTP_ADDR=127.9.9.9:1":        true,
		"CHATTING_HTTP_ADDR=:1":                 false,
		"CHATTING_HTTP_ADDR=0.0.0.0:1":          false,
		"CHATTING_HTTP_ADDR=192.0.2.1:1":        false,
		"CHATTING_HTTP_ADDR=chat.example:1":     false,
		"CHATTING_KAFKA_BROKERS=k:9092":         false,
		"CHATTING_DATABASE_URL=postgres://x/y":  false,
		"CHATTING_DATABASE_URL=sqlite:x.db":     false,
		"CHATTING_JWT_SECRET=" + longSecret:     false,
		"CHATTING_JWT_PUBLIC_KEY_FILE=key.pem":  false,
		"CHATTING_JWKS_URL=https://x":           false,
		"CHATTING_USER_MANAGEMENT_URL=http://x": false,
		"CHATTING_S2S_TOKEN=" + longToken:       false,
		"CHATTING_CHAT_OFFLINE=store":           true,
		"CHATTING_EMBEDDED_KAFKA_ADDR=[::1]:9":  true,

		"CHATTING_EMBEDDED_KAFKA_ADDR=10.9.9.9:9192|CHATTING_EMBEDDED_KAFKA_ALLOW_REMOTE=true": false,
		"CHATTING_HTTP_TRUSTED_PROXIES=127.0.0.1":                                              false,
	} {
		environ := strings.Split(setting, "|")
		c := mustLoad(t, "", environ...)
		if c.S2S.TrustLoopback != trusted {
			t.Errorf("%s: trusted is %t", setting, c.S2S.TrustLoopback)
		}
		if want := !trusted && !c.S2S.Token.IsSet(); c.GeneratesS2SToken() != want {
			t.Errorf("%s: a token is made: %t", setting, !want)
		}
		for _, said := range []bool{true, false} {
			if c := mustLoad(t, "", append(environ, fmt.Sprintf("CHATTING_S2S_TRUST_LOOPBACK=%t", said))...); c.S2S.TrustLoopback != said {
				t.Errorf("%s, %t: trusted is %t", setting, said, c.S2S.TrustLoopback)
			}
		}
	}
}

func TestASecretIsReadFromAFileWithoutItsLastNewline(t *testing.T) {
	for content, want := range map[string]string{
		longSecret: longSecret, longSecret + "\n": longSecret, longSecret + "\r\n": longSecret, longSecret + "\n\n": longSecret + "\n",
	} {
		path := write(t, "secret", content)
		if got := mustLoad(t, "", "CHATTING_JWT_SECRET_FILE="+path).JWT.Secret.Reveal(); got != want {
			t.Errorf("%q: %q", content, got)
		}
		if got := mustLoad(t, "jwt: {secret_file: "+path+"}").JWT.Secret.Reveal(); got != want {
			t.Errorf("%q: %q", content, got)
		}
	}
}

func TestALaterSourceWinsWhicheverWayASecretIsGiven(t *testing.T) {
	other := strings.ToUpper(longSecret)
	path := write(t, "secret", longSecret)
	if got := mustLoad(t, "jwt: {secret: "+other+"}", "CHATTING_JWT_SECRET_FILE="+path).JWT.Secret.Reveal(); got != longSecret {
		t.Error(got)
	}
	if got := mustLoad(t, "jwt: {secret_file: "+path+"}", "CHATTING_JWT_SECRET="+other).JWT.Secret.Reveal(); got != other {
		t.Error(got)
	}
}

func TestADataDirectoryMayHaveAnyName(t *testing.T) {
	for dir, want := range map[string]string{"./data": "sqlite:data/chatting.db", "/a b/100%/?": "sqlite:/a b/100%/?/chatting.db"} {
		if got := mustLoad(t, "", "CHATTING_DATA_DIR="+dir).Database.URL.Reveal(); got != want {
			t.Errorf("%s: %s", dir, got)
		}
		if got := mustLoad(t, "", "CHATTING_DATABASE_URL="+want).Database.URL.Reveal(); got != want {
			t.Errorf("%s: %s", want, got)
		}
	}
}

func TestOriginsAreSpeltAsBrowsersSendThem(t *testing.T) {
	c := mustLoad(t, "", "CHATTING_WEBSOCKET_ALLOWED_ORIGINS=HTTPS://Example.COM:443/, http://[::1]:80,http://a:8080", "CHATTING_HTTP_CORS_ORIGINS=*")
	if want := []string{"https://example.com", "http://[::1]", "http://a:8080"}; !reflect.DeepEqual(c.WebSocket.AllowedOrigins, want) {
		t.Error(c.WebSocket.AllowedOrigins)
	}
	if !reflect.DeepEqual(c.HTTP.CORSOrigins, []string{"*"}) {
		t.Error(c.HTTP.CORSOrigins)
	}
	c = mustLoad(t, "", "CHATTING_WEBSOCKET_ALLOWED_ORIGINS=null, file:///,capacitor://localhost/,https://*.Example.com:443,https://bücher.example")
	if want := []string{"null", "file://", "capacitor://localhost", "https://*.example.com", "https://xn--bcher-kva.example"}; !reflect.DeepEqual(c.WebSocket.AllowedOrigins, want) {
		t.Error(c.WebSocket.AllowedOrigins)
	}
}

func TestHeadersOfPagesAreNames(t *testing.T) {
	c := mustLoad(t, "", "CHATTING_HTTP_CORS_HEADERS=X-Game, x_y")
	if want := []string{"X-Game", "x_y"}; !reflect.DeepEqual(c.HTTP.CORSHeaders, want) {
		t.Error(c.HTTP.CORSHeaders)
	}
}

func TestTrustedProxiesAreAddressesAndNetworks(t *testing.T) {
	c := mustLoad(t, "", "CHATTING_HTTP_TRUSTED_PROXIES=10.0.0.7, 192.0.2.0/24,2001:db8::/32,::ffff:127.0.0.1")
	var got []string
	for _, network := range c.HTTP.TrustedProxies {
		got = append(got, network.String())
	}
	if want := []string{"10.0.0.7/32", "192.0.2.0/24", "2001:db8::/32", "127.0.0.1/32"}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

func TestVariablesOfTestsAreNotOurs(t *testing.T) {
	mustLoad(t, "", "CHATTING_TEST_KAFKA=x", "CHATTING_CONTRACT_URL=y", "CHATTINGX=1", "chatting_http_addr=1")
}

func TestWhatCannotWorkIsOneClearError(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	secretFile := write(t, "secret", longSecret)
	for _, row := range []struct {
		yaml    string
		environ string // several are separated by |
		want    string // every word of it, with FILE for the file's path
	}{
		{yaml: "htpp: {addr: x}", want: `line 1: unknown key "htpp"`},
		{yaml: "http: {adr: x}", want: `line 1: unknown key "http.adr": did you mean http.addr?`},
		{yaml: "a: 1\nhttp.addr: x", want: "line 1: unknown key"},
		{yaml: "http.addr: x", want: "nested by indentation"},
		{yaml: "http: {addr: \":1\", addr: \":2\"}", want: "http.addr is there already"},
		{yaml: "log: {level: info}\nhttp: {}\nlog: {format: json}", want: "line 3: log is there already in line 1"},
		{yaml: "http: 8000", want: "line 1: http is a section"},
		{yaml: "http: {cors_origins: [null]}", want: "an item of http.cors_origins is empty: a text that is null or ~ stands in quotes"},
		{yaml: "http: [addr]", want: "http is a section"},
		{yaml: "- a", want: "must be a mapping"},
		{yaml: "data_dir: {a: b}", want: "data_dir is a value, not a section"},
		{yaml: "kafka: {brokers: [{a: b}]}", want: "an item of kafka.brokers"},
		{yaml: "data_dir: &a x", want: "anchors"},
		{yaml: "? [a]\n: x", want: "anchors"},
		{yaml: "data_dir: !!binary eA==", want: "not supported"},
		{yaml: "data_dir: a\n---\ndata_dir: b", want: "a second document"},
		{yaml: "data_dir: [", want: "line 1: did not find"},
		{yaml: "http:\n\taddr: x", want: "line 2:"},
		{yaml: "log: {level: loud}", want: `log.level (file FILE line 1): "loud" is none of`},
		{environ: "CHATTING_HTPP_ADDR=x", want: `unknown environment variable "CHATTING_HTPP_ADDR": did you mean CHATTING_HTTP_ADDR?`},
		{environ: "CHATTING_HTTP_ADDR_FILE=x", want: "unknown environment variable"},
		{environ: "CHATTING_=x", want: `unknown environment variable "CHATTING_"`},
		{environ: "CHATTING_CONFIG=" + missing, want: "missing cannot be read: no such file"},
		{environ: "CHATTING_HTTP_ADDR=8000", want: `http.addr (environment CHATTING_HTTP_ADDR): "8000" is no address`},
		{environ: "CHATTING_HTTP_ADDR=", want: "is no address"},
		{environ: "CHATTING_HTTP_ADDR=:99999", want: "no port from 0 to 65535"},
		{environ: "CHATTING_HTTP_ADDR=a b:1", want: "no valid host"},
		{environ: "CHATTING_DATA_DIR=", want: "data_dir (environment CHATTING_DATA_DIR): is empty"},
		{environ: "CHATTING_HTTP_TRUSTED_PROXIES=balancer", want: "is neither an address nor a network"},
		{environ: "CHATTING_HTTP_TRUSTED_PROXIES=10.0.0.7/8", want: "has bits behind its length: write 10.0.0.0/8"},
		{environ: "CHATTING_HTTP_TRUSTED_PROXIES=fe80::1%eth0", want: "is neither an address nor a network"},
		{environ: "CHATTING_KAFKA_BROKERS=a:1,,b:2", want: "is no address"},
		{environ: "CHATTING_KAFKA_BROKERS=a:0", want: "needs a host and a port"},
		{environ: "CHATTING_TOPIC_PREFIX=a/b", want: "character"},
		{environ: "CHATTING_TOPIC_PREFIX=" + strings.Repeat("x", 230), want: "room for 229"},
		{environ: "CHATTING_DATABASE_URL=mysql://x", want: "must begin with sqlite:, postgres://"},
		{environ: "CHATTING_DATABASE_URL=postgres:x", want: "is no PostgreSQL URL"},
		{environ: "CHATTING_DATABASE_URL=sqlite:", want: "names no file"},
		{environ: "CHATTING_DATABASE_URL=postgres://u:hunter2%@h/d", want: "percent-encoded"},
		{environ: "CHATTING_JWT_SECRET=short", want: "has 5 bytes: at least 32"},
		{environ: "CHATTING_JWT_SECRET_FILE=" + missing, want: "jwt.secret (environment CHATTING_JWT_SECRET_FILE): its file"},
		{environ: "CHATTING_JWT_SECRET_FILE=" + t.TempDir(), want: "is a directory"},
		{environ: "CHATTING_JWT_SECRET_FILE=/dev/zero", want: "has more than 65536 bytes"},
		{environ: "CHATTING_JWT_SECRET_FILE=/dev/null", want: "is empty"},
		{environ: "CHATTING_JWT_SECRET=" + longSecret + "|CHATTING_JWT_SECRET_FILE=" + secretFile, want: "are both set"},
		{yaml: "jwt: {secret: " + longSecret + ", secret_file: " + secretFile + "}", want: "are both set"},
		{environ: "CHATTING_S2S_TRUST_LOOPBACK=perhaps", want: "neither true nor false"},
		{environ: "CHATTING_S2S_TOKEN=short", want: "at least 16"},
		{environ: "CHATTING_S2S_TOKEN=with blanks in it, long", want: "no blanks"},
		{environ: "CHATTING_S2S_TOKEN=aaaaaaaaaaaaaaabbbb,cc", want: "is no bearer token"},
		{environ: "CHATTING_S2S_TOKEN=aaaaaaaaaaaaaaa=bbbb", want: "= only at the end"},
		{environ: "CHATTING_JWT_USER_CLAIM=iss", want: "iss cannot name the user"},
		{environ: "CHATTING_JWT_USER_CLAIM=aud", want: "aud cannot name the user"},
		{environ: "CHATTING_JWT_USER_CLAIM=exp", want: "exp cannot name the user"},
		{environ: "CHATTING_JWT_USER_CLAIM=nbf", want: "nbf cannot name the user"},
		{environ: "CHATTING_JWT_USER_CLAIM=iat", want: "iat cannot name the user"},
		{environ: "CHATTING_JWT_USER_CLAIM=jti", want: "jti cannot name the user"},
		{environ: "CHATTING_JWKS_URL=ftp://x", want: "is no http:// or https:// URL"},
		{environ: "CHATTING_JWKS_URL=https:///x", want: "is no http:// or https:// URL"},
		{environ: "CHATTING_USER_MANAGEMENT_URL=users", want: "is no http:// or https:// URL"},
		{environ: "CHATTING_CHAT_HTML_ESCAPE=maybe", want: "neither true nor false"},
		{environ: "CHATTING_CHAT_OFFLINE=keep", want: "neither reject nor store"},
		{environ: "CHATTING_CHAT_OFFLINE=store|CHATTING_HISTORY_ENABLED=false", want: "chat.offline (environment CHATTING_CHAT_OFFLINE) is store, which needs history.enabled"},
		{environ: "CHATTING_HISTORY_RETENTION=30m", want: "from 1h to 87600h"},
		{environ: "CHATTING_LIMIT_CONNECTIONS=-1", want: "out of range: from 0"},
		{environ: "CHATTING_LIMIT_CONNECTIONS=many", want: "no whole number"},
		{environ: "CHATTING_WEBSOCKET_MAX_FRAME_BYTES=big", want: "no size"},
		{environ: "CHATTING_WEBSOCKET_MAX_FRAME_BYTES=2MiB", want: "from 1.0 KiB to 1.0 MiB"},
		{environ: "CHATTING_WEBSOCKET_PING_AFTER=20", want: "no duration"},
		{environ: "CHATTING_PRESENCE_LEASE=1s", want: "from 3s to 1m"},
		{environ: "CHATTING_WEBSOCKET_ALLOWED_ORIGINS=example.com", want: "is no origin"},
		{environ: "CHATTING_HTTP_CORS_ORIGINS=https://a,https://*", want: "is no origin"},
		{environ: "CHATTING_HTTP_CORS_ORIGINS=https://a,*", want: "stands alone"},
		{environ: "CHATTING_HTTP_CORS_HEADERS=a b", want: "is no name of a header"},
		{environ: "CHATTING_HTTP_CORS_HEADERS=a,,b", want: "is empty"},
		{environ: "CHATTING_WEBSOCKET_ALLOWED_ORIGINS=https://a/path", want: "more than scheme"},
		{environ: "CHATTING_HTTP_CORS_ORIGINS=*,https://a", want: "stands alone"},
		{environ: "CHATTING_LOG_FORMAT=xml", want: "none of auto"},
		{environ: "CHATTING_HTTP_ADDR=:9092", want: "http.addr (environment CHATTING_HTTP_ADDR) and embedded_kafka.addr are the same address"},
		{environ: "CHATTING_METRICS_ADDR=127.0.0.1:8000", want: "metrics.addr (environment CHATTING_METRICS_ADDR) and http.addr are the same address"},
		{environ: "CHATTING_METRICS_ADDR=:9092", want: "metrics.addr (environment CHATTING_METRICS_ADDR) and embedded_kafka.addr are the same address"},
		{environ: "CHATTING_METRICS_ADDR=9600", want: "metrics.addr (environment CHATTING_METRICS_ADDR): \"9600\" is no address"},
		{environ: "CHATTING_METRICS_PPROF=true", want: "metrics.pprof (environment CHATTING_METRICS_PPROF) needs metrics.addr"},
		{environ: "CHATTING_DATABASE_MAX_OPEN_CONNS=2", want: "database.max_idle_conns is more than"},
		{environ: "CHATTING_PRESENCE_LEAVE_GRACE=6m", want: "from 0s to 5m"},
		{environ: "CHATTING_JWKS_REFRESH=24h", want: "jwks.max_age is not more than jwks.refresh (environment CHATTING_JWKS_REFRESH)"},
		{environ: "CHATTING_JWT_LEEWAY=6m", want: "CHATTING_JWT_LEEWAY"},
		{environ: "CHATTING_JWT_AUDIENCE=a,,b", want: "holds an empty audience"},
		{environ: "CHATTING_WEBSOCKET_TOKEN_RECHECK=0s", want: "CHATTING_WEBSOCKET_TOKEN_RECHECK"},
		{environ: "CHATTING_SHUTDOWN_CLOSE_OVER=10s", want: "shutdown.close_over (environment CHATTING_SHUTDOWN_CLOSE_OVER) is not less than shutdown.deadline"},
		{environ: "CHATTING_SHUTDOWN_DEADLINE=2s", want: "shutdown.close_over is not less than shutdown.deadline (environment"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TOPICS=check", want: `"check" is neither create nor verify`},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS=tls", want: "neither true nor false"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS=true|CHATTING_KAFKA_TLS_SERVER_NAME=a b", want: "no host name"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS_CA_FILE=ca", want: "kafka.tls_ca_file (environment CHATTING_KAFKA_TLS_CA_FILE) needs kafka.tls, which is not set"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS_SERVER_NAME=k", want: "needs kafka.tls,"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS=false|CHATTING_KAFKA_TLS_CERT_FILE=c|CHATTING_KAFKA_TLS_KEY_FILE=k", want: "kafka.tls_cert_file (environment CHATTING_KAFKA_TLS_CERT_FILE) needs kafka.tls,"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS_KEY_FILE=k", want: "needs kafka.tls,"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS=true|CHATTING_KAFKA_TLS_CERT_FILE=c", want: "needs kafka.tls_key_file"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_TLS=true|CHATTING_KAFKA_TLS_KEY_FILE=k", want: "needs kafka.tls_cert_file"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_SASL_MECHANISM=GSSAPI", want: `"GSSAPI" is none of PLAIN`},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_SASL_PASSWORD=hunter2", want: "kafka.sasl_password (environment CHATTING_KAFKA_SASL_PASSWORD) needs kafka.sasl_mechanism"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_SASL_USERNAME=u", want: "needs kafka.sasl_mechanism"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_SASL_MECHANISM=PLAIN|CHATTING_KAFKA_SASL_USERNAME=u", want: "needs kafka.sasl_password"},
		{environ: "CHATTING_KAFKA_BROKERS=k:1|CHATTING_KAFKA_SASL_MECHANISM=PLAIN|CHATTING_KAFKA_SASL_PASSWORD=hunter2", want: "needs kafka.sasl_username"},
		{environ: "CHATTING_KAFKA_SASL_PASSWORD=hunter2\x00", want: "kafka.sasl_password (environment CHATTING_KAFKA_SASL_PASSWORD): is no UTF-8 text"},
		{environ: "CHATTING_KAFKA_SASL_USERNAME=u\x00", want: "control characters"},
		{environ: "CHATTING_KAFKA_TLS=true", want: "needs kafka.brokers, which is not set"},
		{environ: "CHATTING_KAFKA_TOPICS=verify", want: "needs kafka.brokers"},
		{environ: "CHATTING_KAFKA_SASL_MECHANISM=PLAIN|CHATTING_KAFKA_SASL_USERNAME=u|CHATTING_KAFKA_SASL_PASSWORD=hunter2", want: "needs kafka.brokers"},
		{environ: "CHATTING_USER_MANAGEMENT_URL=http://u|CHATTING_JWT_SECRET=" + longSecret, want: "in drop-in mode that service alone"},
		{environ: "CHATTING_USER_MANAGEMENT_URL=http://u|CHATTING_JWKS_URL=http://k", want: "in drop-in mode that service alone"},
		{environ: "CHATTING_USER_MANAGEMENT_URL=http://u|CHATTING_JWT_PUBLIC_KEY_FILE=k", want: "in drop-in mode that service alone"},
	} {
		sources := Sources{Environ: strings.Split(row.environ, "|")}
		if row.yaml != "" {
			sources.File = write(t, "chatting.yaml", row.yaml)
		}
		_, err := Load(sources)
		if err == nil {
			t.Errorf("%s %s: no error, want %s", row.yaml, row.environ, row.want)
			continue
		}
		message := strings.ReplaceAll(err.Error(), sources.File, "FILE")
		if sources.File == "" {
			message = err.Error()
		}
		if !strings.Contains(message, row.want) || strings.Contains(message, "\n") {
			t.Errorf("%s %s: %s, want %s", row.yaml, row.environ, message, row.want)
		}
		for _, secret := range []string{longSecret, "hunter2"} {
			if strings.Contains(message, secret) {
				t.Errorf("%s %s: the error shows the secret: %s", row.yaml, row.environ, message)
			}
		}
	}
}

func TestTypeErrorsOfFlagsNameTheFlag(t *testing.T) {
	_, err := Load(Sources{Flags: map[string]string{"http.addr": "x"}})
	if err == nil || !strings.HasPrefix(err.Error(), "http.addr (flag --http-addr): ") {
		t.Error(err)
	}
}

func TestTwoListenersMayShareAPortOnDifferentHosts(t *testing.T) {
	mustLoad(t, "", "CHATTING_HTTP_ADDR=127.0.0.1:7000", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.2:7000")
	mustLoad(t, "", "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0")
	mustLoad(t, "", "CHATTING_HTTP_ADDR=:9092", "CHATTING_KAFKA_BROKERS=k:9092")
}

func TestTheConnectionToTheBrokersIsReadFromEverySource(t *testing.T) {
	password := write(t, "password", "hunter2\n")
	c := mustLoad(t, "kafka:\n  brokers: k:9093\n  topics: verify\n  tls: true\n  tls_ca_file: ca.pem\n  tls_server_name: kafka.example\n"+
		"  tls_cert_file: me.pem\n  tls_key_file: me.key\n  sasl_mechanism: scram-sha-512\n  sasl_username: us\n  sasl_password_file: "+password+"\n",
		"CHATTING_KAFKA_SASL_USERNAME=chatting", "CHATTING_PRESENCE_LEAVE_GRACE=30s", "CHATTING_SHUTDOWN_CLOSE_OVER=0s", "CHATTING_SHUTDOWN_DEADLINE=1s")
	if want := (KafkaTLS{true, "ca.pem", "me.pem", "me.key", "kafka.example"}); c.Kafka.TLS != want || c.Kafka.Topics != TopicsVerify {
		t.Errorf("%+v", c.Kafka)
	}
	if s := c.Kafka.SASL; s.Mechanism != SASLScramSHA512 || s.Username != "chatting" || s.Password.Reveal() != "hunter2" {
		t.Errorf("%+v", s)
	}
	if c.Presence.LeaveGrace != 30*time.Second || c.Shutdown.CloseOver != 0 {
		t.Errorf("%+v %+v", c.Presence, c.Shutdown)
	}
}

func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	c := mustLoad(t, "", "CHATTING_KAFKA_BROKERS=k:1", "CHATTING_KAFKA_SASL_MECHANISM=PLAIN", "CHATTING_KAFKA_SASL_USERNAME=u",
		"CHATTING_KAFKA_SASL_PASSWORD=hunter4", "CHATTING_JWT_SECRET="+longSecret, "CHATTING_S2S_TOKEN="+longToken+"t",
		"CHATTING_DATABASE_URL=postgres://chat:hunter2@db/chat?sslmode=disable&password=hunter3",
		"CHATTING_JWKS_URL=https://u:hunter2@keys/x?token=hunter3")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "s", c.JWT.Secret, "u", c.Database.URL)
	for name, printed := range map[string]string{
		"masked": c.Masked(), "log": log.String(),
		"%v": fmt.Sprintf("%v", c.JWT), "%+v": fmt.Sprintf("%+v", c.Database), "%#v": fmt.Sprintf("%#v", c.S2S),
		"%s": fmt.Sprintf("%s", c.JWKS.URL), "%q": fmt.Sprintf("%q", c.JWT.Secret), "%+v of kafka": fmt.Sprintf("%+v", c.Kafka), "%x": fmt.Sprintf("%x", c.JWT.Secret),
	} {
		for _, secret := range []string{longSecret, longToken, "hunter"} {
			if strings.Contains(printed, secret) || strings.Contains(printed, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows a secret: %s", name, printed)
			}
		}
	}
}
