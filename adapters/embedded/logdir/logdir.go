// Package logdir knows the directory that kfake keeps its log in: the names and formats of the files (persist.go of the
// pinned version, format 1; TestSameStampedBatchSurvivesSIGKILL goes red if a later version changes them).
//
// It recovers the files before kfake reads them (Recover), syncs what kfake wrote (Segment, Groups), notes what a later
// start needs (Notes), and tells whether somebody changed a file (Watch). It neither serves clients nor decides when to
// sync. Notes, Watch and the clock are used while kfake writes; everything in Recover happens before.
package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"chatting/adapters/ownerfiles"
)

// Files of kfake's.
const (
	fileFormat   = 1
	metaFile     = "meta.json"
	topicsFile   = "topics.json"
	windowsFile  = "seq_windows.json"
	pidsFile     = "pids.log"
	sessionsFile = "session_state.json"
	groupsFile   = "groups.log"
	partsDir     = "partitions"
	segmentExt   = ".dat"
	indexExt     = ".idx"
)

// Files of ours.
const (
	// keptFile has a copy of topicsFile, and where each partition's log ended a while ago.
	keptFile = "kept.json"
	// clockFile has the clock that retention goes by, so that a leap is known after a restart, too.
	clockFile = "clock.json"
	// livesFile has the lives of the log.
	livesFile = "lives.json"
	// damagedDir gets the bytes that are cut from damaged files.
	damagedDir = "damaged"
)

// Partition names a partition.
type Partition struct {
	Topic  string
	Number int32
}

// Folder is the name of the partition's folder, as kfake makes it.
func (p Partition) Folder() string { return fmt.Sprintf("%s-%d", url.PathEscape(p.Topic), p.Number) }

// parseFolder returns the partition of a folder; false if no partition has such a folder.
func parseFolder(name string) (Partition, bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return Partition{}, false
	}
	topic, err := url.PathUnescape(name[:dash])
	number, notNumber := strconv.ParseInt(name[dash+1:], 10, 32)
	return Partition{topic, int32(number)}, err == nil && notNumber == nil
}

// End is the offset behind a record that kfake has written.
type End struct {
	Partition
	Offset int64
}

// folders names the folders of the partitions.
func folders(dir string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, partsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// segmentName is the name of the file of a partition's log that begins at base.
func segmentName(base int64) string { return strconv.FormatInt(base, 10) + segmentExt }

// segmentPath is the path of that file, in a broker's directory.
func segmentPath(folder string, base int64) string {
	return filepath.Join(partsDir, folder, segmentName(base))
}

// baseOf returns the number in the name of a file with an extension; false for other files.
func baseOf(name, extension string) (base int64, ok bool) {
	number, ok := strings.CutSuffix(name, extension)
	base, err := strconv.ParseInt(number, 10, 64)
	return base, ok && err == nil
}

// segmentBases returns the numbers in the names of a partition's files, in no order.
func segmentBases(entries []fs.DirEntry) (bases []int64) {
	for _, entry := range entries {
		if base, ok := baseOf(entry.Name(), segmentExt); ok {
			bases = append(bases, base)
		}
	}
	return bases
}

// indexedBatches tells how many batches kfake's index of a file names; 0 if it cannot be read.
func indexedBatches(folder string, base int64) int {
	const entry = 15 // bytes of indexEntrySize in kfake
	info, err := os.Stat(filepath.Join(folder, strconv.FormatInt(base, 10)+indexExt))
	if err != nil {
		return 0
	}
	return int(info.Size() / entry)
}

// LostError is that a part of the log is gone and cannot be brought back.
type LostError string

// Error implements error.
func (e LostError) Error() string { return string(e) }

// damagedError is that a file is damaged, and not by a write that was cut off.
type damagedError struct {
	file string // in the broker's directory
	at   int    // bytes before the damage
	// wayOut names what to remove so that the broker starts with what is left.
	wayOut string
}

// Error implements error.
func (e damagedError) Error() string {
	return fmt.Sprintf("%s is damaged or cut off at byte %d, and what was written there is lost: bring the file back, "+
		"or remove %s to go on without", e.file, e.at, e.wayOut)
}

// replaceFile gives file a new content such that, whatever happens, it has the old or the new one.
func replaceFile(file string, content []byte) error {
	next, err := os.OpenFile(file+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Sync(), next.Close()); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), file); err != nil {
		return err
	}
	return ownerfiles.SyncFolder(filepath.Dir(file))
}

// removeIfThere removes a file.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
