package contract

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/test/harness"
)

// target is a server that the table is replayed against.
type target struct {
	url      string // http://host:port
	original bool   // rows that only ours answers so are left out
	// issue makes a token: id is what it names as its user, in JSON. A negative ttl: one that expired.
	// errors.ErrUnsupported where such a token cannot be made.
	issue func(id string, ttl time.Duration) (string, error)
	// issueAs makes a token for a user that says what it is for, in the claim of SimpleJWT; nil where that cannot be done.
	issueAs func(id, purpose string) (string, error)
	service *userManagement // whom the server asks; nil for nobody
}

// ids are those of the rows' users. They begin anywhere below 2^31, so that runs against one server do not meet.
var ids atomic.Int64

func (t *target) newID() int64 { return ids.Add(1) }

// secret is what the tokens of the servers started here are signed with.
const secret = "the contract's own secret, of more than 32 bytes"

// issueJWT makes a token as the platform does.
func issueJWT(id string, ttl time.Duration) (string, error) {
	claims := jwt.MapClaims{"user_id": json.RawMessage(id), "exp": time.Now().Add(ttl).Unix()}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
}

// issueJWTAs makes a token with the claim that SimpleJWT tells its tokens apart by.
func issueJWTAs(id, purpose string) (string, error) {
	claims := jwt.MapClaims{"user_id": json.RawMessage(id), "exp": time.Now().Add(time.Hour).Unix(), "token_type": purpose}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
}

// issueBy makes tokens that the service knows.
func issueBy(service *userManagement) func(string, time.Duration) (string, error) {
	return func(id string, ttl time.Duration) (string, error) {
		if ttl < 0 {
			return "token-expired", nil
		}
		return service.register(id), nil
	}
}

// issueByCommand asks a program, which gets the id as its last argument and prints the token.
func issueByCommand(command string) func(string, time.Duration) (string, error) {
	return func(id string, ttl time.Duration) (string, error) {
		if ttl != time.Hour {
			return "", errors.ErrUnsupported
		}
		words := append(strings.Fields(command), id)
		out, err := exec.Command(words[0], words[1:]...).Output()
		return strings.TrimSpace(string(out)), err
	}
}

// s2sToken is the one of the server "configured".
const s2sToken = "the-platforms-own-token"

// servers are those that rows name, by what is configured beside addresses and keys.
var servers = map[string][]string{
	"plain": nil,
	"configured": {
		"CHATTING_S2S_TOKEN=" + s2sToken,
		"CHATTING_CHAT_HTML_ESCAPE=true",
		"CHATTING_WEBSOCKET_ALLOWED_ORIGINS=https://play.example",
		"CHATTING_WEBSOCKET_MAX_FRAME_BYTES=256KiB",
	},
	"impatient": {
		"CHATTING_WEBSOCKET_LOGIN_DEADLINE=2s",
		"CHATTING_WEBSOCKET_PING_AFTER=1s",
		"CHATTING_WEBSOCKET_PONG_WAIT=3s",
		"CHATTING_INVITE_EXPIRES_AFTER=2s",
	},
	dropIn: {
		"CHATTING_USER_MANAGEMENT_FRIENDS_RELOAD=1s",
		"CHATTING_WEBSOCKET_TOKEN_RECHECK=2s",
	},
	storing: {
		"CHATTING_CHAT_OFFLINE=store",
	},
	"lingering": {
		"CHATTING_PRESENCE_OFFLINE_GRACE=5m",
	},
	"keyed": nil,
	"forgetful": {
		"CHATTING_HISTORY_ENABLED=false",
	},
}

// guarded are the servers whose other servers need a token. Beside them rows may call /s2sapi/ as a trial server lets them.
var guarded = []string{"configured", "keyed"}

// storing is the server that stores messages to users who are offline. The nodes of a cluster do that together or not at all.
const storing = "storing"

// dropIn is the server that has a user-management service, as the original does.
const dropIn = "drop-in"

