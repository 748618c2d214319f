package site

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// onSmallDisk replaces a folder by a file system of its own with the same files.
func (p *parts) onSmallDisk(folder string) error {
	aside := folder + ".aside"
	if err := os.Rename(folder, aside); err != nil {
		return err
	}
	back := func(err error) error {
		_ = syscall.Unmount(folder, syscall.MNT_DETACH)
		_ = os.Remove(folder)
		return errors.Join(err, os.Rename(aside, folder))
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return back(err)
	}
	if err := syscall.Mount(diskName, folder, "tmpfs", 0, fmt.Sprint("size=", diskSize, ",mode=0700")); err != nil {
		return back(err)
	}
	if said, err := exec.Command("cp", "-a", aside+"/.", folder).CombinedOutput(); err != nil {
		return back(fmt.Errorf("%w: %s", err, said))
	}
	return os.RemoveAll(aside)
}

// unmount ends the small disks of a run. What still runs on them goes on until it is ended.
func unmount(dir string) {
	folders := []string{dir + "/"}
	if postgres, err := os.ReadFile(filepath.Join(infraFolder(dir), "postgres.dir")); err == nil {
		folders = append(folders, strings.TrimSpace(string(postgres))+"/")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		ours := len(fields) > 1 && fields[0] == diskName && slices.ContainsFunc(folders, func(folder string) bool {
			return strings.HasPrefix(fields[1], folder)
		})
		if ours {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
}

// filler is the file that fills a disk. It lies where neither Kafka nor PostgreSQL look.
func filler(folder string) string { return filepath.Join(folder, "storm.filler") }

// fill leaves a disk no room.
func fill(folder string) error {
	file, err := os.Create(filler(folder))
	if err != nil {
		return err
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for _, size := range []int{len(block), 4096} {
		for {
			if _, err := file.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

func empty(folder string) error { return os.Remove(filler(folder)) }
