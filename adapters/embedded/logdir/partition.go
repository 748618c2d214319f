package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chatting/adapters/embedded/batch"
)

// readPartition reads the files of a partition in the order of their offsets. before is what was kept of the log.
func (p producers) readPartition(dir, topic string, number int32, before kept, logger *slog.Logger) error {
	from := Partition{topic, number}
	folder := filepath.Join(dir, partsDir, from.Folder())
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	bases := segmentBases(entries)
	slices.Sort(bases)
	until := before.markOf(from.Folder())
	for i, base := range bases {
		f, err := p.readFile(dir, from, base)
		if err != nil {
			return err
		}
		f.isLast = i == len(bases)-1
		if len(f.damaged) > 0 || f.lost > 0 || until.lacks(f) {
			if !until.mayEndAt(f) {
				return damagedError{f.path, len(f.whole), f.wayOut(until)}
			}
			if err := f.cut(dir, logger); err != nil {
				return err
			}
		}
		if next := bases[i+1:]; len(next) > 0 && until.mayLack(next[0]) && next[0] != f.end {
			if err := setAside(dir, from.Folder(), next, logger); err != nil {
				return err
			}
			bases = bases[:i+1]
			break
		}
	}
	return removeStrayIndexes(folder, entries, bases)
}

// foundFile is a file of a partition's log as a start finds it.
type foundFile struct {
	folder, path string // its folder's name, and its path in the broker's directory
	base         int64
	isLast       bool
	raw          []byte
	whole        []byte // the batches at its beginning
	damaged      []byte // what follows them
	end          int64  // the offset behind them
	lost         int    // how many more the index names
}

// readFile reads a file of a partition, and notes its batches.
func (p producers) readFile(dir string, from Partition, base int64) (foundFile, error) {
	f := foundFile{folder: from.Folder(), base: base, path: segmentPath(from.Folder(), base)}
	var err error
	if f.raw, err = os.ReadFile(filepath.Join(dir, f.path)); err != nil {
		return f, err
	}
	f.whole, f.damaged = p.readBatches(f.raw, from)
	var count int
	count, f.end = batch.Extent(f.whole, base)
	f.lost = indexedBatches(filepath.Join(dir, partsDir, f.folder), base) - count
	return f, nil
}

// keptMark is what was kept of how far a partition is synced.
type keptMark struct {
	Mark // Base is -1 if nothing was kept
	// kfakeSynced tells that an earlier version wrote the log, which had kfake sync each batch.
	kfakeSynced bool
}

func (k kept) markOf(folder string) keptMark {
	m := keptMark{Mark{-1, k.Synced[folder]}, k.Synced == nil}
	if newest, known := k.Newest[folder]; known {
		m.Base = newest
	}
	return m
}

// lacks tells whether a file has less than was synced.
func (m keptMark) lacks(f foundFile) bool {
	return !m.kfakeSynced && f.base == m.Base && int64(len(f.whole)) < m.Bytes
}

// mayLack tells whether a file need not follow on what is before it: that may not have been synced.
func (m keptMark) mayLack(base int64) bool { return !m.kfakeSynced && base > m.Base }

// mayEndAt tells whether writes that were cut off may have left a file as it was found.
func (m keptMark) mayEndAt(f foundFile) bool {
	if !m.kfakeSynced { // several writes, of which any may be missing
		return f.base >= m.Base && !m.lacks(f)
	}
	// Only the last one: a part of its batch, and at most one entry of the index.
	isLastWrite := f.isLast && f.lost <= 1 && len(f.raw) > 0 && !batch.AnyIn(f.damaged)
	return isLastWrite && (len(f.whole) > 0 || f.base != m.Base)
}

// wayOut names what to remove so that the broker starts with what is left.
func (f foundFile) wayOut(until keptMark) string {
	if !f.isLast || len(f.whole) == 0 || len(f.damaged) > 0 {
		return f.path + " and " + keptFile
	}
	index := strings.TrimSuffix(f.path, segmentExt) + indexExt // which tells that there was more
	if until.kfakeSynced {
		return index
	}
	return index + " and " + keptFile
}

// cut shortens a file to its whole batches. It keeps what it cuts.
func (f foundFile) cut(dir string, logger *slog.Logger) error {
	file := filepath.Join(dir, f.path)
	if len(f.damaged) == 0 {
		logger.Warn("embedded Kafka broker: a file of the log is shorter than it was", "file", file, "batches_lost", f.lost)
		return nil
	}
	kept := filepath.Join(dir, damagedDir, fmt.Sprintf("%s-%d-%d", f.folder, f.base, len(f.whole)))
	if err := keepDamaged(kept, f.damaged); err != nil {
		return err
	}
	logger.Warn("embedded Kafka broker: damage was cut from a file of the log", "file", file, "bytes_cut", len(f.damaged),
		"kept_as", kept)
	return replaceFile(file, f.whole)
}

// keepDamaged writes down bytes that are cut from a file.
func keepDamaged(file string, cut []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return replaceFile(file, cut)
}

// setAside takes files out of a partition's log that do not follow on what is before them: a power cut lost the end of
// that. Nobody was told of what is in them.
func setAside(dir, folder string, bases []int64, logger *slog.Logger) error {
	if err := os.MkdirAll(filepath.Join(dir, damagedDir), 0o700); err != nil {
		return err
	}
	for _, base := range bases {
		file := filepath.Join(dir, segmentPath(folder, base))
		kept := filepath.Join(dir, damagedDir, fmt.Sprintf("%s-%d", folder, base))
		if err := os.Rename(file, kept); err != nil {
			return err
		}
		logger.Warn("embedded Kafka broker: a file of the log does not follow on what is before it", "file", file, "kept_as", kept)
	}
	return nil
}

// removeStrayIndexes removes the indexes of files that somebody removed. kfake would write on in them, and they would
// count too many batches.
func removeStrayIndexes(folder string, entries []fs.DirEntry, bases []int64) error {
	for _, entry := range entries {
		if base, isIndex := baseOf(entry.Name(), indexExt); isIndex && !slices.Contains(bases, base) {
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
