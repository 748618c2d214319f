package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/auth"
	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/database"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
)

// nobody is an address at which nobody listens.
const nobody = "127.0.0.1:1"

const secret = "a-secret-of-32-bytes-for-one-test"

// setUp is a configuration, and a machine for it.
type setUp struct {
	environ []string
	machine Machine
	token   string
}

// newSetUp returns one of which there is nothing to complain, but for what settings say.
func newSetUp(t *testing.T, settings ...string) setUp {
	t.Helper()
	return setUp{
		environ: append([]string{
			"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
		}, settings...),
		machine: Machine{
			Now: time.Now, OpenFiles: 1 << 20, Memory: 1 << 40, FreeDisk: func(string) (uint64, error) { return 1 << 40, nil },
		},
	}
}

func (s setUp) examine(t *testing.T) Report {
	t.Helper()
	cfg, err := configs.Load(configs.Sources{Environ: s.environ})
	if err != nil {
		return Unreadable(err)
	}
	return Examine(t.Context(), Examination{Config: cfg, Machine: s.machine, Token: s.token})
}

// finding describes what a report must have.
type finding struct {
	check  string
	state  State
	found  string // a part of it
	change string // a part of it
}

// has checks that a report has a finding, and none that is worse than it is to be.
func (r Report) has(t *testing.T, want finding) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Check == want.check && f.State == want.state && strings.Contains(f.Found, want.found) && strings.Contains(f.Change, want.change) {
			if f.State != OK && f.State != Skipped && f.Change == "" {
				t.Errorf("%+v does not say what to change", f)
			}
			return
		}
	}
	var text strings.Builder
	_ = r.WriteText(&text, false)
	t.Errorf("no finding is %+v:\n%s", want, &text)
}

// only checks that nothing but the wanted findings is bad.
func (r Report) only(t *testing.T, wanted ...finding) {
	t.Helper()
	for _, want := range wanted {
		r.has(t, want)
	}
	bad := 0
	for _, want := range wanted {
		if want.state == Failed || want.state == Warning {
			bad++
		}
	}
	if r.Failed+r.Warnings != bad {
		var text strings.Builder
		_ = r.WriteText(&text, false)
		t.Errorf("%d findings are bad, not %d:\n%s", r.Failed+r.Warnings, bad, &text)
	}
}

// files lists a folder with the sizes and the times of its files: what a look must not change.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			list = append(list, fmt.Sprint(path, info.Size(), info.Mode(), info.ModTime()))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

