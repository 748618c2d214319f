package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	metaFile   = "meta.json"
	partsDir   = "partitions"
	segmentExt = ".dat"
	indexExt   = ".idx"
	// keptFile is ours: what topicsFile says, and where each partition's log ended a while ago.
	keptFile = "kept.json"
)

// topic is a topic as kfake keeps it.
type topic struct {
	Name       string            `json:"name"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

// errDamaged is that a file is there and cannot be what was written.
var errDamaged = errors.New("is damaged")

// readTopics returns the topics in kfake's directory, none where there is none yet.
func readTopics(dir string) ([]topic, error) {
	raw, err := os.ReadFile(filepath.Join(dir, topicsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseTopics(raw)
}

func parseTopics(raw []byte) ([]topic, error) {
	var read struct {
		Version int     `json:"version"`
		Topics  []topic `json:"topics"`
	}
	if err := json.Unmarshal(raw, &read); err != nil {
		return nil, fmt.Errorf("%s %w: %w", topicsFile, errDamaged, err)
	}
	if read.Version > fileFormat {
		return nil, fmt.Errorf("%s has format %d, this program reads %d", topicsFile, read.Version, fileFormat)
	}
	if read.Version != fileFormat {
		return nil, fmt.Errorf("%s %w: it has no format", topicsFile, errDamaged)
	}
	return read.Topics, nil
}

// kept is the content of keptFile.
type kept struct {
	Version int             `json:"version"`
	Topics  json.RawMessage `json:"topics"` // what topicsFile says
	// Newest is, for each folder of a partition, the number in the name of its last file that is not empty. Retention
	// removes no newer ones.
	Newest map[string]int64 `json:"newest"`
	// Groups tells that offsets of consumer groups were kept.
	Groups bool `json:"groups"`
}

// readKept returns what is kept; nothing where there is no such file, or one that nobody wrote whole.
func readKept(dir string) (k kept, topics []topic, err error) {
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
func parseKept(raw []byte) (k kept, topics []topic, ok bool) {
	if json.Unmarshal(raw, &k) != nil || k.Version != fileFormat {
		return kept{}, nil, false
	}
	topics, err := parseTopics(k.Topics)
	if err != nil {
		return kept{}, nil, false
	}
	return k, topics, true
}

// lostError is that a part of the log is gone which cannot be brought back.
type lostError string

// Error implements error.
func (e lostError) Error() string { return string(e) }

// lost compares the last files of partitions with those of before; nil where none is gone.
func lost(before, newest map[string]int64) error {
	for folder, base := range before {
		if last, there := newest[folder]; !there || last < base {
			file := fmt.Sprintf("%s/%s/%d%s", partsDir, folder, base, segmentExt)
			return lostError(fmt.Sprintf("the log ended in %s or later, and that is gone or empty: bring the files back, "+
				"or remove %s, and %s if it is there, to go on without them", file, keptFile, file))
		}
	}
	return nil
}

// keepTopics writes down what a later start needs if parts of the directory get lost. If kfake's list of topics is gone
// meanwhile, it brings that back instead. before is what it returned last; a lostError tells that less is there now.
func keepTopics(dir string, before map[string]int64) (newest map[string]int64, err error) {
	newest, err = newestFiles(dir)
	if err != nil {
		return before, err
	}
	if err := lost(before, newest); err != nil {
		return before, err
	}
	return newest, writeKept(dir, newest)
}

func writeKept(dir string, newest map[string]int64) error {
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
	content, err := json.Marshal(kept{Version: fileFormat, Topics: raw, Newest: newest, Groups: hasGroups(dir)})
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
	folders, err := os.ReadDir(filepath.Join(dir, partsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	newest := make(map[string]int64)
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, partsDir, folder.Name()))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			number, isLog := strings.CutSuffix(file.Name(), segmentExt)
			base, err := strconv.ParseInt(number, 10, 64)
			if before, known := newest[folder.Name()]; !isLog || err != nil || known && base < before {
				continue
			}
			switch info, err := file.Info(); {
			case errors.Is(err, fs.ErrNotExist): // retention removed it meanwhile
			case err != nil:
				return nil, err
			case info.Size() > 0:
				newest[folder.Name()] = base
			}
		}
	}
	return newest, nil
}

// recoverLog makes kfake's directory such that kfake serves all of the log or nothing: kfake takes what is lost for what
// never was, and begins anew. What can be brought back as it was is; an error names what cannot. It returns the topics.
func recoverLog(ctx context.Context, dir string, logger *slog.Logger) ([]topic, error) {
	newest, err := newestFiles(dir)
	if err != nil {
		return nil, err
	}
	before, known, err := readKept(dir)
	if err != nil {
		return nil, err
	}
	if err := lost(before.Newest, newest); err != nil {
		return nil, err
	}
	if before.Groups && !hasGroups(dir) {
		return nil, fmt.Errorf("%s held the offsets of consumer groups, and is gone or empty: bring it back, "+
			"or remove %s to have all groups begin anew", groupsFile, keptFile)
	}
	topics, err := readTopics(dir)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	if missing := uncovered(topics, known, newest); err != nil || missing != "" {
		if known == nil || uncovered(known, nil, newest) != "" {
			if err == nil {
				err = fmt.Errorf("%s is missing, or does not name the topic of %s/%s", topicsFile, partsDir, missing)
			}
			return nil, fmt.Errorf("%w: bring the file back, or move the directory away to begin with an empty log", err)
		}
		logger.Warn("embedded Kafka broker: the list of topics was lost or damaged, and is brought back", "file", topicsFile,
			"topics", len(known))
		if err := replaceFile(filepath.Join(dir, topicsFile), before.Topics); err != nil {
			return nil, err
		}
		topics = known
	}
	if topics == nil {
		return nil, nil
	}
	if err := recoverMeta(dir, logger); err != nil {
		return nil, err
	}
	return topics, recoverProducers(ctx, dir, topics, before, logger)
}

// uncovered returns what topics do not name: a folder of the log, or a topic that was known; "" where they name all.
func uncovered(topics, known []topic, folders map[string]int64) string {
	partitions := make(map[string]int32, len(topics))
	for _, topic := range topics {
		partitions[topic.Name] = topic.Partitions
	}
	for folder := range folders {
		dash := strings.LastIndexByte(folder, '-')
		if dash < 0 {
			return folder
		}
		name, err := url.PathUnescape(folder[:dash])
		number, notNumber := strconv.ParseInt(folder[dash+1:], 10, 32)
		if err != nil || notNumber != nil || int32(number) >= partitions[name] {
			return folder
		}
	}
	for _, topic := range known {
		if partitions[topic.Name] < topic.Partitions {
			return topic.Name
		}
	}
	return ""
}

// recoverMeta brings back the file without which kfake takes the directory for a new one, and overwrites it.
func recoverMeta(dir string, logger *slog.Logger) error {
	file := filepath.Join(dir, metaFile)
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type meta struct {
		Version   int    `json:"version"`
		ClusterID string `json:"cluster_id"`
	}
	var read meta
	if json.Unmarshal(raw, &read) == nil && read.Version >= fileFormat {
		return nil // of a later format, kfake says so
	}
	logger.Warn("embedded Kafka broker: a file was lost or damaged, and is brought back", "file", metaFile)
	content, err := json.Marshal(meta{fileFormat, clusterID})
	if err != nil {
		return err
	}
	return replaceFile(file, content)
}
