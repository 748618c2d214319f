package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// packing is a way in which producers pack records.
type packing struct {
	codec int
	pack  func(t testing.TB, plain io.Reader) []byte
}

func packWith(open func(io.Writer) io.WriteCloser) func(testing.TB, io.Reader) []byte {
	return func(t testing.TB, plain io.Reader) []byte {
		t.Helper()
		var packed bytes.Buffer
		w := open(&packed)
		if _, err := io.Copy(w, plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
}

// packings are all there are; librdkafka writes snappy in one block, the Java client in the chunks of xerial.
func packings() map[string]packing {
	return map[string]packing{
		"gzip": {codecGzip, packWith(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })},
		"lz4":  {codecLZ4, packWith(func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) })},
		"zstd, streamed": {codecZstd, packWith(func(w io.Writer) io.WriteCloser {
			encoder, _ := zstd.NewWriter(w)
			return encoder
		})},
		"zstd, at once": {codecZstd, func(t testing.TB, plain io.Reader) []byte {
			encoder, _ := zstd.NewWriter(nil)
			return encoder.EncodeAll(readAll(t, plain), nil)
		}},
		"zstd, two frames": {codecZstd, func(t testing.TB, plain io.Reader) []byte {
			encoder, _ := zstd.NewWriter(nil)
			all := readAll(t, plain)
			return encoder.EncodeAll(all[len(all)/3:], encoder.EncodeAll(all[:len(all)/3], nil))
		}},
		"snappy, one block": {codecSnappy, func(t testing.TB, plain io.Reader) []byte {
			return s2.EncodeSnappy(nil, readAll(t, plain))
		}},
		"snappy, xerial": {codecSnappy, packXerial},
		"snappy, two xerial streams": {codecSnappy, func(t testing.TB, plain io.Reader) []byte {
			all := readAll(t, plain)
			return append(packXerial(t, bytes.NewReader(all[:len(all)/3])), packXerial(t, bytes.NewReader(all[len(all)/3:]))...)
		}},
	}
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func packXerial(t testing.TB, plain io.Reader) []byte {
	packed := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for chunk := make([]byte, 32<<10); ; {
		n, err := io.ReadFull(plain, chunk)
		if n > 0 {
			block := s2.EncodeSnappy(nil, chunk[:n])
			packed = append(binary.BigEndian.AppendUint32(packed, uint32(len(block))), block...)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return packed
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryCodecUnpacksWhatIsNotLargerThanTheBound(t *testing.T) {
	const size = 300_000
	random := rand.New(rand.NewPCG(1, 2))
	plain := make([]byte, size)
	for i := range plain {
		plain[i] = byte(random.IntN(4))
	}
	for name, p := range packings() {
		packed := p.pack(t, bytes.NewReader(plain))
		for _, room := range []int{0, 1000, size, 2 * size} {
			got, err := unpack(p.codec, packed, make([]byte, 0, room), size)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, into %d bytes: unpacked %d bytes, error %v", name, room, len(got), err)
			}
			got, err = unpack(p.codec, packed, make([]byte, 0, room), size-1)
			if !errors.Is(err, ErrTooLarge) || len(got) > size-1 || !bytes.HasPrefix(plain, got) {
				t.Errorf("%s, into %d bytes, one byte too many: unpacked %d bytes, error %v", name, room, len(got), err)
			}
		}
		for cut := range min(len(packed), 200) {
			if got, err := unpack(p.codec, packed[:cut], nil, size); err == nil && bytes.Equal(got, plain) {
				t.Errorf("%s: %d of %d bytes unpack to all", name, cut, len(packed))
			}
		}
	}
}

// zeros are as many zeros.
type zeros int64

func (z zeros) reader() io.Reader { return io.LimitReader(zeroReader{}, int64(z)) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// zstdZeros is a frame of blocks that repeat one byte, four bytes for each 128 KiB: with the size of all of it, as an encoder
// that has all of it writes it, or without.
func zstdZeros(blocks int, sized bool) []byte {
	const block = 128 << 10
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd}
	if sized {
		frame = binary.LittleEndian.AppendUint64(append(frame, 0xe0), uint64(blocks)*block)
	} else {
		frame = append(frame, 0, 0x58) // a window of 2 MiB
	}
	for i := range blocks {
		header := uint32(block<<3 | 1<<1)
		if i == blocks-1 {
			header |= 1
		}
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return frame
}

// bombs are packed zeros, 900 MiB or, where packing takes long, enough.
func bombs(t testing.TB) map[string]packing {
	t.Helper()
	const large = 900 << 20
	all := packings()
	made := func(codec int, packed []byte) packing {
		return packing{codec, func(testing.TB, io.Reader) []byte { return packed }}
	}
	block := append(binary.AppendUvarint(nil, large), bytes.Repeat([]byte{0xfe, 1, 0}, 1000)...) // its length is a claim
	return map[string]packing{
		"gzip":              made(codecGzip, all["gzip"].pack(t, zeros(large).reader())),
		"lz4":               made(codecLZ4, all["lz4"].pack(t, zeros(large).reader())),
		"zstd, streamed":    made(codecZstd, zstdZeros(large/(128<<10), false)),
		"zstd, sized":       made(codecZstd, zstdZeros(large/(128<<10), true)),
		"snappy, one block": made(codecSnappy, block),
		"snappy, xerial":    made(codecSnappy, all["snappy, xerial"].pack(t, zeros(large/4).reader())),
	}
}

// allocated returns how many bytes f has allocated, used again or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestNoCodecUnpacksBeyondTheBound(t *testing.T) {
	const limit = 4 << 20
	for name, bomb := range bombs(t) {
		packed := bomb.pack(t, nil)
		var got []byte
		var err error
		took := allocated(func() { got, err = unpack(bomb.codec, packed, nil, limit) })
		t.Logf("%s: %d bytes, %d unpacked, %d allocated, %v", name, len(packed), len(got), took, err)
		if !errors.Is(err, ErrTooLarge) || len(got) > limit || len(bytes.TrimRight(got, "\x00")) > 0 {
			t.Errorf("%s: unpacked %d bytes, error %v", name, len(got), err)
		}
		if took > 10*limit {
			t.Errorf("%s: unpacking at most %d bytes took %d", name, limit, took)
		}
	}
}

func TestDamagedBytesUnpackToNoMoreThanTheBound(t *testing.T) {
	for name, p := range packings() {
		packed := p.pack(t, zeros(100_000).reader())
		for i := range min(len(packed), 64) {
			damaged := bytes.Clone(packed)
			damaged[i] ^= 0x55
			if got, err := unpack(p.codec, damaged, nil, 200_000); len(got) > 200_000 {
				t.Errorf("%s, byte %d damaged: %d bytes, %v", name, i, len(got), err)
			}
		}
	}
	if _, err := unpack(7, []byte("x"), nil, 100); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("an unknown codec: %v", err)
	}
	// A frame that is cut off is not too large because all of it would be as large as it may be.
	if _, err := unpack(codecZstd, zstdZeros(4, true)[:17], nil, 4*zstdBlock); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("a quarter of a frame: %v", err)
	}
}

