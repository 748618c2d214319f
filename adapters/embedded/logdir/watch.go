package logdir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"chatting/adapters/embedded/batch"
)

const (
	// compactBytes is kfake's default of state.log.compact.bytes: it writes groupsFile anew when that has grown so large.
	compactBytes = 10 << 20
	// tailBytes is how much of the end of a file is compared with what stood there before.
	tailBytes = 512
)

// Watch knows what the files of the log were when they were looked at last. They only grow, and retention removes whole
// files from the beginning of a partition.
type Watch struct {
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

// NewWatch returns a watch over the files of a directory. Close ends it.
func NewWatch(dir string) *Watch { return &Watch{dir: dir, first: true} }

// Close lets go of the files.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != nil {
		_ = w.open.Close() // nothing was written
		w.open = nil
	}
}

// Check compares the files with what they were at the last call. A LostError names one that is not what was written.
func (w *Watch) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.checkGroups(); err != nil {
		return err
	}
	names, err := folders(w.dir)
	if err != nil {
		return err
	}
	now := make(map[string]map[int64]sight, len(names))
	for _, folder := range names {
		if now[folder], err = w.checkPartition(folder); err != nil {
			return err
		}
	}
	w.seen, w.first = now, false // what is gone altogether is for Notes to tell
	return nil
}

func (w *Watch) checkPartition(folder string) (map[int64]sight, error) {
	entries, err := os.ReadDir(filepath.Join(w.dir, partsDir, folder))
	if err != nil {
		return nil, err
	}
	now := make(map[int64]sight)
	for _, entry := range entries {
		base, isSegment := baseOf(entry.Name(), segmentExt)
		if !isSegment {
			continue
		}
		name := filepath.Join(partsDir, folder, entry.Name())
		file, err := os.Open(filepath.Join(w.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention removed it meanwhile
		}
		if err != nil {
			return nil, err
		}
		before, known := w.seen[folder][base]
		if known {
			now[base], err = before.compare(file, name)
		} else if now[base], err = look(file); err == nil && !w.first {
			err = w.checkNew(file, folder, base)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	for base := range w.seen[folder] {
		if _, there := now[base]; !there && w.hasOlder(folder, now, base) {
			return nil, LostError(segmentPath(folder, base) + " is gone")
		}
	}
	return now, nil
}

// hasOlder tells whether a file of a lower number is still there, so that retention has not come to base yet.
func (w *Watch) hasOlder(folder string, now map[int64]sight, base int64) bool {
	for lower := range now {
		if lower < base {
			if _, err := os.Stat(filepath.Join(w.dir, segmentPath(folder, lower))); err == nil {
				return true
			}
		}
	}
	return false
}

// checkNew looks at a file that was not there before. It begins with its number, and kfake writes to it before it writes
// to its index.
func (w *Watch) checkNew(file *os.File, folder string, base int64) error {
	indexed := indexedBatches(filepath.Join(w.dir, partsDir, folder), base)
	var first [8]byte
	n, err := file.ReadAt(first[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n == len(first) && batch.Offset(first[:]) == base || n == 0 && indexed == 0 {
		return nil
	}
	return LostError(filepath.Join(partsDir, folder, filepath.Base(file.Name())) + " is not what was written")
}

// checkGroups looks at the log of the groups. kfake replaces it when it is large, and never a smaller one.
func (w *Watch) checkGroups() error {
	file, err := os.Open(filepath.Join(w.dir, groupsFile))
	if errors.Is(err, fs.ErrNotExist) {
		if w.open == nil {
			return nil
		}
		return LostError(groupsFile + " is gone")
	}
	if err != nil {
		return err
	}
	now, err := w.groups.compare(file, groupsFile)
	if err != nil && w.open != nil {
		if last, statErr := w.open.Stat(); statErr == nil && last.Size() >= compactBytes && !same(file, last) {
			now, err = look(file)
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if w.open != nil {
		_ = w.open.Close() // nothing was written
	}
	w.groups, w.open = now, file
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
		return now, LostError(name + " was replaced by another file")
	}
	if now.info.Size() < s.info.Size() {
		return now, LostError(fmt.Sprintf("%s had %d bytes and has %d", name, s.info.Size(), now.info.Size()))
	}
	if tail, err := tailAt(file, s.info.Size()); err != nil || !bytes.Equal(tail, s.tail) {
		return now, errors.Join(err, LostError(name+" was written over"))
	}
	return now, nil
}
