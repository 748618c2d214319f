package harness

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// ResidentMemory returns how much memory a process has resident, in bytes.
func ResidentMemory(t *testing.T, pid int) int { return memoryOf(t, pid, "VmRSS") }

// PeakMemory returns the most memory that a process ever had resident, in bytes.
func PeakMemory(t *testing.T, pid int) int { return memoryOf(t, pid, "VmHWM") }

// memoryOf reads a number of proc_pid_status(5).
func memoryOf(t *testing.T, pid int, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatalf("process %d has no %s", pid, name)
	return 0
}
