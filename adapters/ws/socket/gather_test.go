package socket

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// writes is a connection that keeps what is written to it.
type writes struct {
	nowhere

	mu  sync.Mutex
	all [][]byte
}

func (w *writes) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, bytes.Clone(b))
	return len(b), nil
}

// said returns the lengths of the writes so far.
func (w *writes) said() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lengths []int
	for _, b := range w.all {
		lengths = append(lengths, len(b))
	}
	return lengths
}

var _ net.Conn = (*writes)(nil)

func TestGatheredFramesLeaveTogether(t *testing.T) {
	for what, c := range map[string]struct {
		limit int
		do    func(o *Outbound)
		want  []int // lengths of the writes
	}{
		"until the flush":         {1 << 20, func(o *Outbound) {}, nil},
		"at the flush":            {1 << 20, func(o *Outbound) { o.Gather(false) }, []int{3 * 102}},
		"not again":               {1 << 20, func(o *Outbound) { o.Gather(false); synctest.Wait(); o.Gather(false) }, []int{3 * 102}},
		"after it, one by one":    {1 << 20, func(o *Outbound) { o.Gather(false); synctest.Wait(); o.Send(xs(100)) }, []int{3 * 102, 102}},
		"once they fill a write":  {1 << 20, func(o *Outbound) { o.Send(xs(coalesce)) }, []int{3 * 102, coalesce + 4}},
		"or half of the queue":    {1000, func(o *Outbound) { o.Send(xs(200)) }, []int{3*102 + 204}},
		"with what is sent aside": {1 << 20, func(o *Outbound) { o.Pong("x") }, []int{3, 3 * 102}},
		"before the close frame":  {1 << 20, func(o *Outbound) { o.Close(restart, "") }, []int{3 * 102, len(CloseFrame(restart))}},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := &writes{}
			o := newOutbound(&Conn{Conn: conn}, c.limit)
			o.Gather(true)
			for range 3 {
				o.Send(xs(100))
			}
			c.do(o)
			synctest.Wait()
			if got := conn.said(); !slices.Equal(got, c.want) {
				t.Errorf("%s: the writes have %v bytes, want %v", what, got, c.want)
			}
		})
	}
}

func TestAFlushWithoutFramesStartsNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &writes{}
		o := newOutbound(&Conn{Conn: conn}, 1<<20)
		o.Gather(true)
		if o.Gather(false); o.writing {
			t.Error("it writes nothing")
		}
	})
}
