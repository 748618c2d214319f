package logdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Topic is a topic as kfake keeps it.
type Topic struct {
	Name       string            `json:"name"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

// errDamaged is that a file is there and cannot be what was written.
var errDamaged = errors.New("is damaged")

// Partitions returns how many partitions a topic has in a broker's directory; 0 if it is not there, or if the directory
// cannot be read, which Recover reports. No broker need run on it.
func Partitions(dir, topic string) int {
	topics, err := readTopics(dir)
	if topics == nil || err != nil { // Recover brings the list back
		_, topics, _ = readKept(dir)
	}
	for _, known := range topics {
		if known.Name == topic {
			return int(known.Partitions)
		}
	}
	return 0
}

// readTopics returns the topics in kfake's directory, none if there is none yet.
func readTopics(dir string) ([]Topic, error) {
	raw, err := os.ReadFile(filepath.Join(dir, topicsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseTopics(raw)
}

func parseTopics(raw []byte) ([]Topic, error) {
	var read struct {
		Version int     `json:"version"`
		Topics  []Topic `json:"topics"`
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

// uncovered returns what topics do not name: a folder of the log, or a topic that was known; "" if they name all.
func uncovered(topics, known []Topic, folders map[string]int64) string {
	partitions := make(map[string]int32, len(topics))
	for _, topic := range topics {
		partitions[topic.Name] = topic.Partitions
	}
	for folder := range folders {
		if p, ok := parseFolder(folder); !ok || p.Number >= partitions[p.Topic] {
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