// startServers starts them all, with further variables, and ends them with the test. Where these make a cluster of them,
// storing is left out.
func startServers(t *testing.T, environ ...string) map[string]*target {
	t.Helper()
	var mu sync.Mutex
	var starting sync.WaitGroup
	started := map[string]*target{}
	for name, own := range servers {
		if name == storing && len(environ) > 0 {
			continue
		}
		target := &target{issue: issueJWT, issueAs: issueJWTAs}
		keys := "CHATTING_JWT_SECRET=" + secret
		if name == dropIn {
			target.service = startUserManagement(t, "127.0.0.1:0")
			target.issue, target.issueAs = issueBy(target.service), nil
			keys = "CHATTING_USER_MANAGEMENT_URL=" + target.service.url
		}
		if !slices.Contains(guarded, name) {
			own = append([]string{"CHATTING_S2S_TRUST_LOOPBACK=true"}, own...)
		}
		p := newProcess(t, name, append(append([]string{keys}, own...), environ...))
		starting.Go(func() {
			target.url = p.awaitReady()
			mu.Lock()
			defer mu.Unlock()
			started[name] = target
		})
	}
	starting.Wait()
	for name, target := range started {
		if target.url == "" {
			t.Fatalf("the server %s did not get ready", name)
		}
	}
	return started
}

// process is a running server. Its standard error is kept, and shown when the test fails.
type process struct {
	name  string
	cmd   *exec.Cmd
	ready chan string // the URL, once
	ended chan struct{}

	mu     sync.Mutex
	stderr bytes.Buffer
}

func newProcess(t *testing.T, name string, environ []string) *process {
	t.Helper()
	harness.TrackSources(t)
	p := &process{name: name, cmd: exec.Command(program), ready: make(chan string, 1), ended: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	harness.DiesWithTests(p.cmd)
	harness.PromiseEmbeddedEvents(t, p.cmd.Dir, "chatting")
	p.cmd.Env = append(ownEnviron(), append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + p.cmd.Dir,
		"CHATTING_LOG_FORMAT=json",
		// Eight of them start at once, and are asked at once: on a busy machine an append or a question may take its time.
		"CHATTING_KAFKA_APPEND_DEADLINE=30s", "CHATTING_DATABASE_TIMEOUT=30s",
	}, environ...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(stderr)
	t.Cleanup(func() { p.stop(t) })
	return p
}

// ownEnviron is this process's environment without settings of the server.
func ownEnviron() []string {
	var kept []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "CHATTING_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

// follow keeps what the server writes and looks for the line that says where it listens.
func (p *process) follow(stderr io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.stderr.Write(append(lines.Bytes(), '\n'))
		p.mu.Unlock()
		var line struct{ Msg, HTTP string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, "ready") && line.HTTP != "" {
			p.ready <- line.HTTP
		}
	}
}

// awaitReady returns where the server listens, "" when it ended instead or takes too long.
func (p *process) awaitReady() string {
	select {
	case url := <-p.ready:
		return url
	case <-p.ended:
	case <-time.After(2 * patience):
	}
	return ""
}

// stop ends the server as an operator would, and looks at how it went and at what it wrote.
func (p *process) stop(t *testing.T) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	killer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	<-p.ended
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the server %s ended with %v", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.stderr.String()
	for _, never := range []string{"panic", "DATA RACE", secret, s2sToken, confidential, "eyJ", "token-"} {
		if strings.Contains(log, never) {
			t.Errorf("the server %s wrote %q", p.name, never)
		}
	}
	if t.Failed() {
		t.Logf("standard error of the server %s:\n%s", p.name, log)
	}
}

// confidential is in messages of the table, and must not be in a log.
const confidential = "between us"

// program is the server, built by TestMain.
var program string

func build(dir string) error {
	program = dir + "/chatting"
	arguments := []string{"build", "-o", program}
	if raceDetector {
		arguments = append(arguments, "-race")
	}
	command := exec.Command("go", append(arguments, "chatting/cmd/chatting")...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
