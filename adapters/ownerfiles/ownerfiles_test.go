//go:build unix

package ownerfiles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestFilesAreNarrowedToTheirOwner(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	for path, mode := range map[string]fs.FileMode{
		"open": 0o644, "group": 0o660, "all": 0o777, "narrow": 0o600, "readonly": 0o400, "sub/open": 0o666,
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(outside, nil, 0o600), os.Chmod(outside, 0o644), os.Symlink(outside, filepath.Join(dir, "link")),
		os.Chmod(filepath.Join(dir, "sub"), 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(NarrowTree(dir), NarrowTree(filepath.Join(dir, "missing")), Narrow(filepath.Join(dir, "missing"))); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		".": 0o700, "open": 0o600, "group": 0o600, "all": 0o600, "narrow": 0o600, "readonly": 0o400, "sub": 0o700, "sub/open": 0o600, "link": 0o644,
	} {
		if got := modeOf(t, filepath.Join(dir, path)); got != want {
			t.Errorf("%s: %04o, want %04o", path, got, want)
		}
	}
}

func TestAFileIsMadeOnceAndForItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	if err := Create(path); err != nil || modeOf(t, path) != 0o600 {
		t.Errorf("%v, %04o", err, modeOf(t, path))
	}
	if err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
}

func TestAPipeInThePlaceOfAFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{Narrow(pipe), NarrowTree(dir)} {
		if err == nil || err.Error() != pipe+" is neither a file nor a directory" {
			t.Errorf("%v", err)
		}
	}
}

func TestFilesMadeAfterUmaskAreForTheirOwner(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	Umask()
	path := filepath.Join(t.TempDir(), "new")
	if err := errors.Join(os.Mkdir(path, 0o777), os.WriteFile(path+"file", nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	if dir, file := modeOf(t, path), modeOf(t, path+"file"); dir != 0o700 || file != 0o600 {
		t.Errorf("%04o, %04o", dir, file)
	}
}