// The buffer of the last batch is used again, with what is in it.
func TestWhatWasUnpackedBeforeIsNotPartOfABatch(t *testing.T) {
	plain := bytes.Repeat([]byte("plain"), 1000)
	for name, p := range packings() {
		packed := p.pack(t, bytes.NewReader(plain))
		into := []byte("the batch before")
		for range 2 {
			got, err := unpack(p.codec, packed, into, len(plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%s: unpacked %d bytes, error %v", name, len(got), err)
			}
			into = got
		}
	}
}

func TestSnappyStreamsThatAreCutOffAreErrors(t *testing.T) {
	head := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	block := s2.EncodeSnappy(nil, []byte("block"))
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(block))), block...)
	sized := func(size int32) []byte { return binary.BigEndian.AppendUint32(bytes.Clone(head), uint32(size)) }
	for what, c := range map[string]struct {
		packed []byte
		want   string
		fails  bool
	}{
		"a head alone":        {head, "", false},
		"a chunk":             {slices.Concat(head, chunk), "block", false},
		"two chunks":          {slices.Concat(head, chunk, chunk), "blockblock", false},
		"a head in between":   {slices.Concat(head, chunk, head, chunk), "blockblock", false},
		"a head cut off":      {head[:15], "", true},
		"a second cut off":    {slices.Concat(head, chunk, head[:15]), "", true},
		"a length cut off":    {slices.Concat(head, chunk[:3]), "", true},
		"a chunk cut off":     {slices.Concat(head, chunk[:len(chunk)-1]), "", true},
		"a length alone":      {sized(5), "", true},
		"a length of nothing": {append(sized(0), chunk...), "", true},
		"a length below zero": {append(sized(-1), chunk...), "", true},
	} {
		got, err := unpack(codecSnappy, c.packed, nil, 1000)
		if (err != nil) != c.fails || err == nil && string(got) != c.want {
			t.Errorf("%s: unpacked %q, error %v", what, got, err)
		}
	}
}

// A process has one decoder for good: what a large batch unpacked to must not stay with it.
func TestTheDecoderLetsGoOfWhatItUnpacked(t *testing.T) {
	const size = 32 << 20
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = encoder.Close() }()
	packed := encoder.EncodeAll(make([]byte, size), nil)
	for name, test := range map[string]struct {
		packed []byte
		limit  int
	}{
		"that fits": {packed, size}, "beyond the limit": {packed, size / 2}, "that is cut off": {packed[:len(packed)/2], size},
	} {
		before := heap()
		_, _ = unpack(codecZstd, test.packed, nil, test.limit)
		if grown := heap() - before; grown > size/8 {
			t.Errorf("after a batch %s, %d bytes stay", name, grown)
		}
	}
	runtime.KeepAlive(encoder)
}

// heap returns how many bytes are in use once the garbage is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools let go of
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
