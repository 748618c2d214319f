package harness

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// JavaScriptClient returns a new folder with the JavaScript client, in client and as the npm package that it is, and the scripts
// of test/clients that use it, with their npm packages. The test is skipped where those are missing.
func JavaScriptClient(t *testing.T) string {
	t.Helper()
	tools := os.Getenv("CHATTING_TEST_CLIENTS")
	if tools == "" {
		t.Skip("CHATTING_TEST_CLIENTS is not set: this needs Node and packages of npm (test/clients/install)")
	}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	dir := t.TempDir()
	for to, from := range map[string]string{"client": "adapters/web/client", ".": "test/clients/javascript"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(root, from))); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := filepath.Glob(filepath.Join(tools, "node_modules", "*"))
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(dir, "node_modules")
	if err := os.Mkdir(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	link := func(from, name string) {
		if err := os.Symlink(from, filepath.Join(modules, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range packages {
		link(folder, filepath.Base(folder))
	}
	link(filepath.Join(dir, "client"), "chatting-client")
	return dir
}

// Script is a program of a test's that is told lines and says lines, in which it tells how far it is.
type Script struct {
	t       *testing.T
	process *exec.Cmd
	input   io.WriteCloser
	lines   *bufio.Reader
}

// StartScript starts a program in a folder. It is killed when ctx ends, or with the test.
func StartScript(ctx context.Context, t *testing.T, dir, name string, arguments ...string) *Script {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	s := &Script{t: t, process: exec.CommandContext(ctx, name, arguments...)}
	s.process.Dir, s.process.Stderr = dir, t.Output()
	DiesWithTests(s.process)
	var errs [3]error
	var output io.Reader
	s.input, errs[0] = s.process.StdinPipe()
	output, errs[1] = s.process.StdoutPipe()
	errs[2] = s.process.Start()
	if err := errors.Join(errs[:]...); err != nil {
		cancel()
		t.Fatal(err)
	}
	s.lines = bufio.NewReader(output)
	t.Cleanup(func() {
		cancel()
		_ = s.process.Wait()
	})
	return s
}

// Tell writes a line to the program.
func (s *Script) Tell(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.input, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// Line waits for the next line that the program prints.
func (s *Script) Line() string {
	s.t.Helper()
	line, err := s.lines.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s ended too early: %v", filepath.Base(s.process.Path), err)
	}
	return line[:len(line)-1]
}

// Ends ends the program's input and waits until it has ended by itself, with success and without another word.
func (s *Script) Ends() {
	s.t.Helper()
	_ = s.input.Close()
	if rest, _ := io.ReadAll(s.lines); len(rest) > 0 {
		s.t.Errorf("%s printed more: %s", filepath.Base(s.process.Path), rest)
	}
	if err := s.process.Wait(); err != nil {
		s.t.Fatalf("%s: %v", filepath.Base(s.process.Path), err)
	}
}
