package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/adapters/auth"
	"chatting/cmd/chatting/exit"
)

// outcome is what a command left behind.
type outcome struct {
	code     int
	out, err string
}

// command runs a command line in this process, in an environment without CHATTING_ variables but those given.
func command(t *testing.T, environ []string, args ...string) outcome {
	t.Helper()
	var out, stderr bytes.Buffer
	code := Run(t.Context(), args, Process{In: strings.NewReader(""), Out: &out, Err: &stderr, Environ: environ})
	return outcome{code, out.String(), stderr.String()}
}

// complains checks for a code that tells of an error, and one line on standard error that has the words, and nothing on standard output.
func (o outcome) complains(t *testing.T, words string) {
	t.Helper()
	if o.code == 0 || o.code == int(exit.Crashed) || o.out != "" || !strings.HasPrefix(o.err, "chatting: ") || strings.Count(o.err, "\n") != 1 || !strings.Contains(o.err, words) {
		t.Errorf("code %d, out %q, err %q; want the one line with %q", o.code, o.out, o.err, words)
	}
}

func TestMistakesOnTheCommandLineAreOneLineWithAHint(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"servr", `unknown command "servr": did you mean serve? (see chatting --help)`},
		{"xyzzyx", `unknown command "xyzzyx" (see chatting --help)`},
		{"--http-adr x", "unknown flag: --http-adr (see chatting --help)"},
		{"token --usr 7", "unknown flag: --usr (see chatting token --help)"},
		{"token 7", `takes no argument such as "7" (see chatting token --help)`},
		{"serve now", "takes no argument"},
		{"token", "say --user ID"},
		{"token --user", "flag needs an argument: --user"},
		{"token --user x", `--user "x": a user id is a positive integer`},
		{"token --user 0", "a user id is a positive integer"},
		{"token --user 7 --ttl 1", "--ttl"},
		{"token --user 7 --ttl 999ms", "--ttl 999ms: a token must be good for a second at least"},
		{"token -user 7", "unknown flag (see chatting token --help)"}, // what is behind one hyphen may be a secret
		{"token --user 7 --ttl 0s", "--ttl 0s: a token must be good for a second at least"},
		{"config --log-level loud", "log.level (flag --log-level)"},
		{"serve --config /nowhere/x.yaml", "/nowhere/x.yaml cannot be read: no such file or directory"},
		{"connect", "say --user ID"},
		{"connect --token x --url http://h/", "--url: \"http://h/\" is no ws:// or wss:// URL"},
		{"connect --token x --url ws://h/#room", "is no ws:// or wss:// URL"},
	} {
		command(t, nil, strings.Fields(row.line)...).complains(t, row.want)
	}
	command(t, []string{"CHATTING_HTPP_ADDR=x"}, "config").complains(t, "did you mean CHATTING_HTTP_ADDR?")
	command(t, []string{"CHATTING_HTTP_ADDR=:0"}, "connect", "--token", "x").complains(t, "say where the server is with --url")
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := newRoot(Process{})
	commands := append(root.Commands(), root)
	for _, cmd := range root.Commands() {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no description or no example", cmd.CommandPath())
		}
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		help := command(t, nil, args...)
		if help.code != 0 || help.err != "" || !strings.Contains(help.out, "Examples:\n"+cmd.Example) {
			t.Errorf("%s --help: %+v", cmd.Name(), help)
		}
		for line := range strings.Lines(help.out) {
			if len([]rune(line)) > 121 {
				t.Errorf("%s --help has a line too long: %s", cmd.Name(), line)
			}
		}
	}
}

func TestHelpNamesTheDefaults(t *testing.T) {
	for line, want := range map[string]string{
		"token": "(default 1h0m0s)", "connect": "while no frame comes (default 1s)", "events tail": "(default conversations,presence)",
	} {
		if help := command(t, nil, append(strings.Fields(line), "--help")...); !strings.Contains(strings.Join(strings.Fields(help.out), " "), want) {
			t.Errorf("%s --help does not say %q:\n%s", line, want, help.out)
		}
	}
}

func TestConfigPrintsWhatIsInForceAndNoSecret(t *testing.T) {
	o := command(t, []string{"CHATTING_S2S_TOKEN=quite-a-secret-token", "CHATTING_LOG_LEVEL=debug"}, "config", "--http-addr", "[::1]:81")
	if o.code != 0 || o.err != "" {
		t.Fatalf("%+v", o)
	}
	for _, line := range []string{"  token: '***' # environment CHATTING_S2S_TOKEN\n", "  level: debug # environment CHATTING_LOG_LEVEL\n",
		"  addr: '[::1]:81' # flag --http-addr\n"} {
		if !strings.Contains(o.out, line) {
			t.Errorf("%q is not in\n%s", line, o.out)
		}
	}
	if strings.Contains(o.out, "quite") {
		t.Error(o.out)
	}
}

func TestATokenIsAcceptedWithTheSecretOfTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	secret, err := auth.LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	first := command(t, nil, "token", "--user", "7", "--data-dir", dir)
	accepted(t, secret, first.out, 7, time.Hour)
	second := command(t, []string{"CHATTING_DATA_DIR=" + dir}, "token", "--user=9007199254740993", "--ttl=10m")
	accepted(t, secret, second.out, 9007199254740993, 10*time.Minute)
}

