package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"chatting/domain"
)

// record is what an appender writes.
type record struct {
	key, value []byte
	headers    []kafka.Header
	time       time.Time
	// owner is who has to share the lane's queue with others for this record; the zero value for nobody.
	owner owner
}

// owner is who causes a record. The owners of a lane share its queue.
type owner struct {
	user   domain.UserID
	shares bool
}

// ownedBy returns the owner that stands for a user, or for the platform (domain.System).
func ownedBy(user domain.UserID) owner { return owner{user: user, shares: true} }

// size is about what the record takes in a batch.
func (r record) size() int {
	size := len(r.key) + len(r.value) + recordOverhead
	for _, h := range r.headers {
		size += len(h.Key) + len(h.Value) + 4
	}
	return size
}

// recordOverhead is more than the lengths and deltas of a record take.
const recordOverhead = 32

// producerStamp is what makes a batch idempotent (KIP-98): the broker answers a batch that it has with the offset it has
// it at, and refuses one that leaves a gap.
type producerStamp struct {
	id       int64
	epoch    int16
	sequence int32
}

// Where a record batch of version 2 keeps its stamp and checksum, counted from the start of the batch
// (https://kafka.apache.org/documentation/#recordbatch), which the encoder puts a 4-byte length before.
const (
	batchStart     = 4
	offsetCRC      = batchStart + 17
	offsetChecked  = batchStart + 21
	offsetProducer = batchStart + 43
	offsetEpoch    = batchStart + 51
	offsetSequence = batchStart + 53
	batchHeader    = batchStart + 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeBatch returns records as one batch without a stamp, its length before it.
func encodeBatch(records []record) ([]byte, error) {
	encoded := make([]protocol.Record, len(records))
	for i, r := range records {
		encoded[i] = protocol.Record{
			Time: r.time, Key: protocol.NewBytes(r.key), Value: protocol.NewBytes(r.value), Headers: r.headers,
		}
	}
	set := protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(encoded...)}
	var buffer bytes.Buffer
	if _, err := set.WriteTo(&buffer); err != nil {
		return nil, fmt.Errorf("encoding a batch: %w", err)
	}
	if buffer.Len() < batchHeader {
		return nil, fmt.Errorf("encoding a batch: only %d bytes", buffer.Len())
	}
	return buffer.Bytes(), nil
}

// stampBatch writes the stamp into a batch of encodeBatch and returns it. It copies: an earlier attempt to send the batch
// may still be reading the bytes.
func stampBatch(batch []byte, stamp producerStamp) []byte {
	stamped := bytes.Clone(batch)
	binary.BigEndian.PutUint64(stamped[offsetProducer:], uint64(stamp.id))
	binary.BigEndian.PutUint16(stamped[offsetEpoch:], uint16(stamp.epoch))
	binary.BigEndian.PutUint32(stamped[offsetSequence:], uint32(stamp.sequence))
	binary.BigEndian.PutUint32(stamped[offsetCRC:], crc32.Checksum(stamped[offsetChecked:], castagnoli))
	return stamped
}
