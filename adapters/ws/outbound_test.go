package ws

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/domain"
)

func TestSlowReaderIsClosedAndNobodyElseDelayed(t *testing.T) {
	f := serve(t, Options{QueueBytes: 256 << 10, Times: Times{Close: patience}}, newChat())
	slow, fast := f.login(t, 7), f.login(t, 8)
	slowConn, fastConn := f.chat.connectionOf(t, 7).(*connection), f.chat.connectionOf(t, 8)
	data := []byte(`{"message":"` + strings.Repeat("x", 16<<10) + `"}`)
	sent := 0
	for ; !slowConn.out.isClosing(); sent++ {
		slowConn.Deliver(data, "")
		fastConn.Deliver(fmt.Appendf(nil, `{"n":%d}`, sent), "")
		if got := fast.next()["n"]; got != float64(sent) {
			t.Fatalf("the fast one got %v instead of %d", got, sent)
		}
		if sent > 10_000 {
			t.Fatal("the queue has no bound")
		}
	}
	fast.send(`{"target_id":8,"message":"alive"}`)
	fast.next()
	// When it reads again, it finds whole frames and then why it was closed.
	received := 0
	for {
		_, got, err := slow.ReadMessage()
		if websocket.IsCloseError(err, 1013) {
			break
		}
		if err != nil {
			t.Fatalf("after %d frames: %v", received, err)
		}
		if !bytes.Equal(got, data) {
			t.Fatal("a frame was mangled")
		}
		received++
	}
	if received >= sent {
		t.Errorf("%d of %d frames came: nothing was dropped", received, sent)
	}
}

func TestReaderThatNeverReadsIsCut(t *testing.T) {
	f := serve(t, Options{QueueBytes: 64 << 10, Times: Times{Close: 50 * time.Millisecond}}, newChat())
	f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	data := []byte(strings.Repeat("x", 16<<10))
	eventually(t, "the session ends", func() bool {
		conn.Deliver(data, "")
		f.chat.mu.Lock()
		defer f.chat.mu.Unlock()
		return f.chat.ended == 1
	})
}

func TestIdleConnectionHasNoWriter(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	out := &f.chat.connectionOf(t, 7).(*connection).out
	for range 3 {
		c.send(`{"target_id":7,"message":"x"}`)
		c.next()
		eventually(t, "the writer ends", func() bool {
			state := out.State()
			return !state.Writing && state.Written == state.Total
		})
	}
}

func TestCloseWhileEverybodySendsEndsEachSessionOnce(t *testing.T) {
	f := serve(t, Options{Times: Times{Silence: time.Millisecond}}, newChat())
	for round := range 20 {
		c := f.login(t, round+1)
		conn := f.chat.connectionOf(t, domain.UserID(round+1))
		stop := make(chan struct{})
		senders := make(chan struct{}, 3)
		for range cap(senders) {
			go func() {
				defer func() { senders <- struct{}{} }()
				for {
					select {
					case <-stop:
						return
					default:
						conn.Deliver([]byte(`{"x":1}`), "")
					}
				}
			}()
		}
		go func() { _, _ = io.Copy(io.Discard, c.NetConn()) }()
		c.send(`{"target_id":1,"message":"x"}`)
		if round%2 == 0 {
			go conn.Close("hole")
		}
		_ = c.Close()
		eventually(t, "the session ends", func() bool {
			f.chat.mu.Lock()
			defer f.chat.mu.Unlock()
			return f.chat.ended == round+1
		})
		close(stop)
		for range cap(senders) {
			<-senders
		}
	}
}
