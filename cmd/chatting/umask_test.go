package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func buildProgram(t *testing.T, program string) {
	t.Helper()
	if output, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%s", output)
	}
}

// serveUnder runs a server under an umask until it serves, and ends it.
func serveUnder(t *testing.T, program, umask, dir string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "umask "+umask+"; exec "+program)
	cmd.Env = []string{"HOME=" + dir, "CHATTING_DATA_DIR=" + dir, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
		"CHATTING_S2S_TRUST_LOOPBACK=false"}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it has left, unless the test failed
	_ = writer.Close()
	if err := reader.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	buffer := make([]byte, 4096)
	for !strings.Contains(log.String(), `"msg":"ready`) {
		n, err := reader.Read(buffer)
		log.Write(buffer[:n])
		if err != nil {
			t.Fatalf("under umask %s it does not serve: %v\n%s", umask, err, log.String())
		}
	}
	go func() { _, _ = log.ReadFrom(reader) }()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it left with %v", err)
	}
	_ = reader.Close()
}
