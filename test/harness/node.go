package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Node is a server process.
type Node struct {
	// HTTP is the host:port that it serves on, Kafka that of its embedded broker, "" where it has none.
	HTTP, Kafka string
	// PID is its process id.
	PID int

	mu       sync.Mutex
	warnings []string

	process *exec.Cmd
	ended   chan error // holds how the process ended, once it did
}

// Environ returns this process's environment without settings of the server, and with those given.
func Environ(more ...string) []string {
	var environ []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CHATTING_") {
			environ = append(environ, variable)
		}
	}
	return append(environ, more...)
}

// StartNode starts a server in dir, with the settings given and no others, and waits until it says that it is ready. It is
// killed when the test ends.
func StartNode(t *testing.T, dir string, settings ...string) *Node {
	t.Helper()
	n := Launch(t, dir, settings...)
	if err := n.AwaitReady(StartLimit); err != nil {
		t.Fatal(err)
	}
	return n.Node
}

// StartLimit is how long a server may take to be ready on a machine that has much else to do. One that ends instead is noticed at once.
const StartLimit = 5 * time.Minute

// Launched is a server process that need not be ready yet.
type Launched struct {
	*Node

	announced chan struct{} // closed once HTTP and Kafka are known
}

// Launch starts a server as StartNode does, and does not wait. HTTP and Kafka may be used once Ready is closed. What a
// server with an embedded broker has logged is held against the published schemas when the test ends.
func Launch(t *testing.T, dir string, settings ...string) *Launched {
	t.Helper()
	return LaunchProgram(t, Binary, dir, settings...)
}

// LaunchProgram is Launch for a server that was built otherwise, of another version say.
func LaunchProgram(t *testing.T, program, dir string, settings ...string) *Launched {
	t.Helper()
	TrackSources(t)
	promiseOf(t, dir, settings)
	process := exec.Command(program)
	process.Dir = dir
	process.Env = Environ(settings...)
	return launch(t, process)
}

// launch starts a server, which writes its log to standard error.
func launch(t *testing.T, process *exec.Cmd) *Launched {
	t.Helper()
	n := &Launched{Node: &Node{process: process, ended: make(chan error, 1)}, announced: make(chan struct{})}
	DiesWithTests(n.process)
	stderr, err := n.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	n.PID = n.process.Process.Pid
	t.Cleanup(n.Kill)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var line struct {
				Kafka string `json:"embedded_kafka"`
				HTTP  string `json:"http"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.HTTP != "" && n.HTTP == "" {
				n.HTTP, n.Kafka = strings.TrimPrefix(line.HTTP, "http://"), line.Kafka
				close(n.announced)
			}
			if testing.Verbose() || !strings.Contains(lines.Text(), `"level":"INFO"`) {
				fmt.Fprintf(t.Output(), "node %d: %s\n", n.PID, lines.Text())
			}
			if strings.Contains(lines.Text(), `"level":"WARN"`) {
				n.warn(lines.Text())
			}
		}
		n.ended <- n.process.Wait()
	}()
	return n
}

// AwaitReady waits until the server says that it is ready; it is an error if the server ends, or takes longer than limit.
func (n *Launched) AwaitReady(limit time.Duration) error {
	select {
	case <-n.announced:
		return nil
	case err := <-n.ended:
		n.ended <- err
		return fmt.Errorf("the server ended: %w", err)
	case <-time.After(limit):
		return fmt.Errorf("the server is not ready after %s", limit)
	}
}

// maxWarnings bounds what a node's warnings take.
const maxWarnings = 1000

func (n *Node) warn(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.warnings) < maxWarnings {
		n.warnings = append(n.warnings, line)
	}
}

// Warnings returns the log lines with warnings that the server wrote so far, at most the first thousand.
func (n *Node) Warnings() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.warnings, "\n")
}

// Kill ends the server with SIGKILL and waits for its end. A server that has ended is left alone.
func (n *Node) Kill() {
	n.Signal(syscall.SIGKILL)
	n.ended <- <-n.ended
}

// Signal sends a signal to the process, if it has not ended.
func (n *Node) Signal(signal syscall.Signal) { _ = n.process.Process.Signal(signal) }

// AwaitEnd waits until the server has ended by itself, and returns its exit code.
func (n *Node) AwaitEnd(ctx context.Context) (code int, err error) {
	select {
	case ended := <-n.ended:
		n.ended <- ended
		return n.process.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Stop ends the server with SIGTERM and returns how it ended.
func (n *Node) Stop() error {
	n.Signal(syscall.SIGTERM)
	err := <-n.ended
	n.ended <- err
	return err
}
