package logdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"chatting/adapters/ownerfiles"
)

// Mark is how much of a partition's log is synced: all files before Base, and the first bytes of that one.
type Mark struct{ Base, Bytes int64 }

// Segment is the last file of a partition that was synced. It is for one goroutine.
type Segment struct {
	folder string
	// rollsAt is a size below which kfake begins no other file.
	rollsAt int64
	file    *os.File // nil until the first sync
	synced  Mark
}

// NewSegment returns the segment of a partition in a broker's directory, which is synced as a mark tells; nil if nothing is.
func NewSegment(dir string, p Partition, rollsAt int64, synced *Mark) *Segment {
	s := &Segment{folder: filepath.Join(dir, partsDir, p.Folder()), rollsAt: rollsAt, synced: Mark{Base: -1}}
	if synced != nil {
		s.synced = *synced
	}
	return s
}

// Synced returns the name of the partition's folder and how much of it is synced.
func (s *Segment) Synced() (folder string, mark Mark) { return filepath.Base(s.folder), s.synced }

// Sync syncs what the partition's files hold. sync syncs a file. kfake's indexes are not synced: kfake and Recover do
// without what is missing in them.
func (s *Segment) Sync(sync func(*os.File) error) error {
	if s.file == nil {
		file, err := os.Open(s.path(s.synced.Base))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may have removed it since, or there was none
			return err
		}
		s.file = file
	}
	for {
		if s.file != nil {
			info, err := s.file.Stat() // before the sync, which covers at least so much
			if err == nil {
				err = sync(s.file)
			}
			if err != nil {
				return err
			}
			if s.synced.Bytes = info.Size(); s.synced.Bytes < s.rollsAt {
				return nil
			}
		}
		more, err := s.roll()
		if err != nil || !more {
			return err
		}
	}
}

// roll goes on to the next file, if there is one. Its name is synced first.
func (s *Segment) roll() (more bool, err error) {
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		return false, err
	}
	next := int64(-1)
	for _, base := range segmentBases(entries) {
		if base > s.synced.Base && (next < 0 || base < next) {
			next = base
		}
	}
	if next < 0 {
		return false, nil
	}
	file, err := os.Open(s.path(next))
	if err != nil {
		return false, err
	}
	s.Close()
	s.file, s.synced = file, Mark{Base: next}
	parts := filepath.Dir(s.folder)
	return true, errors.Join(ownerfiles.SyncFolder(s.folder), ownerfiles.SyncFolder(parts), ownerfiles.SyncFolder(filepath.Dir(parts)))
}

func (s *Segment) path(base int64) string { return filepath.Join(s.folder, segmentName(base)) }

// Close lets go of the file.
func (s *Segment) Close() {
	if s.file != nil {
		_ = s.file.Close() // nothing was written
		s.file = nil
	}
}

// Sync syncs all files of the log, which a process that was killed may have left unsynced. It returns how far each
// partition is synced, by the name of its folder.
func Sync(dir string) (map[string]Mark, error) {
	marks := make(map[string]Mark)
	parts := filepath.Join(dir, partsDir)
	if _, err := os.Stat(parts); errors.Is(err, fs.ErrNotExist) {
		return marks, nil
	}
	names, err := folders(dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range names {
		path := filepath.Join(parts, folder)
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, base := range segmentBases(entries) {
			size, err := syncFile(filepath.Join(path, segmentName(base)))
			if err != nil {
				return nil, err
			}
			if before, known := marks[folder]; size > 0 && (!known || base > before.Base) {
				marks[folder] = Mark{base, size}
			}
		}
		if err := ownerfiles.SyncFolder(path); err != nil {
			return nil, err
		}
	}
	return marks, errors.Join(ownerfiles.SyncFolder(parts), ownerfiles.SyncFolder(dir))
}

// syncFile syncs a file and returns its size.
func syncFile(path string) (size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err == nil {
		size, err = info.Size(), file.Sync()
	}
	return size, errors.Join(err, file.Close())
}
