package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Version is the server as it was at a commit.
type Version struct {
	// Program is its binary.
	Program string
	// Schema is the newest version of the database's schema that it knows.
	Schema int
}

// BuildVersion builds the server of an earlier commit. Where the checkout's history does not hold that commit, the test is
// skipped.
func BuildVersion(t *testing.T, commit string) Version {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the history of this checkout does not hold commit %.7s, whose server is to run (%v: %s)", commit, err, out)
	}
	dir := t.TempDir()
	source, archive := filepath.Join(dir, "source"), filepath.Join(dir, "source.tar")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	v := Version{Program: filepath.Join(dir, "chatting")}
	for _, command := range []*exec.Cmd{
		exec.Command("git", "-C", root, "archive", "--output", archive, commit),
		exec.Command("tar", "-x", "-C", source, "-f", archive),
		exec.Command("go", "-C", source, "build", "-o", v.Program, "./cmd/chatting"),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(command.Args, " "), err, out)
		}
	}
	if v.Schema = schemaOf(t, filepath.Join(source, "migrations")); v.Schema == 0 {
		t.Fatalf("commit %.7s has no migrations", commit)
	}
	return v
}

// schemaOf returns the version of the schema that a folder of migrations, numbered from 1 on, leads to.
func schemaOf(t *testing.T, migrations string) int {
	t.Helper()
	steps, err := filepath.Glob(filepath.Join(migrations, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	return len(steps)
}

// Schema returns the version of the database's schema that the server of this checkout leads to.
func Schema(t *testing.T) int {
	t.Helper()
	return schemaOf(t, filepath.Join("..", "..", "migrations"))
}
