package batch

import (
	"bytes"
	"encoding/binary"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
)

// Bounds of what a batch may hold.
const (
	maxUncompressed = 32 << 20 // bytes of records
	// maxRecordLead is Kafka's default of message.timestamp.after.max.ms: records of a later time would outlive their
	// retention. As with Kafka, they may be as old as they like, and retention goes by the times that producers write.
	maxRecordLead = time.Hour
	// noTime is the time of records that have none.
	noTime = -1
)

// Attributes of a batch.
const (
	attrCodec         = 0x07
	codecHighest      = 4
	attrTransactional = 0x10
	attrControl       = 0x20
)

// Check says what is wrong with a batch that kfake would store although it must not be. What kfake refuses itself
// (another format, a bad length, a bad CRC) passes, so that kfake names it to the client.
//
// kfake stores what it has not read: records that are not what the header says make it panic later, when a consumer
// asks for an offset by time; a count below zero moves the end of the partition back; a batch that claims the time of
// the broker is stored with a CRC that does not hold, and kfake throws it away at the next start together with what
// follows it.
func Check(raw []byte, now time.Time) *protocol.Error {
	batch, size := Whole(raw)
	if batch == nil || size != len(raw) || batch.Magic != 2 {
		return nil
	}
	if batch.Attributes&attrTransactional != 0 && batch.Attributes&attrControl == 0 {
		return protocol.ErrTransactional
	}
	if batch.Attributes&^attrCodec != 0 || batch.Attributes&attrCodec > codecHighest {
		return protocol.Errorf(kerr.InvalidRecord, "a batch with attributes %#x", uint16(batch.Attributes))
	}
	if batch.NumRecords < 1 || batch.LastOffsetDelta != batch.NumRecords-1 {
		return protocol.Errorf(kerr.InvalidRecord, "a batch of %d records", batch.NumRecords)
	}
	if batch.ProducerID < -1 || batch.ProducerID >= 0 && (batch.ProducerEpoch < 0 || batch.FirstSequence < 0) {
		return protocol.Errorf(kerr.InvalidRecord, "a batch with a stamp that no producer has")
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
func checkTime(ms int64, now time.Time) *protocol.Error {
	if ms < noTime {
		return protocol.Errorf(kerr.InvalidTimestamp, "A record of the time %d, in milliseconds since 1970.", ms)
	}
	if latest := now.Add(maxRecordLead); ms > latest.UnixMilli() {
		return protocol.Errorf(kerr.InvalidTimestamp,
			"A record of the time %d, in milliseconds since 1970, is more than %s ahead of the broker's clock.", ms, maxRecordLead)
	}
	return nil
}

// checkRecords reads the records as kfake does when it looks for a time, and demands that they are what the header says.
func checkRecords(batch *kmsg.RecordBatch, now time.Time) *protocol.Error {
	codec := kgo.CompressionCodecType(batch.Attributes & attrCodec)
	if !fitsUncompressed(batch.Records, codec) {
		return protocol.Errorf(kerr.InvalidRecord, "a batch that is damaged or above %d bytes when uncompressed", maxUncompressed)
	}
	records, err := decompressor.Decompress(batch.Records, codec)
	if err != nil {
		return protocol.Errorf(kerr.InvalidRecord, "a batch that cannot be uncompressed")
	}
	for i := range batch.NumRecords {
		length, n := binary.Varint(records)
		if n <= 0 || length < 1 || length > int64(len(records)-n) {
			return protocol.Errorf(kerr.InvalidRecord, "a record that does not fit its batch")
		}
		whole := records[:n+int(length)]
		record := kmsg.NewRecord()
		if err := record.ReadFrom(whole); err != nil || record.OffsetDelta != i {
			return protocol.Errorf(kerr.InvalidRecord, "an unreadable record")
		}
		if err := checkTime(batch.FirstTimestamp+record.TimestampDelta64, now); err != nil {
			return err
		}
		records = records[len(whole):]
	}
	if len(records) > 0 {
		return protocol.Errorf(kerr.InvalidRecord, "bytes after the last record of a batch")
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

// emptyFrame is a zstd frame with nothing in it (RFC 8878, 3.1.1). The decoder holds on to what it unpacked last; then that is this.
var emptyFrame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0}

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
		_, _ = zstdWithin.DecodeAll(emptyFrame, nil)
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