// TestOnlyAServerMakesData: a command that runs where no server has its data says where it looked, and makes nothing.
func TestOnlyAServerMakesData(t *testing.T) {
	for _, row := range []struct {
		line string
		want string // DIR stands for the data directory
	}{
		{"token --user 7", "no server has made its token secret in DIR: name the server's data directory with --data-dir"},
		{"connect --user 7", "no server has made its token secret in DIR"},
		{"connect --user 7 --url ws://" + away + "/", "no server answers at " + away},
		{"migrate", "there is no data directory DIR: name the server's with --data-dir"},
		{"adopt", "there is no database at DIR/chatting.db: name the server's data directory with --data-dir"},
		{"history rebuild", "there is no database at DIR/chatting.db"},
		{"events tail --end --embedded-kafka-addr 127.0.0.1:2", "no Kafka broker answers"},
		{"dlt list --embedded-kafka-addr 127.0.0.1:2", "no Kafka broker answers"},
		{"dlt replay --all --embedded-kafka-addr 127.0.0.1:2", "no Kafka broker answers"},
		{"health", "connection refused"},
		{"config", ""},
	} {
		t.Run(row.line, func(t *testing.T) {
			work := t.TempDir()
			t.Chdir(work)
			o := command(t, []string{"CHATTING_HTTP_ADDR=" + away}, strings.Fields(row.line)...)
			if row.want != "" {
				o.complains(t, strings.ReplaceAll(row.want, "DIR", filepath.Join(work, "data")))
			}
			if entries, err := os.ReadDir(work); err != nil || len(entries) > 0 {
				t.Errorf("it made %v, %v", entries, err)
			}
		})
	}
}

func TestATokenIsSignedWithTheConfiguredSecret(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, environ := range [][]string{
		{"CHATTING_JWT_SECRET=" + secret}, {"CHATTING_JWT_SECRET_FILE=" + file},
		{"CHATTING_JWT_SECRET=" + secret, "CHATTING_JWKS_URL=https://keys/"},
	} {
		o := command(t, append(environ, "CHATTING_DATA_DIR="+dir), "token", "--user", "7")
		accepted(t, []byte(secret), o.out, 7, time.Hour)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the data directory was touched: %v %v", entries, err)
	}
}

func TestATokenSaysWhatTheServerRequires(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	o := command(t, []string{
		"CHATTING_JWT_SECRET=" + secret, "CHATTING_JWT_ISSUER=https://id.example", "CHATTING_JWT_AUDIENCE=chat, lobby",
		"CHATTING_JWT_USER_CLAIM=uid",
	}, "token", "--user", "7")
	accepted(t, []byte(secret), o.out, 7, time.Hour, auth.Required{
		Issuer: "https://id.example", Audiences: []string{"chat", "lobby"}, UserClaim: "uid",
	})
}

func accepted(t *testing.T, secret []byte, token string, user int64, ttl time.Duration, required ...auth.Required) {
	t.Helper()
	options := auth.Options{Secret: secret}
	if len(required) > 0 {
		options.Required = required[0]
	}
	verifier, err := auth.New(options)
	if err != nil {
		t.Fatal(err)
	}
	defer verifier.Close()
	identity, err := verifier.Verify(t.Context(), strings.TrimSpace(token))
	if err != nil || int64(identity.User) != user {
		t.Fatalf("%q: %v %v", token, identity, err)
	}
	if left := time.Until(identity.Expires); left > ttl+time.Second || left < ttl/2 {
		t.Errorf("expires in %s, want %s", left, ttl)
	}
}

func TestWithoutAKeyToSignWithTokenSaysWhy(t *testing.T) {
	for environ, want := range map[string]string{
		"CHATTING_JWKS_URL=https://keys/":           "cannot make a token: only a public key is configured",
		"CHATTING_JWT_PUBLIC_KEY_FILE=key.pem":      "cannot make a token: only a public key is configured",
		"CHATTING_USER_MANAGEMENT_URL=http://users": "cannot make a token: user_management.url is set",
	} {
		dir := t.TempDir()
		command(t, []string{environ, "CHATTING_DATA_DIR=" + dir}, "token", "--user", "7").complains(t, want)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("the data directory was touched: %v %v", entries, err)
		}
	}
}

func TestMigratePrintsTheVersionEachTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first := command(t, nil, "migrate", "--data-dir", dir)
	if first.code != 0 || !strings.HasPrefix(first.out, "schema version ") {
		t.Fatalf("%+v", first)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory is %v, %v; want 0700", info.Mode(), err)
	}
	again := command(t, nil, "migrate", "--data-dir", dir)
	if again.code != 0 || again.out != first.out || again.err != "" {
		t.Errorf("%+v", again)
	}
	for line := range strings.Lines(first.err) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no log line", line)
		}
	}
}

func TestMigrateSaysWhatIsWrongWithTheDatabase(t *testing.T) {
	command(t, []string{"CHATTING_DATABASE_URL=sqlite:/nowhere/x.db"}, "migrate").complains(t, "chatting: sqlite:/nowhere/x.db: ")
	o := command(t, []string{"CHATTING_DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/d?sslmode=disable"}, "migrate")
	o.complains(t, "chatting: postgres://***@127.0.0.1:1/***: The database is not available: ")
	o.complains(t, " (the option is database.url, CHATTING_DATABASE_URL)\n")
	if strings.Contains(o.err, "hunter2") {
		t.Error(o.err)
	}
}
