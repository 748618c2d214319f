package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The compression codecs of record batches, as their attributes name them.
const (
	codecNone   = 0
	codecGzip   = 1
	codecSnappy = 2
	codecLZ4    = 3
	codecZstd   = 4
)

// ErrTooLarge says that a batch unpacks to more than Options.MaxBatch.
var ErrTooLarge = errors.New("it unpacks to more than is read of one batch")

// unpack appends what packed unpacks to into into[:0], which it may grow to limit bytes, and returns it. Never is more than
// that unpacked: with ErrTooLarge it returns the beginning, as far as the codec gives one.
func unpack(codec int, packed, into []byte, limit int) ([]byte, error) {
	into = into[:0]
	switch codec {
	case codecGzip:
		return unpackGzip(packed, into, limit)
	case codecSnappy:
		return unpackSnappy(packed, into, limit)
	case codecLZ4:
		return unpackLZ4(packed, into, limit)
	case codecZstd:
		return unpackZstd(packed, into, limit)
	default:
		return nil, fmt.Errorf("there is no codec %d", codec)
	}
}

var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
)

func unpackGzip(packed, into []byte, limit int) ([]byte, error) {
	reader, _ := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(reader)
	if err := reader.Reset(bytes.NewReader(packed)); err != nil {
		return nil, err
	}
	return readUpTo(reader, guess(into, len(packed), limit), limit)
}

func unpackLZ4(packed, into []byte, limit int) ([]byte, error) {
	reader, _ := lz4Readers.Get().(*lz4.Reader)
	defer lz4Readers.Put(reader)
	reader.Reset(bytes.NewReader(packed))
	return readUpTo(reader, guess(into, len(packed), limit), limit)
}

// guess returns into with room for what so many packed bytes usually unpack to.
func guess(into []byte, packed, limit int) []byte {
	return withRoom(into, min(max(4*packed, 4096), limit))
}

// withRoom returns into with a capacity of at least size; what is in it is kept.
func withRoom(into []byte, size int) []byte {
	if cap(into) >= size {
		return into
	}
	grown := make([]byte, len(into), size)
	copy(grown, into)
	return grown
}

// readUpTo appends what r has.
func readUpTo(r io.Reader, into []byte, limit int) ([]byte, error) {
	for {
		if len(into) >= limit {
			var more [1]byte
			switch n, err := io.ReadFull(r, more[:]); {
			case n > 0:
				return into[:limit], ErrTooLarge
			case errors.Is(err, io.EOF):
				return into, nil
			default:
				return nil, err
			}
		}
		if len(into) == cap(into) {
			into = withRoom(into, min(2*cap(into), limit))
		}
		n, err := r.Read(into[len(into):min(cap(into), limit)])
		into = into[:len(into)+n]
		switch {
		case errors.Is(err, io.EOF):
			return into, nil
		case err != nil:
			return nil, err
		}
	}
}

// xerialMagic begins the framing in which the Java client writes snappy: the magic, two version numbers, and then chunks,
// each a raw snappy block behind its length. librdkafka writes one raw block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

func unpackSnappy(packed, into []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(packed, xerialMagic) {
		return unpackSnappyBlock(packed, into, limit)
	}
	for len(packed) > 0 {
		if bytes.HasPrefix(packed, xerialMagic) { // also between chunks, where two streams were put together
			if len(packed) < xerialHeader {
				return nil, io.ErrUnexpectedEOF
			}
			packed = packed[xerialHeader:]
			continue
		}
		if len(packed) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		size := int(int32(binary.BigEndian.Uint32(packed)))
		packed = packed[4:]
		if size <= 0 || size > len(packed) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if into, err = unpackSnappyBlock(packed[:size], into, limit); err != nil {
			return into, err
		}
		packed = packed[size:]
	}
	return into, nil
}

// unpackSnappyBlock appends a block. A block that is too large is not begun, because snappy does not unpack in part.
func unpackSnappyBlock(block, into []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return nil, err
	case size > limit-len(into):
		return into, ErrTooLarge
	}
	begin := len(into)
	if cap(into)-begin < size {
		into = withRoom(into, min(max(begin+size, 2*cap(into)), limit))
	}
	if _, err = s2.Decode(into[begin:begin+size], block); err != nil {
		return nil, err
	}
	return into[:begin+size], nil
}

// zstdDecoder never unpacks beyond the capacity of the slice that it is given. It keeps no window of its own, however large
// a frame says that it has to be: what it unpacked is its window.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
})

// emptyFrame is a frame with nothing in it (RFC 8878, 3.1.1). The decoder holds on to what it unpacked last; then that is this.
var emptyFrame = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0}

func unpackZstd(packed, into []byte, limit int) ([]byte, error) {
	decoder, err := zstdDecoder()
	if err != nil {
		return nil, err
	}
	unpacked, err := unpackZstdWith(decoder, packed, into, limit)
	if err != nil || cap(unpacked) > KeptUnpacked {
		_, _ = decoder.DecodeAll(emptyFrame, nil)
	}
	return unpacked, err
}

func unpackZstdWith(decoder *zstd.Decoder, packed, into []byte, limit int) ([]byte, error) {
	size := min(max(4*len(packed), 64<<10), limit)
	var header zstd.Header
	if err := header.Decode(packed); err == nil && header.HasFCS && header.FrameContentSize <= uint64(limit) {
		size = int(header.FrameContentSize)
	}
	for {
		into = withRoom(into[:0], max(size, 1))
		room := min(cap(into), limit)
		unpacked, err := decoder.DecodeAll(packed, into[:0:room])
		switch {
		case err == nil:
			return unpacked, nil
		case header.HasFCS && header.FrameContentSize > uint64(limit):
			return unpacked[:min(len(unpacked), limit)], ErrTooLarge
		case len(unpacked)+zstdBlock < room && !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return nil, err // there was room for one more block
		case room >= limit:
			return unpacked[:min(len(unpacked), limit)], ErrTooLarge
		}
		size = min(8*room, limit) // what is done again is an eighth of it
	}
}

// zstdBlock is the most that one block of a frame unpacks to. The decoder has no error of its own for a block that finds no
// room.
const zstdBlock = 128 << 10
