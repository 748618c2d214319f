// Package batch reads record batches of Kafka's message format 2, as clients send them and as kfake's files hold them, and
// judges which of them kfake may store.
package batch

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Head is how many bytes of a batch stand before its records.
const Head = 61

// Where fields of a batch begin (Kafka protocol guide, RecordBatch).
const (
	atLength  = 8
	afterSize = 12 // what the length counts
	atMagic   = 16
	atCRC     = 17
	afterCRC  = 21 // what the CRC covers
	atCount   = 57
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Whole reads the batch at the start of raw. It is nil if there is none or its CRC does not hold. size is the bytes that the
// batch takes according to its length, 0 if that cannot be.
func Whole(raw []byte) (batch *kmsg.RecordBatch, size int) {
	if len(raw) < Head {
		return nil, 0
	}
	claimed := int64(binary.BigEndian.Uint32(raw[atLength:])) + afterSize
	if claimed < Head || claimed > int64(len(raw)) {
		return nil, 0
	}
	size = int(claimed)
	batch = new(kmsg.RecordBatch)
	if batch.ReadFrom(raw[:size]) != nil || uint32(batch.CRC) != crc32.Checksum(raw[afterCRC:size], castagnoli) {
		return nil, size
	}
	return batch, size
}

// Offset is the offset of a whole batch's first record.
func Offset(batch []byte) int64 { return int64(binary.BigEndian.Uint64(batch)) }

// Count is how many records a whole batch says that it has.
func Count(batch []byte) int64 { return int64(binary.BigEndian.Uint32(batch[atCount:])) }

// sizeOf is how many bytes of raw the batch at its start takes. raw has at least Head bytes.
func sizeOf(raw []byte) int {
	return min(int(binary.BigEndian.Uint32(raw[atLength:]))+afterSize, len(raw))
}

// Extent counts the batches of a file of the log that begins at an offset. All are whole. The next one would have the
// offset end.
func Extent(whole []byte, begin int64) (count int, end int64) {
	end = begin
	for len(whole) >= Head {
		end = Offset(whole) + Count(whole)
		whole = whole[sizeOf(whole):]
		count++
	}
	return count, end
}

// Before returns the batches at the start of raw that begin before end. A batch begins at end, or the log ends there.
func Before(raw []byte, end int64) []byte {
	size := 0
	for rest := raw; len(rest) >= Head && Offset(rest) < end; rest = raw[size:] {
		size += sizeOf(rest)
	}
	return raw[:size:size]
}

// AnyIn tells whether a whole batch begins anywhere in raw.
func AnyIn(raw []byte) bool {
	for ; len(raw) >= Head; raw = raw[1:] {
		if raw[atMagic] == 2 {
			if batch, _ := Whole(raw); batch != nil {
				return true
			}
		}
	}
	return false
}
