package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of what a batch may hold.
const (
	maxUncompressed = 32 << 20 // bytes of records in one batch
	// maxRecordLead is Kafka's default of message.timestamp.after.max.ms: records of a later time would outlive their
	// retention. As with Kafka, they may be as old as they like, and retention goes by the times that producers write.
	maxRecordLead = time.Hour
	// noTime is the time of records that have none.
	noTime = -1
)

// Fields of a batch of message format 2 (Kafka protocol guide, RecordBatch): what the CRC covers begins at crcFrom.
const (
	batchHead         = 61
	batchLength       = 8
	batchCRC          = 17
	crcFrom           = 21
	lengthFrom        = 12 // what batchLength counts begins here
	attrCodec         = 0x07
	attrControl       = 0x20
	attrTransactional = 0x10
	codecHighest      = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// wholeBatch reads the batch at the start of raw. It is nil where there is none or its CRC does not hold; size is the
// bytes that it takes according to its length, 0 where that cannot be.
func wholeBatch(raw []byte) (batch *kmsg.RecordBatch, size int) {
	if len(raw) < batchHead {
		return nil, 0
	}
	claimed := int64(binary.BigEndian.Uint32(raw[batchLength:])) + lengthFrom
	if claimed < batchHead || claimed > int64(len(raw)) {
		return nil, 0
	}
	size = int(claimed)
	batch = new(kmsg.RecordBatch)
	if batch.ReadFrom(raw[:size]) != nil || uint32(batch.CRC) != crc32.Checksum(raw[crcFrom:size], castagnoli) {
		return nil, size
	}
	return batch, size
}

// checkBatch says what is wrong with a batch that kfake would store although it must not be. What kfake refuses itself
// (another format, a bad length, a bad CRC) passes, so that kfake names it to the client.
//
// kfake stores what it has not read: records that are not what the header says make it panic later, when a consumer
// asks for an offset by time; a count below zero moves the end of the partition back; a batch that claims the time of
// the broker is stored with a CRC that does not hold, and kfake throws it away at the next start together with what
// follows it.
func checkBatch(raw []byte, now time.Time) error {
	batch, size := wholeBatch(raw)
	if batch == nil || size != len(raw) || batch.Magic != 2 {
		return nil
	}
	if batch.Attributes&attrTransactional != 0 && batch.Attributes&attrControl == 0 {
		return batchError{noTransaction, noTransactions}
	}
	if batch.Attributes&^attrCodec != 0 || batch.Attributes&attrCodec > codecHighest {
		return refuse("a batch with attributes %#x", uint16(batch.Attributes))
	}
	if batch.NumRecords < 1 || batch.LastOffsetDelta != batch.NumRecords-1 {
		return refuse("a batch of %d records", batch.NumRecords)
	}
	if batch.ProducerID < -1 || batch.ProducerID >= 0 && (batch.ProducerEpoch < 0 || batch.FirstSequence < 0) {
		return refuse("a batch with a stamp that no producer has")
	}
	for _, ms := range []int64{batch.FirstTimestamp, batch.MaxTimestamp} {
		if err := checkTime(ms, now); err != nil {
			return err
		}
	}
	return checkRecords(batch, now)
}

// checkTime says what is wrong with a record's time in ms. kfake cannot write down what is before the year 0, and a sum
// that overflows gets there.
func checkTime(ms int64, now time.Time) error {
	if ms < noTime {
		return batchError{kerr.InvalidTimestamp.Code, fmt.Sprintf("A record of the time %d, in milliseconds since 1970.", ms)}
	}
	if latest := now.Add(maxRecordLead); ms > latest.UnixMilli() {
		return batchError{kerr.InvalidTimestamp.Code, fmt.Sprintf(
			"A record of the time %d, in milliseconds since 1970, is more than %s ahead of the broker's clock.", ms, maxRecordLead)}
	}
	return nil
}

// checkRecords reads the records as kfake does when it looks for a time, and demands that they are what the header says.
func checkRecords(batch *kmsg.RecordBatch, now time.Time) error {
	codec := kgo.CompressionCodecType(batch.Attributes & attrCodec)
	if !fitsUncompressed(batch.Records, codec) {
		return refuse("a batch that is damaged or above %d bytes when uncompressed", maxUncompressed)
	}
	records, err := decompressor.Decompress(batch.Records, codec)
	if err != nil {
		return refuse("a batch that cannot be uncompressed")
	}
	for i := range batch.NumRecords {
		length, n := binary.Varint(records)
		if n <= 0 || length < 1 || length > int64(len(records)-n) {
			return refuse("a record that does not fit its batch")
		}
		whole := records[:n+int(length)]
		record := kmsg.NewRecord()
		if err := record.ReadFrom(whole); err != nil || record.OffsetDelta != i {
			return refuse("an unreadable record")
		}
		if err := checkTime(batch.FirstTimestamp+record.TimestampDelta64, now); err != nil {
			return err
		}
		records = records[len(whole):]
	}
	if len(records) > 0 {
		return refuse("bytes after the last record of a batch")
	}
	return nil
}

// decompressor is the one kfake uses, so that both see the same records. It allocates without a bound: fitsUncompressed
// comes first.
var decompressor = kgo.DefaultDecompressor()

// zstdWithin refuses what is larger than maxUncompressed before allocating it.
var zstdWithin = func() *zstd.Decoder {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(maxUncompressed))
	if err != nil {
		panic(err) // the options are constants
	}
	return decoder
}()

// fitsUncompressed tells whether compressed bytes are whole and at most maxUncompressed long when they are not
// compressed, by the libraries that the decompressor uses.
func fitsUncompressed(compressed []byte, codec kgo.CompressionCodecType) bool {
	switch codec {
	case kgo.CodecNone:
		return true
	case kgo.CodecGzip:
		reader, err := gzip.NewReader(bytes.NewReader(compressed))
		return err == nil && endsWithin(reader)
	case kgo.CodecLz4:
		return endsWithin(lz4.NewReader(bytes.NewReader(compressed)))
	case kgo.CodecZstd:
		_, err := zstdWithin.DecodeAll(compressed, nil)
		return err == nil
	case kgo.CodecSnappy:
		return snappyWithin(compressed)
	}
	return false
}

func endsWithin(r io.Reader) bool {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxUncompressed+1))
	return err == nil && n <= maxUncompressed
}

// xerialHead begins what Java's snappy writes: eight magic bytes and two versions, then blocks with their lengths.
var xerialHead = []byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// snappyWithin adds up the lengths that snappy's headers claim; decoding allocates by them.
func snappyWithin(compressed []byte) bool {
	const head = 16
	if len(compressed) <= head || !bytes.HasPrefix(compressed, xerialHead) {
		n, err := s2.DecodedLen(compressed)
		return err == nil && n <= maxUncompressed
	}
	total := 0
	for rest := compressed[head:]; len(rest) > 0; {
		if len(rest) < 4 {
			return false
		}
		size := binary.BigEndian.Uint32(rest)
		if uint64(size) > uint64(len(rest)-4) {
			return false
		}
		n, err := s2.DecodedLen(rest[4 : 4+size])
		if total += n; err != nil || total > maxUncompressed {
			return false
		}
		rest = rest[4+size:]
	}
	return true
}
