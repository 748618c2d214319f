// Package harness runs the built server as a process and talks to it as its users do. It is for the tests under test.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Main builds the server from this module, runs m's tests with the program's path in Binary, and returns the exit code. If
// CHATTING_TEST_BINARY names a program, that is run instead: whoever runs many packages builds it once.
func Main(m *testing.M) int {
	if Binary = os.Getenv("CHATTING_TEST_BINARY"); Binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "chatting-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Binary = filepath.Join(dir, "chatting")
	build := exec.Command("go", "build", "-o", Binary, "chatting/cmd/chatting")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the server:", err)
		return 1
	}
	return m.Run()
}

// Binary is the built server while Main runs tests.
var Binary string

// Pause lets a condition be asked again, or a fault or load last, for d or until ctx ends. Nothing asserted may depend on
// its length.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

const unboundedWait = 2 * FrameWait

// Until polls a condition until it holds, and fails the test with what it waits for if ctx ends first. A context without a
// deadline, as that of a test, would only end with go test's own limit: then it waits for unboundedWait.
func Until(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, unboundedWait)
		defer cancel()
	}
	for !holds() {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain: %s", what)
		}
		Pause(ctx, 10*time.Millisecond)
	}
}
