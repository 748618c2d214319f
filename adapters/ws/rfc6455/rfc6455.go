// Package rfc6455 lays out the frames that a WebSocket server sends (RFC 6455 §5.2): unfragmented, without a mask. It does no
// I/O and knows nothing of chat. A library reads the frames of clients.
package rfc6455

import "encoding/binary"

// FinalBit marks a frame that is not continued.
const FinalBit = 0x80

// The opcodes of the frames that the server sends.
const (
	Text  = 0x1
	Close = 0x8
	Ping  = 0x9
	Pong  = 0xA
)

// MaxHeader is the length of the longest header.
const MaxHeader = 10

// Append appends a frame.
func Append(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, FinalBit|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// Length returns the length of the frame with a payload of so many bytes.
func Length(payload int) int {
	switch {
	case payload < 126:
		return 2 + payload
	case payload < 1<<16:
		return 4 + payload
	default:
		return MaxHeader + payload
	}
}

// Fit returns the length of the frames at the beginning of b that fit into limit bytes, and of one at least. b holds whole
// frames as Append makes them.
func Fit(b []byte, limit int) int {
	if len(b) <= limit {
		return len(b)
	}
	n := 0
	for n < len(b) {
		next := n + length(b[n:])
		if next > limit && n > 0 {
			break
		}
		n = next
	}
	return n
}

// Rest returns the part after the first n bytes of the frame in which they end, nothing if they end with a frame.
func Rest(frames []byte, n int) []byte {
	end := 0
	for end < n {
		end += length(frames[end:])
	}
	return frames[n:end]
}

// length returns the length of the frame that b begins with.
func length(b []byte) int {
	switch b[1] {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return MaxHeader + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + int(b[1])
	}
}
