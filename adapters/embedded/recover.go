package embedded

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What follows knows kfake's files (persist.go of the pinned version, format 1); TestSameStampedBatchSurvivesSIGKILL
// goes red when a later version changes them.
const (
	fileFormat   = 1
	topicsFile   = "topics.json"
	windowsFile  = "seq_windows.json"
	pidsFile     = "pids.log"
	sessionsFile = "session_state.json"
	groupsFile   = "groups.log"
	// damagedDir is ours: where bytes go that were cut from damaged files.
	damagedDir = "damaged"
	// windowSize is how many batches of one producer kfake (as Kafka) knows again.
	windowSize = 5
)

// recoverProducers makes kfake's files tell, before kfake reads them, which batches of which producers the log holds.
// kfake writes that down only when it is closed; after a SIGKILL it would know nothing, or what was true at the last
// Close, and append a batch again that is sent again, or refuse the next one. The log itself has it all: each batch
// carries its producer, epoch and sequence. So both files are written anew from the log at every start.
//
// On the way it cuts a torn end, which a kill in the middle of a write leaves: from the last file of a partition, and
// from the log of the groups. kfake would write behind it and find nothing from there on at the next start. The bytes
// are kept in the directory "damaged", and a log line says so; nobody was told that they are in the log. All other damage
// is an error, because something would be lost that was acknowledged.
//
// It also removes what kfake noted at Close about members of consumer groups and fetch sessions, so that a start after
// Close is as one after SIGKILL: members join again. (A fetch session taken up from there can panic kfake.)
func recoverProducers(ctx context.Context, dir string, topics []topic, before kept, logger *slog.Logger) error {
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
	if err := os.Remove(filepath.Join(dir, sessionsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

// producers is what the log says about each producer in each partition.
type producers map[int64]map[partition]*window

type partition struct {
	topic  string
	number int32
}

// window is a producer's latest batches in a partition, oldest first, all of one epoch.
type window struct {
	epoch   int16
	batches []sentBatch
}

// sentBatch is one batch as kfake keeps it.
type sentBatch struct {
	FirstSequence int32 `json:"first_seq"`
	NextSequence  int32 `json:"next_seq"`
	Offset        int64 `json:"offset"`
}

// readPartition reads the files of a partition in the order of their offsets. before is what was kept of the log.
func (p producers) readPartition(dir, topic string, number int32, before kept, logger *slog.Logger) error {
	name := fmt.Sprintf("%s-%d", url.PathEscape(topic), number)
	newest, known := before.Newest[name]
	if !known {
		newest = -1
	}
	folder := filepath.Join(dir, partsDir, name)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var bases []int64
	for _, entry := range entries {
		if base, isLog := strings.CutSuffix(entry.Name(), segmentExt); isLog {
			if first, err := strconv.ParseInt(base, 10, 64); err == nil {
				bases = append(bases, first)
			}
		}
	}
	slices.Sort(bases)
	for i, base := range bases {
		path := filepath.Join(partsDir, name, strconv.FormatInt(base, 10)+segmentExt)
		file := filepath.Join(dir, path)
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		whole, damaged := p.readBatches(raw, partition{topic: topic, number: number})
		lost := indexedBatches(folder, base) - countBatches(whole)
		if len(damaged) == 0 && lost <= 0 {
			continue
		}
		// A write that was cut off is the last one. It left a part of its batch, and at most one entry of the index.
		if i < len(bases)-1 || lost > 1 || len(raw) == 0 || holdsBatch(damaged) || len(whole) == 0 && base == newest {
			wayOut := path + " and " + keptFile
			if i == len(bases)-1 && len(whole) > 0 && len(damaged) == 0 {
				wayOut = strings.TrimSuffix(path, segmentExt) + indexExt // which tells that there was more
			}
			return damagedError{path, len(whole), wayOut}
		}
		if len(damaged) == 0 {
			logger.Warn("embedded Kafka broker: a file of the log is shorter than it was", "topic", topic, "partition", number,
				"file", file, "batches_lost", lost)
			continue
		}
		kept := filepath.Join(dir, damagedDir, fmt.Sprintf("%s-%d-%d", name, base, len(whole)))
		if err := keepDamaged(kept, damaged); err != nil {
			return err
		}
		if err := replaceFile(file, whole); err != nil {
			return err
		}
		logger.Warn("embedded Kafka broker: damage was cut from a file of the log", "topic", topic, "partition", number,
			"file", file, "bytes_cut", len(damaged), "kept_as", kept)
	}
	return removeStrayIndexes(folder, entries, bases)
}

// removeStrayIndexes removes the indexes of files that somebody removed. kfake would write on in them, and they would
// count too many batches.
func removeStrayIndexes(folder string, entries []fs.DirEntry, bases []int64) error {
	for _, entry := range entries {
		number, isIndex := strings.CutSuffix(entry.Name(), indexExt)
		if base, err := strconv.ParseInt(number, 10, 64); isIndex && err == nil && !slices.Contains(bases, base) {
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

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

// readBatches notes the batches at the start of raw. It returns them, and what follows from the first damage on.
func (p producers) readBatches(raw []byte, from partition) (whole, damaged []byte) {
	end := 0
	for end < len(raw) {
		batch, size := wholeBatch(raw[end:])
		if batch == nil {
			break
		}
		p.note(*batch, from)
		end += size
	}
	return raw[:end:end], raw[end:]
}

// holdsBatch tells whether a whole batch begins anywhere in raw.
func holdsBatch(raw []byte) bool {
	const magic = 16 // where a batch has the number of its format
	for ; len(raw) >= batchHead; raw = raw[1:] {
		if raw[magic] == 2 && isWhole(raw) {
			return true
		}
	}
	return false
}

// countBatches counts whole batches.
func countBatches(whole []byte) (count int) {
	for len(whole) >= batchHead {
		whole = whole[int(binary.BigEndian.Uint32(whole[batchLength:]))+lengthFrom:]
		count++
	}
	return count
}

// indexedBatches tells how many batches kfake's index of a file names; 0 where it cannot be read.
func indexedBatches(folder string, base int64) int {
	const entry = 15 // bytes of indexEntrySize in kfake
	info, err := os.Stat(filepath.Join(folder, strconv.FormatInt(base, 10)+indexExt))
	if err != nil {
		return 0
	}
	return int(info.Size() / entry)
}

func isWhole(raw []byte) bool { batch, _ := wholeBatch(raw); return batch != nil }

// note takes a batch over as kfake does when it appends one.
func (p producers) note(batch kmsg.RecordBatch, from partition) {
	if batch.ProducerID < 0 {
		return
	}
	windows := p[batch.ProducerID]
	if windows == nil {
		windows = make(map[partition]*window)
		p[batch.ProducerID] = windows
	}
	w := windows[from]
	if w == nil || w.epoch != batch.ProducerEpoch {
		w = &window{epoch: batch.ProducerEpoch}
		windows[from] = w
	}
	w.batches = append(w.batches, sentBatch{
		FirstSequence: batch.FirstSequence,
		NextSequence:  int32((int64(batch.FirstSequence) + int64(batch.NumRecords)) % math.MaxInt32), // as kfake counts
		Offset:        batch.FirstOffset,
	})
	if len(w.batches) > windowSize {
		w.batches = slices.Delete(w.batches, 0, 1)
	}
}

// encode returns the contents of kfake's two files. A producer's epoch is its highest in any partition, so that a late
// batch of an older one stays refused.
func (p producers) encode() (pids, windows []byte, err error) {
	type keptWindow struct {
		Producer  int64                 `json:"pid"`
		Topic     string                `json:"topic"`
		Partition int32                 `json:"partition"`
		Batches   [windowSize]sentBatch `json:"entries"`
		Count     int                   `json:"count"`
		At        int                   `json:"at"` // where the next batch goes
		Epoch     int16                 `json:"epoch"`
		Seen      bool                  `json:"seen"`
		Next      int32                 `json:"next_seq"`
	}
	kept := struct {
		Version int          `json:"version"`
		Windows []keptWindow `json:"windows"`
	}{Version: fileFormat}
	for id, of := range p {
		epoch := int16(0)
		for from, w := range of {
			epoch = max(epoch, w.epoch)
			one := keptWindow{
				Producer: id, Topic: from.topic, Partition: from.number, Count: len(w.batches),
				At: len(w.batches) % windowSize, Epoch: w.epoch, Seen: true,
				Next: w.batches[len(w.batches)-1].NextSequence,
			}
			copy(one.Batches[:], w.batches)
			kept.Windows = append(kept.Windows, one)
		}
		if pids, err = appendProducer(pids, id, epoch); err != nil {
			return nil, nil, err
		}
	}
	windows, err = json.Marshal(kept)
	return pids, windows, err
}

// keepDamaged writes down bytes that are cut from a file.
func keepDamaged(file string, cut []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return replaceFile(file, cut)
}

// appendProducer adds an entry to a log of kfake's: length, CRC32C of what follows it, format, JSON; little-endian.
func appendProducer(to []byte, id int64, epoch int16) ([]byte, error) {
	data, err := json.Marshal(struct {
		Type  string `json:"type"`
		ID    int64  `json:"pid"`
		Epoch int16  `json:"epoch"`
	}{Type: "init", ID: id, Epoch: epoch})
	if err != nil {
		return nil, err
	}
	body := append(binary.LittleEndian.AppendUint16(nil, fileFormat), data...)
	to = binary.LittleEndian.AppendUint32(to, uint32(len(body)))
	to = binary.LittleEndian.AppendUint32(to, crc32.Checksum(body, castagnoli))
	return append(to, body...), nil
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
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
