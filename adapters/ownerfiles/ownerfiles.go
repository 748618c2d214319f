// Package ownerfiles keeps the files of a server from the other users of its machine, and their names from a power cut.
package ownerfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
	everyone = 0o007
)

// Create makes an empty file that only its owner may read and write, whatever the umask is. It fails with fs.ErrExist if there is
// one.
func Create(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(fileMode), file.Close())
}

// Narrow takes the rights of all but the owner from files and directories that were made with more. What is missing is left
// out. If this process may not change the rights, because another user owns the file, those of a group are accepted: Kubernetes
// adds them to the files of a volume that has an fsGroup. Rights of everyone are an error then. So is what is neither a file nor
// a directory: whoever opens a pipe waits for its other end. On Windows it does nothing.
func Narrow(paths ...string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
		allowed := fs.FileMode(fileMode)
		switch {
		case info.IsDir():
			allowed = dirMode
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		mode := info.Mode().Perm()
		if mode&^allowed == 0 {
			continue
		}
		if err := os.Chmod(path, mode&allowed); err != nil && mode&everyone != 0 && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("everybody on this machine may use %s (mode %04o), and that cannot be changed: %w", path, mode, withoutPath(err))
		}
	}
	return nil
}

// NarrowTree is Narrow for a directory and all below it. It follows no links below it.
func NarrowTree(dir string) error {
	root, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.Type()&fs.ModeSymlink != 0:
			return nil
		}
		return Narrow(path)
	})
}

func withoutPath(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return err
}

// SyncFolder makes the names in a folder survive a power cut. Windows cannot, and does not need to.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
