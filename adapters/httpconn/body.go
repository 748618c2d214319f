package httpconn

import "math"

// body follows the bytes of a request's body to its end. It takes chunks (RFC 9112 §7.1) without leniency: each line ends
// with a carriage return and a line feed, sizes are hexadecimal digits alone, and no trailers follow.
type body struct {
	chunked bool
	state   chunkState
	left    int64 // bytes of the body, or of the chunk, that are still to come
	length  int64 // bytes of the body that the client has announced: all, or those of the chunks that have begun
	digits  int   // of the chunk's size so far
	line    int   // bytes of the chunk's line so far
}

type chunkState int

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF // after the carriage return of the line with the size
	chunkData
	chunkDataCR
	chunkDataLF
	chunkEndCR // after the last chunk
	chunkEndLF
	chunksDone
)

// maxChunkLine bounds the line with a chunk's size and its extensions, which nothing here makes use of, in bytes.
const maxChunkLine = 256

func newBody(h head) body { return body{chunked: h.chunked, left: h.length, length: h.length} }

// done tells whether the body has ended.
func (b *body) done() bool {
	if b.chunked {
		return b.state == chunksDone
	}
	return b.left == 0
}

// advance goes through p, and returns how many of its bytes belong to the body.
func (b *body) advance(p []byte) (n int, refusal *Refusal) {
	if !b.chunked {
		n = int(min(b.left, int64(len(p))))
		b.left -= int64(n)
		return n, nil
	}
	for n < len(p) && b.state != chunksDone {
		if b.state == chunkData {
			step := min(b.left, int64(len(p)-n))
			n += int(step)
			if b.left -= step; b.left == 0 {
				b.state = chunkDataCR
			}
			continue
		}
		if refusal := b.step(p[n]); refusal != nil {
			return n, refusal
		}
		n++
	}
	return n, nil
}

// step takes one byte that is not data.
func (b *body) step(c byte) *Refusal {
	switch b.state {
	case chunkSize, chunkExtension:
		return b.stepLine(c)
	case chunkSizeLF:
		b.length += min(b.left, math.MaxInt64-b.length)
		return b.expect(c, '\n', b.afterSize())
	case chunkDataCR:
		return b.expect(c, '\r', chunkDataLF)
	case chunkDataLF:
		b.left, b.digits, b.line = 0, 0, 0
		return b.expect(c, '\n', chunkSize)
	case chunkEndCR:
		if c != '\r' {
			return malformed("Trailers are refused.")
		}
		b.state = chunkEndLF
		return nil
	default: // chunkEndLF
		return b.expect(c, '\n', chunksDone)
	}
}

func (b *body) afterSize() chunkState {
	if b.left == 0 {
		return chunkEndCR
	}
	return chunkData
}

func (b *body) expect(c, want byte, next chunkState) *Refusal {
	if c != want {
		return malformed("A chunk of the body is malformed.")
	}
	b.state = next
	return nil
}

// stepLine takes a byte of the line that begins a chunk.
func (b *body) stepLine(c byte) *Refusal {
	if b.line++; b.line > maxChunkLine {
		return malformed("The line of a chunk is too long.")
	}
	digit, isHex := hexDigit(c)
	switch {
	case c == '\r' && b.digits > 0:
		b.state = chunkSizeLF
	case b.state == chunkExtension && c != '\r' && (c >= ' ' && c != 0x7f || c == '\t'):
		// Nobody reads it.
	case b.state == chunkSize && isHex && b.left <= math.MaxInt64>>8:
		b.left, b.digits = b.left<<4|digit, b.digits+1
	case b.state == chunkSize && c == ';': // without a digit before it the line's end is refused
		b.state = chunkExtension
	default:
		return malformed("The size of a chunk is not a hexadecimal number.")
	}
	return nil
}

func hexDigit(c byte) (int64, bool) {
	switch {
	case isDigit(c):
		return int64(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10, true
	default:
		return 0, false
	}
}
