package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"

	"chatting/cmd/chatting/bench"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/talk"
)

// secretFile returns a file with the secret of a server in this process.
func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(serverSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wrongMessages is what reports say of messages that did not come as they should.
type wrongMessages struct {
	Unanswered, Undelivered, Doubled, Reordered, Disordered, Strays int64 // of chats
	Unrecovered, Missing                                            int64 // of resumes
}

// measured runs a measurement, again if the machine was so busy that the server let somebody wait. What it says of messages
// counts at once.
func measured(t *testing.T, args []string) (o outcome) {
	t.Helper()
	for range 10 {
		if o = command(t, nil, args...); o.code != int(exit.Findings) {
			break
		}
		var wrong wrongMessages
		if err := json.Unmarshal([]byte(o.out), &wrong); err != nil || wrong != (wrongMessages{}) {
			break
		}
		t.Logf("%v: %s", args, o.err)
	}
	return o
}

func TestBenchMeasuresARealServer(t *testing.T) {
	s := serveInProcess(t, "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
	shared := []string{"--url", "ws://" + s.addr + talk.SocketPath, "--secret-file", secretFile(t), "--json", "--pid", fmt.Sprint(os.Getpid())}
	for _, mode := range []string{"--window=4", "--rate=500"} {
		args := append([]string{"bench", "--pairs=5", mode, "--warmup=50ms", "--ramp=50ms", "--duration=1s"}, shared...)
		o := measured(t, args)
		var r bench.ChatReport
		if err := json.Unmarshal([]byte(o.out), &r); err != nil || o.code != 0 || o.err != "" {
			t.Fatalf("%v: %v: %+v", args, err, o)
		}
		if r.Messages == 0 || r.Sent != r.Echoed || r.Sent != r.Delivered || r.Echo.P50 <= 0 || len(r.Processes) != 1 || r.Pairs != 5 || r.TextBytes != 64 {
			t.Errorf("%v: %+v", args, r)
		}
	}
	args := append([]string{"bench", "logins", "--users=20", "--first-user=5000", "--parallel=3"}, shared...)
	o := measured(t, args)
	var logins bench.LoginsReport
	if err := json.Unmarshal([]byte(o.out), &logins); err != nil || o.code != 0 || len(logins.Rounds) != 2 || logins.Rounds[1].Logins != 20 {
		t.Errorf("%v: %v: %+v", args, err, o)
	}
	args = append([]string{"bench", "resumes", "--users=20", "--first-user=5000", "--parallel=20", "--missed=3"}, shared...)
	o = measured(t, args)
	var resumes bench.ResumesReport
	if err := json.Unmarshal([]byte(o.out), &resumes); err != nil || o.code != 0 || resumes.CaughtUp.Count != 20 || o.err != "cut 20 connections\n" {
		t.Errorf("%v: %v: %+v", args, err, o)
	}
	args = append([]string{"bench", "idle", "--users=20", "--duration=0s", "--source=127.0.0.2,127.0.0.3"}, shared...)
	o = measured(t, args)
	var idle bench.IdleReport
	if err := json.Unmarshal([]byte(o.out), &idle); err != nil || o.code != 0 || idle.Connections != 20 || o.err != "holding 20 connections\n" {
		t.Errorf("%v: %v: %+v", args, err, o)
	}
}

// TestBenchFailsIfNothingWasMeasured: the report is printed all the same.
func TestBenchFailsIfNothingWasMeasured(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{"type":"system_message","message":"You have successfully logged","to_id":7}`)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
			write(conn, `{"type":"system_message","error":"No.","code":"unavailable","from_id":7,"to_id":7}`)
		}
	})
	defer server.Close()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("first\nsecond\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := command(t, nil, "bench", "--url", server.socketURL(), "--tokens-file", tokens, "--pairs=1", "--warmup=0s", "--duration=200ms")
	if o.code != int(exit.Findings) || !strings.HasPrefix(o.err, "chatting: the run has failed: no message was echoed in the measured time (unavailable: ") ||
		strings.Count(o.err, "\n") != 1 || !strings.Contains(o.out, "closed loop") {
		t.Errorf("%+v", o)
	}
	got := server.noted(&server.logins)
	slices.Sort(got)
	if !slices.Equal(got, []string{`{"token":"first"}`, `{"token":"second"}`}) {
		t.Errorf("logins %v", got)
	}
}

func TestMistakesInFlagsOfBenchAreExplained(t *testing.T) {
	dir := t.TempDir()
	few := filepath.Join(dir, "few")
	if err := os.WriteFile(few, []byte("one two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"bench --pairs 0":                                 "--pairs: 1 to 1000000",
		"bench --rate -1":                                 "--rate: 0 to",
		"bench --window 0":                                "--window: 1 to",
		"bench --size 46":                                 "--size: 47 to",
		"bench --duration 0s":                             "--duration: 1ms at least",
		"bench --warmup -1s":                              "--ramp, --warmup: not below 0s",
		"bench --ramp -1s":                                "--ramp, --warmup: not below 0s",
		"bench --parallel 0":                              "--parallel: 1 at least",
		"bench --source localhost":                        `--source: "localhost" is no IP address`,
		"bench --url http://h/":                           `--url: "http://h/" is no ws:// or wss:// URL`,
		"bench --first-user 0 --secret-file SECRET":       "--first-user: a positive integer",
		"bench --secret-file SECRET --tokens-file SECRET": "exclude each other",
		"bench --secret-file /dev/null":                   "--secret-file: jwt.secret",
		"bench --tokens-file /nowhere":                    "--tokens-file: open /nowhere: no such file",
		"bench --tokens-file FEW":                         "--tokens-file: it has 2 tokens, and 100 users are to log in",
		"bench":                                           "no server has made its token secret in",
		"bench --parallel 1 --secret-file SECRET --url ws://" + away + "/": "user 1 of 100: dial " + away + ": connect: connection refused",
		"bench idle --users 0":    "--users: 1 to 1000000",
		"bench logins --rounds 0": "--rounds: 1 at least",
		"bench resumes --users 3": "--users: 2 to 1000000, an even number",
		"bench xyzzyx":            `unknown command "xyzzyx" (see chatting bench --help)`,
		"bench --pid 1073741824 --secret-file SECRET --url ws://" + away + "/": "process 1073741824 cannot be measured",
	} {
		line = strings.NewReplacer("SECRET", secretFile(t), "FEW", few).Replace(line)
		command(t, []string{"CHATTING_DATA_DIR=" + dir}, strings.Fields(line)...).complains(t, want)
	}
}

// TestTheSecretOfAFileGoesWithTheOtherTokenOptions: the issuer, for one, comes from the configuration all the same.
func TestTheSecretOfAFileGoesWithTheOtherTokenOptions(t *testing.T) {
	s := serveInProcess(t, "CHATTING_JWT_ISSUER=me", "CHATTING_JWT_AUDIENCE=you", "CHATTING_JWT_USER_CLAIM=uid")
	line := []string{"bench", "logins", "--users=2", "--rounds=1", "--url", "ws://" + s.addr + talk.SocketPath, "--secret-file", secretFile(t)}
	if o := command(t, nil, line...); o.code != int(exit.Findings) || !strings.Contains(o.err, "2 logins of round 1 failed (the login was refused with close code 3401: 2)") {
		t.Errorf("%+v", o)
	}
	environ := []string{"CHATTING_JWT_ISSUER=me", "CHATTING_JWT_AUDIENCE=you", "CHATTING_JWT_USER_CLAIM=uid", "CHATTING_JWT_SECRET=" + strings.Repeat("x", 32)}
	if o := command(t, environ, line...); o.code != 0 {
		t.Errorf("%+v", o)
	}
}
