package logdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// Recover makes kfake's directory such that kfake serves all of the log or nothing: kfake takes what is lost for what
// never was, and begins anew. What can be brought back as it was is; an error names what cannot. It returns the topics.
// clusterID is written if kfake's own note of it is lost.
func Recover(ctx context.Context, dir, clusterID string, logger *slog.Logger) ([]Topic, error) {
	if err := restoreGroups(dir); err != nil {
		return nil, err
	}
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
	if err := recoverMeta(dir, clusterID, logger); err != nil {
		return nil, err
	}
	return topics, recoverProducers(ctx, dir, topics, before, logger)
}

// recoverMeta brings back the file without which kfake takes the directory for a new one, and overwrites it.
func recoverMeta(dir, clusterID string, logger *slog.Logger) error {
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

// recoverProducers makes kfake's files tell which batches of which producers the log holds. kfake writes that down only
// when it is closed; after a SIGKILL it would know nothing, or what was true at the last Close, and append a batch again
// that is sent again, or refuse the next one. The log itself has it all: each batch carries its producer, epoch and
// sequence. So both files are written anew from the log at every start.
//
// On the way it cuts a torn end, which a kill in the middle of a write leaves: from the last file of a partition, and
// from the log of the groups. kfake would write behind it and find nothing from there on at the next start. The bytes
// are kept in the directory "damaged", and a log line says so; nobody was told that they are in the log. All other damage
// is an error, because something would be lost that was acknowledged.
//
// It also removes what kfake noted at Close about members of consumer groups and fetch sessions, so that a start after
// Close is as one after SIGKILL: members join again. (A fetch session taken up from there can panic kfake.)
func recoverProducers(ctx context.Context, dir string, topics []Topic, before kept, logger *slog.Logger) error {
	known := make(producers)
	for _, topic := range topics {
		for number := range topic.Partitions {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := known.readPartition(dir, topic.Name, number, before, logger); err != nil {
				return err
			}
		}
	}
	if err := removeIfThere(filepath.Join(dir, sessionsFile)); err != nil {
		return err
	}
	if err := cutTornEntry(dir, groupsFile, before.Groups, logger); err != nil {
		return err
	}
	pids, windows, err := known.encode()
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(filepath.Join(dir, pidsFile), pids), replaceFile(filepath.Join(dir, windowsFile), windows))
}
