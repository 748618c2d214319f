package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
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

// TestFilesThatAServerMakesAreForItsOwner runs the program under umasks that others have set.
func TestFilesThatAServerMakesAreForItsOwner(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no shell")
	}
	program := filepath.Join(t.TempDir(), "chatting")
	buildProgram(t, program)
	for _, umask := range []string{"0000", "0022", "0777"} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		serveUnder(t, program, umask, dir)
		checkModes(t, dir)
		if err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err == nil && path != dir && !strings.Contains(path, "s2s-token") && !strings.Contains(path, "jwt-secret") {
				mode := os.FileMode(0o666)
				if entry.IsDir() {
					mode = 0o777
				}
				err = os.Chmod(path, mode)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		serveUnder(t, program, umask, dir)
		checkModes(t, dir)
	}
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	files := 0
	if err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: %04o", path, info.Mode().Perm())
		}
		files++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files in %s", files, dir)
	}
}
