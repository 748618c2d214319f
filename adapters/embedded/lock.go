package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"chatting/adapters/ownerfiles"
)

// lockFile is the file in the data directory whose lock is the directory's.
const lockFile = "lock"

// DirLock is the exclusive hold of one process on a data directory. The kernel lets go of it when the process ends,
// however it ends; the lock file itself stays.
type DirLock struct{ file *flock.Flock }

// LockDir takes the data directory dir for this process, or says in one line why it cannot: dir is no directory, cannot
// be written, or another process has it. It creates dir, for its owner only, where it is missing. It does not wait.
func LockDir(dir string) (*DirLock, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	if err := ownerfiles.Narrow(path); err != nil {
		return nil, err
	}
	file := flock.New(path, flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	if err != nil {
		return nil, describeDirError(dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("the data directory %s is in use by another chatting", dir)
	}
	return &DirLock{file: file}, nil
}

// Close lets go of the directory. Closing again does nothing.
func (l *DirLock) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock the data directory: %w", err)
	}
	return nil
}

// makeDir creates dir, for its owner only, where it is missing.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return describeDirError(dir, err)
	}
	return nil
}

// describeDirError says in the user's words why dir cannot be used.
func describeDirError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("the data directory %s is not a directory", dir)
	case errors.Is(err, fs.ErrExist): // there is something that cannot be followed
		return fmt.Errorf("the data directory %s is a symbolic link that leads to no directory", dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the data directory %s cannot be written: %w", dir, unwrapPath(err))
	default:
		return fmt.Errorf("the data directory %s cannot be used: %w", dir, unwrapPath(err))
	}
}

// unwrapPath takes the path off an error of package os: the message around it names the directory already.
func unwrapPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
