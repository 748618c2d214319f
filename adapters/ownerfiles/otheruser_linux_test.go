package ownerfiles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// asNobody runs f on a thread that has the rights of another user in the file system. The thread ends with it.
func asNobody(t *testing.T, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func TestFilesOfAnotherUserMayBeForAGroupButNotForEveryone(t *testing.T) {
	dir := t.TempDir()
	group, everyones := filepath.Join(dir, "group"), filepath.Join(dir, "everyones")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.WriteFile(group, nil, 0o600), os.Chmod(group, 0o660),
		os.WriteFile(everyones, nil, 0o600), os.Chmod(everyones, 0o664)); err != nil {
		t.Fatal(err)
	}
	if err := asNobody(t, func() error { return Narrow(group) }); err != nil || modeOf(t, group) != 0o660 {
		t.Errorf("of a group: %v, %04o", err, modeOf(t, group))
	}
	err := asNobody(t, func() error { return Narrow(everyones) })
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "mode 0664") || strings.Count(err.Error(), everyones) != 1 {
		t.Errorf("of everyone: %v", err)
	}
}
