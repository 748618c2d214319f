package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// A text of a message says of itself what its receivers need to know, so that they keep nothing of it: which client sent it, which
// of that client's messages it is, and when it was to be sent. It looks like
//
//	bench-0a1b2c3d-0000000700000012000000003b9aca00.....
//
// with the run, then the stamp as 32 hexadecimal digits, then dots up to the size that was asked for. A run does not take
// the messages of another for its own.
type stamp struct {
	sender, number uint32
	at             time.Duration // since the run began
}

const (
	stampDigits = 32
	// MinTextBytes is the size of a text without dots.
	MinTextBytes = len("bench-01234567-") + stampDigits
)

// markOf returns the beginning of the texts of a run.
func markOf(run uint32) []byte { return fmt.Appendf(nil, "bench-%08x-", run) }

// put writes the digits of a stamp.
func (s stamp) put(digits []byte) {
	var b [stampDigits / 2]byte
	binary.BigEndian.PutUint32(b[0:], s.sender)
	binary.BigEndian.PutUint32(b[4:], s.number)
	binary.BigEndian.PutUint64(b[8:], uint64(s.at))
	hex.Encode(digits, b[:])
}

// findStamp finds the stamp in a frame of the server, wherever in the frame the text is.
func findStamp(frame, mark []byte) (stamp, bool) {
	at := bytes.Index(frame, mark)
	if at < 0 || len(frame) < at+len(mark)+stampDigits {
		return stamp{}, false
	}
	var b [stampDigits / 2]byte
	if _, err := hex.Decode(b[:], frame[at+len(mark):][:stampDigits]); err != nil {
		return stamp{}, false
	}
	return stamp{
		sender: binary.BigEndian.Uint32(b[0:]),
		number: binary.BigEndian.Uint32(b[4:]),
		at:     time.Duration(binary.BigEndian.Uint64(b[8:])),
	}, true
}

// message is the frame that a client sends. Only its stamp changes from one message to the next.
type message struct {
	frame, digits []byte // digits are the part of the frame that holds the stamp
}

// newMessage returns the frame to a user, with a text of so many bytes.
func newMessage(target int64, mark []byte, size int) message {
	frame := fmt.Appendf(nil, `{"target_id":%d,"message":"%s`, target, mark)
	begin := len(frame)
	frame = append(frame, bytes.Repeat([]byte{'.'}, max(size-len(mark), stampDigits))...)
	frame = append(frame, `"}`...)
	return message{frame: frame, digits: frame[begin : begin+stampDigits]}
}
