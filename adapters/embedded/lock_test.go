package embedded

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirectoryHasOneHolderAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	lock, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
	want := "the data directory " + dir + " is in use by another chatting"
	if _, err := LockDir(dir); err == nil || err.Error() != want {
		t.Errorf("the second holder is told: %v", err)
	}
	for range 2 {
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := startChild(t, dir)
	if _, err := LockDir(dir); err == nil || err.Error() != want {
		t.Errorf("beside another process: %v", err)
	}
	c.kill()
	lock, err = LockDir(dir)
	if err != nil {
		t.Fatalf("after the other process was killed: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableDataDirectoryIsNamedInOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := LockDir(dir); err == nil || err.Error() != "the data directory "+dir+" is not a directory" {
			t.Errorf("%s: %v", dir, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(link); err == nil || err.Error() != "the data directory "+link+" is a symbolic link that leads to no directory" {
		t.Errorf("%v", err)
	}
	if os.Getuid() != 0 { // root may write everywhere
		closed := filepath.Join(t.TempDir(), "closed")
		if err := os.Mkdir(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := LockDir(closed); err == nil || !strings.Contains(err.Error(), closed+" cannot be written") {
			t.Errorf("%v", err)
		}
	}
	err := describeDirError("/d", &fs.PathError{Op: "open", Path: "/d/lock", Err: fs.ErrPermission})
	if err.Error() != "the data directory /d cannot be written: permission denied" {
		t.Errorf("%v", err)
	}
}

// TestFilesOfTheBrokerAreNarrowedToTheirOwner: older versions made them for everybody.
func TestFilesOfTheBrokerAreNarrowedToTheirOwner(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"meta.json", "partitions/x-0/00000000000000000000.log", "partitions/x-0/00000000000000000000.index", "damaged/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What the files hold is not what a broker wrote. They are narrowed before that is looked at.
	if b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		if err := b.Close(); err != nil {
			t.Log(err)
		}
	}
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && strings.HasSuffix(path, "00.log") && info.Mode().Perm() != 0o600 || err == nil && info.IsDir() && path == dir && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %04o", path, info.Mode().Perm())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
