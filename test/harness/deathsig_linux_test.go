package harness

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leaverVariable makes the test below the one that is killed. It names the server.
const leaverVariable = "HARNESS_TEST_LEAVES_A_SERVER"

// TestAServerEndsWithTestsThatAreKilled runs itself, has that start a server, which here is a shell, and kills it. The shell has the
// other end of a pipe, which is closed once all who have it are gone.
func TestAServerEndsWithTestsThatAreKilled(t *testing.T) {
	if program := os.Getenv(leaverVariable); program != "" {
		server := exec.Command(program)
		server.Stdin, server.Stdout = os.Stdin, os.Stdout
		n := launch(t, server)
		t.Fatalf("the server of pid %d ended: %v", n.PID, <-n.ended)
	}
	program := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"server $$\"\nread nothing\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	held, stdin, err := os.Pipe() // nobody writes to it: the shell waits
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tests := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	tests.Env = append(os.Environ(), leaverVariable+"="+program)
	tests.Stdin, tests.Stdout, tests.Stderr = held, writer, t.Output()
	if err := tests.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = held.Close(), writer.Close()
	_ = out.SetReadDeadline(time.Now().Add(FrameWait))
	lines, pid := bufio.NewScanner(out), 0
	for pid == 0 && lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "server %d", &pid)
	}
	if err := tests.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = tests.Wait()
	if pid == 0 {
		t.Fatalf("no server was started: %v", lines.Err())
	}
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Errorf("the server went on after the tests that started it: %s", strings.TrimSpace(err.Error()))
	}
}
