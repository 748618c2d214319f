package logdir

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/batch"
)

// windowSize is how many batches of one producer kfake (as Kafka) knows again.
const windowSize = 5

// producers is what the log says about each producer in each partition.
type producers map[int64]map[Partition]*window

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

// readBatches notes the batches at the start of raw. It returns them, and what follows from the first damage on.
func (p producers) readBatches(raw []byte, from Partition) (whole, damaged []byte) {
	end := 0
	for end < len(raw) {
		read, size := batch.Whole(raw[end:])
		if read == nil {
			break
		}
		p.note(*read, from)
		end += size
	}
	return raw[:end:end], raw[end:]
}

// note takes a batch over as kfake does when it appends one.
func (p producers) note(batch kmsg.RecordBatch, from Partition) {
	if batch.ProducerID < 0 {
		return
	}
	windows := p[batch.ProducerID]
	if windows == nil {
		windows = make(map[Partition]*window)
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
				Producer: id, Topic: from.Topic, Partition: from.Number, Count: len(w.batches),
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

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
