package httpconn

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// headBuffer is the size of the buffers that heads are read into. Longer heads get a larger one of their own.
const headBuffer = 2 << 10

var headBuffers = sync.Pool{New: func() any { b := make([]byte, 0, headBuffer); return &b }}

// input is what a connection has received and not handed out.
type input struct {
	unread []byte
	buffer *[]byte // unread lies in it, and it goes back to the pool; nil if it does not come from there
}

// take moves what there is to p, as far as it fits.
func (in *input) take(p []byte) int {
	n := copy(p, in.unread)
	if in.unread = in.unread[n:]; len(in.unread) == 0 {
		in.unread = nil
	}
	return n
}

// readHead reads until a whole head is there, of limit bytes at most, and checks it. unread begins with it, size bytes long.
// size is 0 if it is not whole.
func (in *input) readHead(from io.Reader, limit int) (h head, size int, refusal *Refusal, err error) {
	var seen scanned
	skipped := false
	for {
		end, refusal := seen.scan(in.unread)
		switch {
		case refusal != nil:
			return head{}, 0, refusal, nil
		case end > limit || end == 0 && len(in.unread) >= limit:
			return head{}, 0, &Refusal{
				http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("The head is longer than %d bytes.", limit),
			}, nil
		case end == len(crlf) && !skipped:
			// One empty line before a request is some old client's end of the request before (RFC 9112 §2.2).
			in.unread, skipped, seen = in.unread[end:], true, scanned{}
			continue
		case end > 0:
			h, refusal := parseHead(in.unread[:end])
			if h.slash > 0 {
				// The HTTP server gets the path that an empty one stands for (RFC 9110 §4.2.3).
				in.unread = slices.Insert(in.unread, h.slash, '/')
				end++
			}
			return h, end, refusal, nil
		}
		in.grow()
		n, err := from.Read(in.unread[len(in.unread):cap(in.unread)])
		in.unread = in.unread[:len(in.unread)+n]
		if err != nil && n == 0 {
			return head{}, 0, nil, err
		}
	}
}

// grow makes room for what is read next.
func (in *input) grow() {
	switch {
	case in.unread == nil:
		in.buffer = headBuffers.Get().(*[]byte)
		in.unread = (*in.buffer)[:0]
	case len(in.unread) == cap(in.unread):
		larger := make([]byte, len(in.unread), 2*cap(in.unread)+headBuffer)
		copy(larger, in.unread)
		in.unread = larger
	}
}

// release gives the buffer back. What was received of the next request gets one of its own.
func (in *input) release() {
	if len(in.unread) == 0 {
		in.unread = nil
	} else {
		in.unread = bytes.Clone(in.unread)
	}
	if in.buffer != nil {
		headBuffers.Put(in.buffer)
		in.buffer = nil
	}
}
