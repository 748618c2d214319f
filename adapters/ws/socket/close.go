package socket

import (
	"encoding/binary"
	"time"

	"chatting/adapters/ws/rfc6455"
)

// Cause is why a connection ends. Those who use this package have their own causes, with their own codes.
type Cause interface {
	// Code returns the status code of the close frame (RFC 6455 §7.4).
	Code() int
	// Reason returns what stands behind the code, in at most 123 bytes of UTF-8.
	Reason() string
	// String names the cause in log lines.
	String() string
}

// CloseFrame returns the frame that tells a cause to the peer.
func CloseFrame(cause Cause) []byte {
	payload := append(binary.BigEndian.AppendUint16(nil, uint16(cause.Code())), cause.Reason()...)
	return rfc6455.Append(nil, rfc6455.Close, payload)
}

// Ending is how a connection closes.
type Ending struct {
	Closing bool      // for good: the queue takes nothing more
	Cause   Cause     // is sent last; nil before Closing
	Dropped bool      // what was taken of the queue and is not written is left out
	Sent    bool      // the close frame is being written, or there is none
	Why     string    // for log lines
	By      time.Time // until when the rest must be written; zero if nothing is written any more
}

// State is how an Outbound is at one moment.
type State struct {
	Ending

	Written, Total int64  // bytes; while control frames are being written, Written is less than it could be
	Writes         uint64 // how many writes were begun
	Writing        bool   // something is being written
	CutOff         bool   // Cut was called
}
