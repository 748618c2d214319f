package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// FreeAddress returns a host:port of loopback that nobody listens on. The port lies below those that the system gives to outgoing
// connections and to whoever asks for any port: none of those takes it before the test's server does.
func FreeAddress(t *testing.T) string {
	t.Helper()
	lowest := 32768
	if said, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(said), &lowest)
	}
	const low = 10_000
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(max(lowest-low, 1))))
		if listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

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
