package embedded

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
)

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
	largestEntry = maxSyncFrame
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
