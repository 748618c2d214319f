package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	// compactBytes is kfake's default of state.log.compact.bytes: it writes groupsFile anew when that has grown so large.
	compactBytes = 10 << 20
	// tailBytes is how much of the end of a file is compared with what stood there before.
	tailBytes = 512
)

// files knows what the files of the log were when they were looked at last. They only grow, and retention removes
// whole files from the beginning of a partition.
type files struct {
	dir string

	mu     sync.Mutex
	first  bool // nothing was looked at yet
	seen   map[string]map[int64]sight
	groups sight
	// open is the groups' log of that sight, nil if there was none. It tells how large the file was when kfake replaced it.
	open *os.File
}

// sight is what was seen of a file.
type sight struct {
	info fs.FileInfo // nil if there was none
	tail []byte      // what stood before its end
}

func watchedFiles(dir string) *files { return &files{dir: dir, first: true} }

// close ends the use of f.
func (f *files) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		_ = f.open.Close() // nothing was written
		f.open = nil
	}
}

// check compares the files with what they were at the last call. A lostError names one that is not what was written.
func (f *files) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.checkGroups(); err != nil {
		return err
	}
	folders, err := os.ReadDir(filepath.Join(f.dir, partsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now := make(map[string]map[int64]sight, len(folders))
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		if now[folder.Name()], err = f.checkPartition(folder.Name()); err != nil {
			return err
		}
	}
	f.seen, f.first = now, false // what is gone altogether is for lost to tell
	return nil
}

func (f *files) checkPartition(folder string) (map[int64]sight, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, partsDir, folder))
	if err != nil {
		return nil, err
	}
	now := make(map[int64]sight)
	for _, entry := range entries {
		number, isLog := strings.CutSuffix(entry.Name(), segmentExt)
		base, err := strconv.ParseInt(number, 10, 64)
		if !isLog || err != nil {
			continue
		}
		name := filepath.Join(partsDir, folder, entry.Name())
		file, err := os.Open(filepath.Join(f.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention removed it meanwhile
		}
		if err != nil {
			return nil, err
		}
		before, known := f.seen[folder][base]
		if known {
			now[base], err = before.compare(file, name)
		} else if now[base], err = look(file); err == nil && !f.first {
			err = f.checkNew(file, folder, base)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	for base := range f.seen[folder] {
		if _, there := now[base]; !there && f.hasOlder(folder, now, base) {
			return nil, lostError(filepath.Join(partsDir, folder, strconv.FormatInt(base, 10)+segmentExt) + " is gone")
		}
	}
	return now, nil
}

// hasOlder tells whether a file of a lower number is still there, so that retention has not come to base yet.
func (f *files) hasOlder(folder string, now map[int64]sight, base int64) bool {
	for lower := range now {
		if lower < base {
			if _, err := os.Stat(filepath.Join(f.dir, partsDir, folder, strconv.FormatInt(lower, 10)+segmentExt)); err == nil {
				return true
			}
		}
	}
	return false
}

// checkNew looks at a file that was not there before. It begins with its number, and kfake writes to it before it writes
// to its index.
func (f *files) checkNew(file *os.File, folder string, base int64) error {
	indexed := indexedBatches(filepath.Join(f.dir, partsDir, folder), base)
	var first [8]byte
	n, err := file.ReadAt(first[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n == len(first) && int64(binary.BigEndian.Uint64(first[:])) == base || n == 0 && indexed == 0 {
		return nil
	}
	return lostError(filepath.Join(partsDir, folder, filepath.Base(file.Name())) + " is not what was written")
}

// checkGroups looks at the log of the groups. kfake replaces it when it is large, and never a smaller one.
func (f *files) checkGroups() error {
	file, err := os.Open(filepath.Join(f.dir, groupsFile))
	if errors.Is(err, fs.ErrNotExist) {
		if f.open == nil {
			return nil
		}
		return lostError(groupsFile + " is gone")
	}
	if err != nil {
		return err
	}
	now, err := f.groups.compare(file, groupsFile)
	if err != nil && f.open != nil {
		if last, statErr := f.open.Stat(); statErr == nil && last.Size() >= compactBytes && !same(file, last) {
			now, err = look(file)
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if f.open != nil {
		_ = f.open.Close() // nothing was written
	}
	f.groups, f.open = now, file
	return nil
}

func same(file *os.File, as fs.FileInfo) bool {
	info, err := file.Stat()
	return err == nil && os.SameFile(info, as)
}

// look sees a file.
func look(file *os.File) (sight, error) {
	info, err := file.Stat()
	if err != nil {
		return sight{}, err
	}
	tail, err := tailAt(file, info.Size())
	return sight{info, tail}, err
}

// tailAt reads what stands before end.
func tailAt(file *os.File, end int64) ([]byte, error) {
	tail := make([]byte, min(end, tailBytes))
	_, err := file.ReadAt(tail, end-int64(len(tail)))
	return tail, err
}

// compare sees the file of that name again. Nothing but an addition at its end may have happened to it.
func (s sight) compare(file *os.File, name string) (sight, error) {
	now, err := look(file)
	if err != nil || s.info == nil {
		return now, err
	}
	if !os.SameFile(s.info, now.info) {
		return now, lostError(name + " was replaced by another file")
	}
	if now.info.Size() < s.info.Size() {
		return now, lostError(fmt.Sprintf("%s had %d bytes and has %d", name, s.info.Size(), now.info.Size()))
	}
	if tail, err := tailAt(file, s.info.Size()); err != nil || !bytes.Equal(tail, s.tail) {
		return now, errors.Join(err, lostError(name+" was written over"))
	}
	return now, nil
}
