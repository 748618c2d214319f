package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"chatting/adapters/embedded/logdir"
)

// childDir makes the test binary a broker on the directory it names.
const childDir = "CHATTING_TEST_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		serveAsChild(dir)
	}
	goleak.VerifyTestMain(m)
}

// serveAsChild runs a broker until standard input ends, which it does when the parent is gone.
func serveAsChild(dir string) {
	lock, err := LockDir(dir)
	if err == nil {
		var b *Broker
		if b, err = Start(context.Background(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.Default()}); err == nil {
			fmt.Println(b.Addr())
			_, _ = io.Copy(io.Discard, os.Stdin)
			err = b.Close()
		}
		defer lock.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a broker in a process of its own.
type child struct {
	addr    string
	process *exec.Cmd
	stdin   io.Closer
	stderr  *strings.Builder
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{process: exec.Command(os.Args[0]), stderr: new(strings.Builder)}
	c.process.Env = append(os.Environ(), childDir+"="+dir)
	c.process.Stderr = c.stderr
	stdin, err := c.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.kill()
		t.Fatalf("the child did not start: %v\n%s", err, c.stderr)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// kill sends SIGKILL and waits for the end.
func (c *child) kill() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
}

// stop lets the child close its broker and reports how it ended.
func (c *child) stop() error {
	if err := c.stdin.Close(); err != nil {
		return err
	}
	return c.process.Wait()
}

// Files of a broker's directory.
const (
	partsDir   = "partitions"
	metaFile   = "meta.json"
	topicsFile = "topics.json"
	groupsFile = "groups.log"
	keptFile   = "kept.json"
	clockFile  = "clock.json"
	damagedDir = "damaged"
)

// kept is what keptFile says.
type kept struct {
	Version int              `json:"version"`
	Topics  json.RawMessage  `json:"topics"`
	Newest  map[string]int64 `json:"newest"`
	Synced  map[string]int64 `json:"synced"`
	Groups  bool             `json:"groups"`
}

func readKept(t *testing.T, dir string) (k kept) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dir, keptFile)), &k); err != nil || k.Version != 1 {
		t.Fatalf("%+v, %v", k, err)
	}
	return k
}

// readTopics reads a list of topics.
func readTopics(t *testing.T, raw []byte) []logdir.Topic {
	t.Helper()
	var list struct{ Topics []logdir.Topic }
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	return list.Topics
}

func topicsIn(t *testing.T, dir string) []logdir.Topic {
	t.Helper()
	return readTopics(t, []byte(read(t, dir, topicsFile)))
}

// start runs a broker in this process.
func start(t testing.TB, dir string) *Broker {
	t.Helper()
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}
