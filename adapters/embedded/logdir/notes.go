package logdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// kept is the content of keptFile.
type kept struct {
	Version int             `json:"version"`
	Topics  json.RawMessage `json:"topics"` // what topicsFile says
	// Newest is, for each folder of a partition, the number in the name of its last file that is synced. Retention
	// removes no newer ones.
	Newest map[string]int64 `json:"newest"`
	// Synced is how many bytes of that file are synced. It is nil if a version wrote this that synced each batch.
	Synced map[string]int64 `json:"synced"`
	// Groups tells that offsets of consumer groups were kept.
	Groups bool `json:"groups"`
}

// readKept returns what is kept; nothing if there is no such file, or one that nobody wrote whole.
func readKept(dir string) (k kept, topics []Topic, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, keptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil, nil
	}
	if err != nil {
		return kept{}, nil, err
	}
	k, topics, _ = parseKept(raw)
	return k, topics, nil
}

// parseKept reads what is kept. Without ok there is nothing in it.
func parseKept(raw []byte) (k kept, topics []Topic, ok bool) {
	if json.Unmarshal(raw, &k) != nil || k.Version != fileFormat {
		return kept{}, nil, false
	}
	topics, err := parseTopics(k.Topics)
	if err != nil {
		return kept{}, nil, false
	}
	return k, topics, true
}

// Notes writes down what a later start needs if parts of the directory get lost.
type Notes struct {
	dir string

	mu     sync.Mutex
	newest map[string]int64 // the last files, as of the last call
}

// NewNotes returns the notes of a directory whose files are recovered.
func NewNotes(dir string) *Notes { return &Notes{dir: dir} }

// Keep writes the notes. If kfake's list of topics is gone meanwhile, it brings that back instead. A LostError tells that
// less of the log is there than at the last call. synced is how far the log is synced, by the names of the folders.
func (n *Notes) Keep(synced map[string]Mark) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	newest, err := newestFiles(n.dir)
	if err != nil {
		return err
	}
	if err := lost(n.newest, newest); err != nil {
		return err
	}
	n.newest = newest
	return writeKept(n.dir, synced)
}

// lost compares the last files of partitions with those of before; nil if none is gone.
func lost(before, newest map[string]int64) error {
	for folder, base := range before {
		if last, there := newest[folder]; !there || last < base {
			file := fmt.Sprintf("%s/%s/%s", partsDir, folder, segmentName(base))
			return LostError(fmt.Sprintf("the log ended in %s or later, and that is gone or empty: bring the files back, "+
				"or remove %s, and %s if it is there, to go on without them", file, keptFile, file))
		}
	}
	return nil
}

func writeKept(dir string, synced map[string]Mark) error {
	raw, err := os.ReadFile(filepath.Join(dir, topicsFile))
	if errors.Is(err, fs.ErrNotExist) {
		before, topics, err := readKept(dir)
		if err != nil || topics == nil {
			return err
		}
		return replaceFile(filepath.Join(dir, topicsFile), before.Topics)
	}
	if err != nil {
		return err
	}
	if _, err := parseTopics(raw); err != nil {
		return err
	}
	k := kept{
		Version: fileFormat, Topics: raw, Groups: hasGroups(dir),
		Newest: make(map[string]int64, len(synced)), Synced: make(map[string]int64, len(synced)),
	}
	for folder, until := range synced {
		k.Newest[folder], k.Synced[folder] = until.Base, until.Bytes
	}
	content, err := json.Marshal(k)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, keptFile)
	if before, err := os.ReadFile(file); err == nil && bytes.Equal(before, content) {
		return nil // the usual case, and no fsync
	}
	return replaceFile(file, content)
}

// hasGroups tells whether there is something in the log of consumer groups.
func hasGroups(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, groupsFile))
	return err == nil && info.Size() > 0
}

// newestFiles returns the number in the name of the last file of each partition. Empty files do not count.
func newestFiles(dir string) (map[string]int64, error) {
	names, err := folders(dir)
	if err != nil {
		return nil, err
	}
	newest := make(map[string]int64)
	for _, folder := range names {
		entries, err := os.ReadDir(filepath.Join(dir, partsDir, folder))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			base, isSegment := baseOf(entry.Name(), segmentExt)
			if before, known := newest[folder]; !isSegment || known && base < before {
				continue
			}
			switch info, err := entry.Info(); {
			case errors.Is(err, fs.ErrNotExist): // retention removed it meanwhile
			case err != nil:
				return nil, err
			case info.Size() > 0:
				newest[folder] = base
			}
		}
	}
	return newest, nil
}