// private returns a folder that only its owner may look into.
func private(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func listening(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func keySetServer(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestNothingIsWrongBeforeTheFirstStart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := newSetUp(t)
	report := s.examine(t)
	report.only(t,
		finding{"configuration", OK, "a trial server", ""}, finding{"data directory", OK, "the first start makes it", ""},
		finding{"database", OK, "the first start makes it", ""}, finding{"tokens", OK, "the secret that the server makes", ""},
		finding{"broker", Skipped, "does not run here", ""},
	)
	if report.Fault() != nil {
		t.Error(report.Fault())
	}
	dir := strings.TrimPrefix(s.environ[2], "CHATTING_DATA_DIR=")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it made %s: %v", dir, err)
	}
}

// TestBrokenSetUpsOfOneMachineAreNamed has set-ups that need nothing but this machine. broker_test.go and postgres_test.go have others.
func TestBrokenSetUpsOfOneMachineAreNamed(t *testing.T) {
	dir := private(t)
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		return path
	}
	file := write("file", "no key", 0o600)
	open := filepath.Dir(write("open/jwt-secret", secret, 0o644))
	short := filepath.Dir(write("short/jwt-secret", "short", 0o600))
	wide := filepath.Join(dir, "wide")
	if err := errors.Join(os.Mkdir(wide, 0o700), os.Chmod(wide, 0o755)); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Dir(write("damaged/chatting.db", strings.Repeat("this is no database", 200), 0o600))
	inUse := listening(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pemFile := write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), 0o600)
	const unusable = `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`
	const issuer = "CHATTING_JWT_ISSUER=https://id.example"
	noAudience := finding{"tokens", Warning, "one for another application", "jwt.issuer"}

	for name, row := range map[string]struct {
		settings []string
		machine  func(m *Machine)
		want     []finding
	}{
		"an option that is no value": {
			settings: []string{"CHATTING_LIMIT_CONNECTIONS=many"},
			want:     []finding{{"configuration", Failed, "limit.connections (environment CHATTING_LIMIT_CONNECTIONS)", "correct it"}},
		},
		"the port in use": {
			settings: []string{"CHATTING_HTTP_ADDR=" + inUse},
			want:     []finding{{"addresses", Failed, inUse + " is in use by another process", "http.addr"}},
		},
		"no address of this machine": {
			settings: []string{"CHATTING_HTTP_ADDR=192.0.2.1:8000"},
			want:     []finding{{"addresses", Failed, "cannot listen on 192.0.2.1:8000: cannot assign", "an address of this machine"}},
		},
		"the port of the embedded broker in use": {
			settings: []string{"CHATTING_EMBEDDED_KAFKA_ADDR=" + inUse},
			want:     []finding{{"addresses", Failed, "embedded_kafka.addr: " + inUse + " is in use", "embedded_kafka.addr"}},
		},
		"a data directory that is a file": {
			settings: []string{"CHATTING_DATA_DIR=" + file},
			want: []finding{
				{"data directory", Failed, file + " is not a directory", "data_dir"},
				{"database", Failed, "not a directory", "user who runs the server"},
			},
		},
		"a data directory below a file": {
			settings: []string{"CHATTING_DATA_DIR=" + file + "/data", "CHATTING_DATABASE_URL=sqlite:" + dir + "/x.db"},
			want:     []finding{{"data directory", Failed, "not a directory", "user who runs the server"}},
		},
		"a data directory that everybody may look into": {
			settings: []string{"CHATTING_DATA_DIR=" + wide},
			want:     []finding{{"data directory", Warning, "everybody on this machine may look into " + wide, "chmod 700"}},
		},
		"a secret that everybody may read": {
			settings: []string{"CHATTING_DATA_DIR=" + open},
			want:     []finding{{"data directory", Failed, "everybody on this machine may use the secret", "chmod 600"}},
		},
		"a secret that is none": {
			settings: []string{"CHATTING_DATA_DIR=" + short},
			want:     []finding{{"data directory", Failed, "has 5 bytes", "restore it"}},
		},
		"hardly any room": {
			settings: []string{"CHATTING_DATA_DIR=" + filepath.Dir(pemFile)},
			machine:  func(m *Machine) { m.FreeDisk = func(string) (uint64, error) { return 10 << 20, nil } },
			want:     []finding{{"data directory", Failed, "only 10 MiB are left", "make room"}},
		},
		"little room": {
			settings: []string{"CHATTING_DATA_DIR=" + filepath.Dir(pemFile)},
			machine:  func(m *Machine) { m.FreeDisk = func(string) (uint64, error) { return 1 << 30, nil } },
			want:     []finding{{"data directory", Warning, "only 1.0 GiB are left", "make room"}},
		},
		"fewer files than connections": {
			settings: []string{"CHATTING_LIMIT_CONNECTIONS=5000"},
			machine:  func(m *Machine) { m.OpenFiles = 1024 },
			want:     []finding{{"process", Failed, "may open 1024 files, but limit.connections allows 5000", "LimitNOFILE"}},
		},
		"less memory than the limits": {
			settings: []string{"CHATTING_LIMIT_OUTBOUND_BYTES=4GiB"},
			machine:  func(m *Machine) { m.Memory = 1 << 30 },
			want:     []finding{{"process", Warning, "may use 1.0 GiB of memory, but", "limit.outbound_bytes"}},
		},
		"a clock that is not set": {
			machine: func(m *Machine) { m.Now = func() time.Time { return time.Unix(0, 0) } },
			want:    []finding{{"process", Failed, "it tells 1970-01-01", "time server"}},
		},
		"a damaged database": {
			settings: []string{"CHATTING_DATA_DIR=" + damaged},
			want:     []finding{{"database", Failed, "is no database, or damaged", "restore a backup"}},
		},
		"no folder for the database": {
			settings: []string{"CHATTING_DATABASE_URL=sqlite:" + dir + "/nowhere/x.db"},
			want:     []finding{{"database", Failed, "none can be made there", "make the directory"}},
		},
		"no broker": {
			settings: []string{"CHATTING_KAFKA_BROKERS=" + nobody, "CHATTING_JWT_SECRET=" + secret, "CHATTING_S2S_TOKEN=0123456789abcdef"},
			want: []finding{
				{"broker", Failed, "the broker " + nobody + " does not answer: connection refused", "kafka.brokers"},
				{"configuration", Warning, "the database is a file of this node", "database.url"},
			},
		},
		"no file of authorities": {
			settings: []string{
				"CHATTING_KAFKA_BROKERS=" + nobody, "CHATTING_KAFKA_TLS=true", "CHATTING_KAFKA_TLS_CA_FILE=/nowhere/ca.pem",
				"CHATTING_JWT_SECRET=" + secret, "CHATTING_S2S_TOKEN=0123456789abcdef",
			},
			want: []finding{
				{"broker", Failed, "kafka.tls_ca_file", "correct the file"},
				{"configuration", Warning, "the database is a file of this node", "database.url"},
			},
		},
		"no database": {
			settings: []string{"CHATTING_DATABASE_URL=postgres://chatting:marker@" + nobody + "/chatting"},
			want:     []finding{{"database", Failed, "connection refused", "start the database"}},
		},
		"a key set that is away": {
			settings: []string{"CHATTING_JWKS_URL=http://" + nobody + "/keys", issuer},
			want:     []finding{{"tokens", Failed, "cannot be loaded: dial tcp " + nobody, "jwks.url"}},
		},
		"a key set that is not there": {
			settings: []string{"CHATTING_JWKS_URL=" + keySetServer(t, 404, ""), issuer},
			want:     []finding{{"tokens", Failed, "cannot be loaded: the answer has status 404", "jwks.url"}},
		},
		"a key set without a key": {
			settings: []string{"CHATTING_JWKS_URL=" + keySetServer(t, 200, unusable), issuer},
			want:     []finding{{"tokens", Failed, "has no key that can verify tokens", "publish a key"}},
		},
		"tokens for any application": {
			settings: []string{"CHATTING_JWT_PUBLIC_KEY_FILE=" + pemFile},
			want:     []finding{noAudience, {"tokens", OK, "the public key in " + pemFile, ""}},
		},
		"a public key that is none": {
			settings: []string{"CHATTING_JWT_PUBLIC_KEY_FILE=" + file, issuer},
			want:     []finding{{"tokens", Failed, "it is no PEM file", "jwt.public_key_file"}},
		},
		"no user-management service": {
			settings: []string{"CHATTING_USER_MANAGEMENT_URL=http://u:marker@" + nobody + "/marker"},
			want:     []finding{{"tokens", Failed, "does not answer: dial tcp " + nobody, "user_management.url"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetUp(t, row.settings...)
			if row.machine != nil {
				row.machine(&s.machine)
			}
			before := files(t, dir)
			report := s.examine(t)
			report.only(t, row.want...)
			if after := files(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("it changed something:\n%q\n%q", before, after)
			}
			if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), "marker") || strings.Contains(string(text), secret) {
				t.Errorf("it shows a secret: %s %v", text, err)
			}
			failed := false
			for _, want := range row.want {
				failed = failed || want.state == Failed
			}
			if code := exit.CodeOf(report.Fault()); failed != (code == exit.Findings) || !failed && code != exit.Done {
				t.Errorf("the exit code is %d", code)
			}
		})
	}
}

