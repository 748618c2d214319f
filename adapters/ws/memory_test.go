package ws

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// idleClients names the server to the process that BenchmarkIdleConnection starts.
const idleClients = "CHATTING_TEST_IDLE_CLIENTS_OF"

const idleConnections = 5000

// BenchmarkIdleConnection tells what a logged-in connection costs that has nothing to say: Go's heap and stacks, the fake
// use cases' part included. Its clients are in another process.
func BenchmarkIdleConnection(b *testing.B) {
	f := serve(b, Options{FramesPerSecond: 50, Times: Times{Scan: time.Second}}, newChat())
	f.login(b, 1)
	before := memory()
	clients := exec.Command(os.Args[0], "-test.run=TestIdleClients", "-test.v")
	clients.Env = append(os.Environ(), idleClients+"="+f.addr)
	in, err := clients.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := clients.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "connected") {
	}
	if n := f.Connections(); n != idleConnections+1 {
		b.Fatalf("%d connections", n)
	}
	after := memory()
	for b.Loop() { // the benchmark is of memory, not of time
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(after-before)/idleConnections/1024, "KiB/connection")
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	if err := clients.Wait(); err != nil {
		b.Error(err)
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc + stats.StackInuse
}

// TestIdleClients is the other process.
func TestIdleClients(t *testing.T) {
	addr := os.Getenv(idleClients)
	if addr == "" {
		t.Skip("only run by BenchmarkIdleConnection")
	}
	for i := range idleConnections {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, upgradeHead+"\r\n"); err != nil {
			t.Fatal(err)
		}
		await(t, conn, "\r\n\r\n")
		if _, err := io.WriteString(conn, textFrame(fmt.Sprintf(`{"token":"user-%d"}`, i+2))); err != nil {
			t.Fatal(err)
		}
		await(t, conn, "logged")
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func await(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	var got strings.Builder
	buffer := make([]byte, 1024)
	for !strings.Contains(got.String(), what) {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buffer[:n])
	}
}
