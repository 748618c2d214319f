package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"chatting/cmd/chatting/logging"
)

// every is how often progress is told where no line can be redrawn.
const every = 5 * time.Second

// Progress tells how far a command is: on a terminal in one line that is redrawn, elsewhere in a line every few seconds. It is safe
// for concurrent use. A nil Progress tells nothing.
type Progress struct {
	now    func() time.Time
	redraw bool

	mu    sync.Mutex
	out   io.Writer
	last  time.Time // when a line was written where none is redrawn
	drawn bool      // a line stands there that is to be redrawn
}

// NewProgress returns the progress of a command that begins now. It tells nothing if quiet, and nothing to what is no file: nobody
// watches that.
func NewProgress(out io.Writer, quiet bool) *Progress {
	if _, file := out.(*os.File); quiet || !file {
		return nil
	}
	return newProgress(out, logging.IsTerminal(out), time.Now)
}

func newProgress(out io.Writer, redraw bool, now func() time.Time) *Progress {
	return &Progress{now: now, redraw: redraw, out: out, last: now()}
}

// Show tells how far the command is.
func (p *Progress) Show(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if p.redraw {
		fmt.Fprint(p.out, toLineStart+line)
		p.drawn = true
		return
	}
	if at := p.now(); at.Sub(p.last) >= every {
		p.last = at
		fmt.Fprintln(p.out, line)
	}
}

// Clear takes the line away, so that something else can be written. It must be called before the command writes and when it ends.
func (p *Progress) Clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.out, toLineStart)
		p.drawn = false
	}
}

// toLineStart goes to the start of the line and erases it (ECMA-48 §8.3.41).
const toLineStart = "\r\x1b[K"
