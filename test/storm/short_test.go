//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"chatting/test/harness"
)

// TestAShortStormBreaksNoRule is the run that is made with every change: eight faults in 45 seconds, a clock that leaps by an hour among
// them. What the machine does meanwhile is not in our hands, so it may find another fault each time. Nothing that it asserts
// depends on how fast the machine is: what was disturbed has four minutes to become right.
func TestAShortStormBreaksNoRule(t *testing.T) {
	harness.SharedParts(t) // where no real parts may be used, none may be started
	ctx := t.Context()
	if end, limited := t.Deadline(); limited { // so that it ends what it has started
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-2*time.Minute))
		defer cancel()
	}
	program := filepath.Join(t.TempDir(), "storm")
	if said, err := exec.CommandContext(ctx, "go", "build", "-o", program, "chatting/test/storm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	dir, err := os.MkdirTemp("", "storm-")
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(ctx, program,
		"-seed", "177", "-for", "45s", "-faults", "8", "-leave", "full", "-users", "8", "-rate", "15", "-dir", dir)
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	run.WaitDelay = time.Minute // then it has ended all that it started
	said, err := run.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Fatalf("%v; see %s", err, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
