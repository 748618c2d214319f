package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Parts are the real Kafka and PostgreSQL that nodes run on.
type Parts struct {
	Brokers  string // host:port, separated by commas
	Postgres string // URL of a database whose user may create others
}

// SharedParts returns those that the environment names, which nobody may stop. Without them the test is skipped.
func SharedParts(t *testing.T) Parts {
	t.Helper()
	parts := Parts{Brokers: os.Getenv("CHATTING_TEST_KAFKA"), Postgres: os.Getenv("CHATTING_TEST_POSTGRES")}
	if parts.Brokers == "" || parts.Postgres == "" {
		t.Skip("CHATTING_TEST_KAFKA and CHATTING_TEST_POSTGRES are not both set: this needs real ones (test/infra/up)")
	}
	return parts
}

// OwnParts are a Kafka and a PostgreSQL of one test's own: others must not suffer from what is done to them.
type OwnParts struct {
	Parts

	t   *testing.T
	dir string
}

// StartOwnParts starts them, with one broker or three, and ends them with the test.
func StartOwnParts(t *testing.T, brokers int) *OwnParts {
	t.Helper()
	SharedParts(t) // where no real parts may be used, none may be started
	o := &OwnParts{t: t, dir: t.TempDir()}
	t.Cleanup(func() { o.script("down") })
	for line := range strings.Lines(o.script("up", "--brokers", strconv.Itoa(brokers))) {
		line = strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(line, "export CHATTING_TEST_KAFKA="); ok {
			o.Brokers = value
		}
		if value, ok := strings.CutPrefix(line, "export CHATTING_TEST_POSTGRES="); ok {
			o.Postgres = value
		}
	}
	if o.Brokers == "" || o.Postgres == "" {
		t.Fatal("test/infra/up does not name both parts")
	}
	return o
}

// script runs one of test/infra and returns what it printed.
func (o *OwnParts) script(name string, arguments ...string) string {
	o.t.Helper()
	_, here, _, _ := runtime.Caller(0)
	command := exec.Command(filepath.Join(filepath.Dir(here), "..", "infra", name), arguments...)
	command.Env = append(os.Environ(), "CHATTING_TEST_INFRA_DIR="+o.dir)
	command.Stderr = o.t.Output()
	out, err := command.Output()
	if err != nil {
		o.t.Fatalf("test/infra/%s: %v", name, err)
	}
	return string(out)
}

func (o *OwnParts) pid(file string) int {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join(o.dir, file))
	if err != nil {
		o.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		o.t.Fatal(err)
	}
	return pid
}

// SignalBroker sends a signal to broker number n, from 1 on.
func (o *OwnParts) SignalBroker(n int, signal syscall.Signal) {
	o.t.Helper()
	if err := syscall.Kill(o.pid("broker-"+strconv.Itoa(n)+".pid"), signal); err != nil {
		o.t.Fatal(err)
	}
}

// KillBroker ends a broker with SIGKILL and waits for its end.
func (o *OwnParts) KillBroker(n int) {
	o.t.Helper()
	pid := o.pid("broker-" + strconv.Itoa(n) + ".pid")
	o.SignalBroker(n, syscall.SIGKILL)
	o.gone(pid)
}

// gone waits for the end of a process that is nobody's child here. A killed one may stand in the table for a while, with
// an empty command line, and would pass for running.
func (o *OwnParts) gone(pid int) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	Until(ctx, o.t, "the end of a process", func() bool {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return err != nil || len(line) == 0
	})
}

// StartBroker starts a broker that was killed, on its ports and data. It does not wait until the broker answers.
func (o *OwnParts) StartBroker(n int) {
	o.t.Helper()
	if err := exec.Command(filepath.Join(o.dir, "broker-"+strconv.Itoa(n)+".start")).Run(); err != nil {
		o.t.Fatal(err)
	}
}

// StopPostgres ends PostgreSQL with its fast shutdown, which cuts all sessions.
func (o *OwnParts) StopPostgres() {
	o.t.Helper()
	pid := o.pid("postgres.pid")
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		o.t.Fatal(err)
	}
	o.gone(pid)
}

// SignalPostgres sends a signal to PostgreSQL and to each of its processes that serve a session: with SIGSTOP it keeps all
// connections, takes new ones, and answers nobody. A stopped one is sent SIGCONT when the test ends.
func (o *OwnParts) SignalPostgres(signal syscall.Signal) {
	o.t.Helper()
	postmaster := o.pid("postgres.pid")
	// The one that starts the others first: once it is stopped, they get no more.
	if err := syscall.Kill(postmaster, signal); err != nil {
		o.t.Fatal(err)
	}
	if signal == syscall.SIGSTOP {
		o.t.Cleanup(func() { o.SignalPostgres(syscall.SIGCONT) })
		Until(o.t.Context(), o.t, "PostgreSQL is stopped", func() bool { state, _ := processState(postmaster); return state == "T" })
	}
	for _, pid := range children(o.t, postmaster) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			o.t.Error(err)
		}
	}
}

// children returns the processes that one has started.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if _, by := processState(pid); by == parent {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// processState returns a process's state, a letter, and who started it; "" and 0 where it is gone.
func processState(pid int) (state string, parent int) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0
	}
	// The name stands before the last parenthesis, and may hold anything.
	_, _ = fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent)
	return state, parent
}

// StartPostgres starts PostgreSQL again where it was, and returns when it answers.
func (o *OwnParts) StartPostgres() {
	o.t.Helper()
	o.script("up")
}
