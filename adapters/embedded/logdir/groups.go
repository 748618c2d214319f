package logdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"chatting/adapters/embedded/protocol"
	"chatting/adapters/ownerfiles"
)

// syncedGroups is ours: a second name of the log of the groups, as it was when it was synced last. kfake replaces that log
// by a shorter one when it has grown large, and when it is closed, and does not sync the new one first. After a power cut
// the new one may be empty. Until it is synced, what was told to clients is under this name.
const syncedGroups = "groups.synced"

// restoreGroups takes the log of the groups from before it was replaced, if the new one was not synced. Nobody was told of
// anything that is only in the new one.
func restoreGroups(dir string) error {
	old, file := filepath.Join(dir, syncedGroups), filepath.Join(dir, groupsFile)
	if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(old, file); err != nil {
		return err
	}
	if err := removeIfThere(old); err != nil { // two names of one file stay as they are
		return err
	}
	return ownerfiles.SyncFolder(dir)
}

// Groups syncs the log of the consumer groups. It is for one goroutine.
type Groups struct {
	dir  string
	file *os.File // as it was at the last sync; nil before
}

// NewGroups returns the groups' log of a directory.
func NewGroups(dir string) *Groups { return &Groups{dir: dir} }

// Sync syncs what kfake has written to the log of the groups. sync syncs a file.
func (g *Groups) Sync(sync func(*os.File) error) error {
	path := filepath.Join(g.dir, groupsFile)
	if g.file != nil {
		now, err := os.Stat(path)
		if err != nil {
			return err
		}
		if same(g.file, now) {
			return sync(g.file)
		}
		g.Close()
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // kfake has kept nothing yet
	}
	if err != nil {
		return err
	}
	g.file = file
	if err := errors.Join(sync(file), ownerfiles.SyncFolder(g.dir)); err != nil {
		return err
	}
	next := filepath.Join(g.dir, syncedGroups+".tmp")
	if err := removeIfThere(next); err != nil {
		return err
	}
	if err := os.Link(path, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(g.dir, syncedGroups)); err != nil {
		return err
	}
	return ownerfiles.SyncFolder(g.dir)
}

// Close lets go of the file.
func (g *Groups) Close() {
	if g.file != nil {
		_ = g.file.Close() // nothing was written
		g.file = nil
	}
}

// EndGroups syncs the log of the groups that kfake wrote when it was closed, and drops the one before.
func EndGroups(dir string) error {
	if _, err := syncFile(filepath.Join(dir, groupsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := ownerfiles.SyncFolder(dir); err != nil {
		return err
	}
	return removeIfThere(filepath.Join(dir, syncedGroups))
}

// cutTornEntry shortens a log of kfake's, in the format of appendProducer, to its whole entries. It keeps what it cuts.
// hadEntries tells that one at least was written.
func cutTornEntry(dir, name string, hadEntries bool, logger *slog.Logger) error {
	file := filepath.Join(dir, name)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	whole := 0
	for size := wholeEntry(raw); size > 0; size = wholeEntry(raw[whole:]) {
		whole += size
	}
	if whole == len(raw) {
		return nil
	}
	if whole == 0 && hadEntries || !isTornEntry(raw[whole:]) {
		return damagedError{name, whole, name + " and " + keptFile}
	}
	cut := filepath.Join(dir, damagedDir, fmt.Sprintf("%s-%d", name, whole))
	if err := keepDamaged(cut, raw[whole:]); err != nil {
		return err
	}
	logger.Warn("embedded Kafka broker: damage was cut from a file", "file", file, "bytes_cut", len(raw)-whole, "kept_as", cut)
	return os.Truncate(file, int64(whole))
}

const (
	entryHead = 4 + 4 // length and CRC
	// leastEntry is a format without data. kfake ends at less: at zeros, for instance.
	leastEntry = 2
	// largestEntry is more than kfake writes at once: what a member sends is bounded by its frame.
	largestEntry = protocol.MaxSyncFrame
)

// wholeEntry returns the bytes that the entry at the start of raw takes, 0 if it is not whole.
func wholeEntry(raw []byte) int {
	if len(raw) < entryHead+leastEntry {
		return 0
	}
	size := int64(binary.LittleEndian.Uint32(raw))
	if size < leastEntry || size > int64(len(raw)-entryHead) ||
		binary.LittleEndian.Uint32(raw[4:]) != crc32.Checksum(raw[entryHead:entryHead+size], castagnoli) {
		return 0
	}
	return entryHead + int(size)
}

// isTornEntry tells whether rest can be one entry whose write was cut off: its first bytes, and zeros where a file
// system had made room only.
func isTornEntry(rest []byte) bool {
	if len(rest) > largestEntry {
		return false
	}
	written := bytes.TrimRight(rest, "\x00")
	if len(written) < 4 {
		return true
	}
	size := int64(binary.LittleEndian.Uint32(rest))
	if size < leastEntry || size > largestEntry || entryHead+size < int64(len(written)) {
		return false
	}
	for from := 1; from < len(rest); from++ { // the length may be what is damaged
		if wholeEntry(rest[from:]) > 0 {
			return false
		}
	}
	return true
}
