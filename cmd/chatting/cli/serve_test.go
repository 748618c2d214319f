package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/adapters/embedded"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
	"chatting/test/harness"
)

// serverSecret signs the tokens of the servers of these tests.
const serverSecret = "a-secret-of-32-bytes-for-one-test"

// served is a server that runs in the process of its test.
type served struct{ addr string }

// serveInProcess starts a server and ends it with the test.
func serveInProcess(t *testing.T, settings ...string) served {
	t.Helper()
	environ := append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
		"CHATTING_JWT_SECRET=" + serverSecret, "CHATTING_LOG_FORMAT=json",
	}, settings...)
	ctx, cancel := context.WithCancel(context.Background())
	lines, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"serve"}, Process{In: strings.NewReader(""), Out: io.Discard, Err: stderr, Environ: environ})
		_ = stderr.Close()
	}()
	ready, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			var line struct {
				HTTP string `json:"http"`
			}
			if json.Unmarshal(scanner.Bytes(), &line) == nil && line.HTTP != "" {
				ready <- strings.TrimPrefix(line.HTTP, "http://")
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("the server ended with %d", code)
		}
		<-read
	})
	select {
	case addr := <-ready:
		return served{addr}
	case code := <-ended:
		ended <- code
		t.Fatalf("the server ended with %d before it was ready", code)
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready after a minute")
	}
	return served{}
}

// serveUntilItEnds runs a server that cannot go on, and returns its exit code and its log.
func serveUntilItEnds(t *testing.T, environ ...string) (code int, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	var stderr syncBuffer
	code = Run(ctx, []string{"serve"}, Process{In: strings.NewReader(""), Out: &stderr, Err: &stderr, Environ: append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
	}, environ...)})
	if ctx.Err() != nil {
		t.Error("the server went on")
	}
	return code, stderr.String()
}

func TestAFailedStartNamesTheOptionThatCausedIt(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	inUse := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	locked := t.TempDir()
	lock, err := embedded.LockDir(locked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	noKey := t.TempDir()
	if err := os.WriteFile(filepath.Join(noKey, "jwt-secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	away := "CHATTING_DATABASE_URL=postgres://chatting:marker@127.0.0.1:1/x"

	for name, c := range map[string]struct{ setting, option, why string }{
		"the port in use":                 {"CHATTING_HTTP_ADDR=" + inUse, "http.addr", inUse + " is in use by another process"},
		"no address of this machine":      {"CHATTING_HTTP_ADDR=192.0.2.1:1", "http.addr", "cannot listen on 192.0.2.1:1: cannot assign"},
		"no host":                         {"CHATTING_HTTP_ADDR=nowhere.invalid:1", "http.addr", "nowhere.invalid"},
		"the broker's port in use":        {"CHATTING_EMBEDDED_KAFKA_ADDR=" + inUse, "embedded_kafka.addr", inUse + " is in use by another process"},
		"no address for the broker":       {"CHATTING_EMBEDDED_KAFKA_ADDR=192.0.2.1:1", "embedded_kafka.addr", "192.0.2.1:1: cannot assign"},
		"a data directory that is a file": {"CHATTING_DATA_DIR=" + file, "data_dir", file + " is not a directory"},
		"a data directory in use":         {"CHATTING_DATA_DIR=" + locked, "data_dir", locked + " is in use by another chatting"},
		"a secret that is none":           {"CHATTING_DATA_DIR=" + noKey, "data_dir", "5 bytes"},
		"no folder for the database":      {"CHATTING_DATABASE_URL=sqlite:" + file + "/x.db", "database.url", "x.db cannot be used: not a directory"},
		"a database that is away":         {away, "database.url", "connection refused"},
		"no file with the public key":     {"CHATTING_JWT_PUBLIC_KEY_FILE=" + file + ".pem", "jwt.public_key_file", "no such file"},
		"a public key that is none":       {"CHATTING_JWT_PUBLIC_KEY_FILE=" + file, "jwt.public_key_file", "it is no PEM file"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			code := Run(t.Context(), []string{"serve"}, Process{
				In: strings.NewReader(""), Out: io.Discard, Err: &stderr, Environ: []string{
					"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
					c.setting,
				},
			})
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			last := lines[len(lines)-1]
			want := exit.Failed
			switch {
			case c.setting == away:
				want = exit.Unavailable
			case c.option == "jwt.public_key_file":
				want = exit.Usage
			}
			if code != int(want) || !strings.HasPrefix(last, "chatting: "+c.option+" (CHATTING_") || !strings.Contains(last, c.why) {
				t.Errorf("code %d: %s", code, last)
			}
			if strings.Contains(stderr.String(), "marker") {
				t.Error("the password was shown")
			}
		})
	}
}

// configured loads a configuration from variables alone.
func configured(t *testing.T, environ ...string) configs.Config {
	t.Helper()
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
