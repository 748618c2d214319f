//go:build unix

package database

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatting/domain"
)

func options(path string, mustExist bool) Options {
	return Options{
		URL: "sqlite:" + path, MustExist: mustExist, MaxOpen: 4, Timeout: 30 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

func openFile(t *testing.T, path string) error {
	t.Helper()
	s, err := Open(t.Context(), options(path, false))
	if err != nil {
		return err
	}
	return s.Close()
}

// damage changes a copy of a database file that has 200 users, and says what Open tells of it.
var damages = map[string]struct {
	do   func(t *testing.T, path string, content []byte)
	says string
}{
	"header overwritten": {func(t *testing.T, path string, content []byte) {
		copy(content, "not SQLite at all")
		put(t, path, content)
	}, "header"},
	"first byte": {func(t *testing.T, path string, content []byte) { content[0]++; put(t, path, content) }, "header"},
	"header of zeros": {func(t *testing.T, path string, content []byte) {
		copy(content, make([]byte, 100))
		put(t, path, content)
	}, "header"},
	"page size": {func(t *testing.T, path string, content []byte) {
		content[16], content[17] = 3, 3
		put(t, path, content)
	}, "header"},
	"text":              {func(t *testing.T, path string, _ []byte) { put(t, path, []byte("key: value\n")) }, "header"},
	"zeros":             {func(t *testing.T, path string, content []byte) { put(t, path, make([]byte, len(content))) }, "header"},
	"truncated":         {func(t *testing.T, path string, content []byte) { put(t, path, content[:len(content)/2]) }, "pages"},
	"last page is gone": {func(t *testing.T, path string, content []byte) { put(t, path, content[:len(content)-4096]) }, "pages"},
	"within a page":     {func(t *testing.T, path string, content []byte) { put(t, path, content[:len(content)-100]) }, "cut"},
	"emptied":           {func(t *testing.T, path string, _ []byte) { put(t, path, nil) }, "it is empty, and was not"},
	"pages overwritten": {func(t *testing.T, path string, content []byte) {
		for at := 4096; at < len(content); at += 4096 {
			copy(content[at:], bytes.Repeat([]byte{0xa5}, 512))
		}
		put(t, path, content)
	}, "damaged"},
	"one page overwritten": {func(t *testing.T, path string, content []byte) {
		copy(content[2*4096:], make([]byte, 4096))
		put(t, path, content)
	}, "damaged"},
	"the schema overwritten": {func(t *testing.T, path string, content []byte) {
		copy(content[100:4096], bytes.Repeat([]byte{0xff}, 4096))
		put(t, path, content)
	}, "damaged"},
	"log overwritten": {func(t *testing.T, path string, _ []byte) {
		put(t, path+"-wal", []byte("something else that is long enough for a header"))
	}, "-wal"},
	"a pipe for a log": {func(t *testing.T, path string, _ []byte) {
		noError(t, syscall.Mkfifo(path+"-wal", 0o600))
	}, "neither a file nor a directory"},
	"missing, with a log": {func(t *testing.T, path string, _ []byte) {
		noError(t, os.Remove(path))
		put(t, path+"-wal", make([]byte, 32))
	}, "missing"},
	"a directory": {func(t *testing.T, path string, _ []byte) {
		noError(t, os.Remove(path))
		noError(t, os.Mkdir(path, 0o700))
	}, "is a directory"},
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	noError(t, os.WriteFile(path, content, 0o600))
}

func TestADamagedFileIsNamedAndLeftAsItIs(t *testing.T) {
	sound := filepath.Join(t.TempDir(), "sound.db")
	s := testDB{url: "sqlite:" + sound}.open(t)
	noError(t, s.Migrate(t.Context(), nothing))
	for user := range 200 {
		noError(t, insertUser(t.Context(), s, domain.UserID(user+1)))
	}
	noError(t, s.Close())
	content, err := os.ReadFile(sound)
	noError(t, err)
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			put(t, path, content)
			put(t, path+".migrate.lock", nil)
			damage.do(t, path, bytes.Clone(content))
			before, _ := os.ReadFile(path)
			err := openFile(t, path)
			if err == nil || !strings.Contains(err.Error(), damage.says) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open tells: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		put(t, path, content)
		noError(t, openFile(t, path))
	})
}

// TestWhatOnlyTheLogHasIsChecked: a process that was killed leaves the last commits in the write-ahead log.
func TestWhatOnlyTheLogHasIsChecked(t *testing.T) {
	running := filepath.Join(t.TempDir(), "running.db")
	s := testDB{url: "sqlite:" + running}.open(t)
	noError(t, s.Migrate(t.Context(), nothing))
	noError(t, insertUser(t.Context(), s, 7))
	left := filepath.Join(t.TempDir(), "left.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(running + suffix)
		noError(t, err)
		put(t, left+suffix, content)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(left + suffix)
		noError(t, err)
		if suffix == "" { // the log has the page, and SQLite would not see the damage
			copy(content, "not SQLite at all")
		}
		put(t, damaged+suffix, content)
	}
	if err := openFile(t, damaged); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("a header that was overwritten: %v", err)
	}
	again := testDB{url: "sqlite:" + left}.open(t)
	if known, err := hasUser(t.Context(), again, 7); err != nil || !known {
		t.Errorf("the user that only the log has: %t, %v", known, err)
	}
}

func TestFilesAreForTheirOwnerWhateverTheUmaskIs(t *testing.T) {
	for _, mask := range []int{0, 0o22, 0o177} {
		old := syscall.Umask(mask)
		path := filepath.Join(t.TempDir(), "x.db")
		s, err := Open(t.Context(), options(path, false))
		if err == nil {
			err = s.Migrate(t.Context(), nothing)
		}
		syscall.Umask(old)
		noError(t, err)
		wantPrivate(t, filepath.Dir(path), 4)
		noError(t, s.Close())
	}
}

func TestFilesThatOthersCouldReadAreNarrowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := testDB{url: "sqlite:" + path}.open(t)
	noError(t, s.Migrate(t.Context(), nothing))
	entries, err := os.ReadDir(filepath.Dir(path))
	noError(t, err)
	for _, entry := range entries {
		noError(t, os.Chmod(filepath.Join(filepath.Dir(path), entry.Name()), 0o664))
	}
	noError(t, openFile(t, path))
	wantPrivate(t, filepath.Dir(path), 4)
}

func wantPrivate(t *testing.T, dir string, atLeast int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	noError(t, err)
	if len(entries) < atLeast {
		t.Errorf("only %v", entries)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", entry.Name(), info.Mode(), err)
		}
	}
}

func TestAFileThatMustExistIsNotMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	_, err := Open(t.Context(), options(path, true))
	if err == nil || err.Error() != "there is no database at "+path {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was made")
	}
	noError(t, openFile(t, path))
	s, err := Open(t.Context(), options(path, true))
	noError(t, err)
	noError(t, s.Close())
}