func TestTheSchemaOfAnSQLiteFileIsCompared(t *testing.T) {
	dir := private(t)
	store, err := sqlstore.Open(t.Context(), sqlstore.Options{Now: time.Now, Options: database.Options{
		URL: "sqlite:" + filepath.Join(dir, "chatting.db"), MaxOpen: 2, Timeout: time.Minute, Logger: testLogger(t),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := newSetUp(t, "CHATTING_DATA_DIR="+dir)
	want := finding{"database", OK, "that of this program", ""}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status":"ok"}`)) }))
	defer server.Close()
	newSetUp(t, "CHATTING_DATA_DIR="+dir, "CHATTING_HTTP_ADDR="+strings.TrimPrefix(server.URL, "http://")).examine(t).only(t, want,
		finding{"addresses", OK, "a server answers at", ""})

	killed := private(t) // what a server leaves that is killed
	for _, name := range []string{"chatting.db-shm", "chatting.db-wal", "chatting.db"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(killed, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asLeft := files(t, killed)
	newSetUp(t, "CHATTING_DATA_DIR="+killed).examine(t).only(t, finding{"database", Skipped, "a write-ahead log that the next start reads back", ""})
	if after := files(t, killed); fmt.Sprint(after) != fmt.Sprint(asLeft) {
		t.Errorf("it changed something:\n%q\n%q", asLeft, after)
	}

	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	s.examine(t).only(t, want)
	if after := files(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("it changed something:\n%q\n%q", before, after)
	}
	write := func(statement string) {
		t.Helper()
		db, err := database.Open(t.Context(), database.Options{
			URL: "sqlite:" + filepath.Join(dir, "chatting.db"), MaxOpen: 1, Timeout: time.Minute, Logger: testLogger(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Writer.Exec(statement)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for statement, want := range map[string]finding{
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`: {"database", Failed, "schema version 99, and this program knows", "newer one"},
		`DELETE FROM goose_db_version WHERE version_id > 3`:                    {"database", Warning, "schema version 3, and this program", "chatting migrate"},
	} {
		write(statement)
		s.examine(t).only(t, want)
		write(`DELETE FROM goose_db_version WHERE version_id = 99`)
	}
}

func TestATokenIsJudgedAsTheServerDoes(t *testing.T) {
	const issuer = "https://id.example"
	token := func(ttl time.Duration, now time.Time, required auth.Required) string {
		minted, err := auth.MintHS256([]byte(secret), 7, ttl, now, required)
		if err != nil {
			t.Fatal(err)
		}
		return minted
	}
	good := auth.Required{Issuer: issuer}
	for name, row := range map[string]struct {
		token string
		want  finding
	}{
		"good":         {token(time.Hour, time.Now(), good), finding{"tokens", OK, "the token is good: user 7", ""}},
		"expired":      {token(time.Hour, time.Now().Add(-2*time.Hour), good), finding{"tokens", Failed, "expired", "docs/access.md"}},
		"wrong issuer": {token(time.Hour, time.Now(), auth.Required{Issuer: "https://other"}), finding{"tokens", Failed, "issuer", "jwt.issuer"}},
		"no token":     {"marker", finding{"tokens", Failed, "the token is refused", "docs/access.md"}},
	} {
		s := newSetUp(t, "CHATTING_JWT_SECRET="+secret, "CHATTING_JWT_ISSUER="+issuer)
		s.token = row.token
		report := s.examine(t)
		report.only(t, row.want)
		if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), row.token) {
			t.Errorf("%s: it shows the token: %s %v", name, text, err)
		}
	}
}

// TestATokenOfATrialServerIsJudgedWithoutTouchingItsSecret: the server itself would narrow the file's mode.
func TestATokenOfATrialServerIsJudgedWithoutTouchingItsSecret(t *testing.T) {
	dir := private(t)
	made, err := auth.LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "jwt-secret"), 0o640); err != nil {
		t.Fatal(err)
	}
	s := newSetUp(t, "CHATTING_DATA_DIR="+dir)
	if s.token, err = auth.MintHS256(made, 7, time.Hour, time.Now(), auth.Required{}); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	s.examine(t).only(t, finding{"tokens", OK, "the token is good: user 7", ""})
	if after := files(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("it changed something:\n%q\n%q", before, after)
	}
}

func TestTheLeastLimitOnMemoryCounts(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/meminfo":                          "MemTotal:       8388608 kB\nMemFree: 1 kB\n",
		"proc/self/cgroup":                      "0::/system.slice/chatting.service\n",
		"sys/fs/cgroup/system.slice/memory.max": "1073741824\n",
		"sys/fs/cgroup/system.slice/chatting.service/memory.max": "max\n",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if got := memory(root); got != 1<<30 {
		t.Errorf("%d", got)
	}
	if got := memory(t.TempDir()); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

func TestAReportForPeopleNamesTheChange(t *testing.T) {
	report := Report{Findings: []Finding{{"database", Failed, "away\x1b[2J", "start it"}, {"broker", OK, "well", ""}}, Failed: 1}
	var plain, coloured strings.Builder
	if err := errors.Join(report.WriteText(&plain, false), report.WriteText(&coloured, true)); err != nil {
		t.Fatal(err)
	}
	want := "failed   database        away\\x1b[2J\n                         change: start it\nok       broker          well\n1 failure\n"
	if plain.String() != want {
		t.Errorf("%q", plain.String())
	}
	if !strings.Contains(coloured.String(), terminal.Colours(true).Red("failed ")) {
		t.Errorf("%q", coloured.String())
	}
}
