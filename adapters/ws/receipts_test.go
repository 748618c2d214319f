package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/ws/socket"
	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/domain"
)

// receivedBy returns all that was confirmed to the sessions of user, open or not, in order.
func (c *chat) receivedBy(user domain.UserID) [][]domain.Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if s.user == user {
			return slices.Clone(s.received)
		}
	}
	return nil
}

// awaitReceived waits until the last thing confirmed to user is at.
func (f *fixture) awaitReceived(t *testing.T, user domain.UserID, at ...domain.Place) {
	t.Helper()
	eventually(t, fmt.Sprint(at, " is confirmed"), func() bool {
		got := f.chat.receivedBy(user)
		return len(got) > 0 && slices.Equal(got[len(got)-1], at)
	})
}

func at(partition int, offset int64) domain.Place {
	return domain.Place{Partition: partition, Offset: offset}
}

// readOn reads, and so answers pings, until the connection ends.
func (c *client) readOn() {
	go func() {
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}()
}

// manual makes the client answer pings only when told to, and returns those that asked something.
func (c *client) manual() (pings func() []string, answer func(string)) {
	var got []string
	c.SetPingHandler(func(data string) error {
		if data != "" {
			got = append(got, data)
		}
		return nil
	})
	return func() []string { return got }, func(data string) {
		if err := c.WriteMessage(websocket.PongMessage, []byte(data)); err != nil {
			c.t.Fatal(err)
		}
	}
}

func TestAClientIsAskedForReceiptsAndItsPongConfirmsWhatStoodBefore(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Millisecond}}, newChat())
	c := f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	conn.DeliverAt([]byte(`{"n":1}`), at(3, 10))
	conn.DeliverAt([]byte(`{"n":2}`), at(3, 11))
	c.readOn()
	f.awaitReceived(t, 7, at(3, 11))
	eventually(t, "nothing is kept of what is confirmed", func() bool {
		inner := conn.(*connection)
		inner.receipts.mu.Lock()
		defer inner.receipts.mu.Unlock()
		return inner.receipts.open == nil
	})
}

func TestNobodyIsAskedBeforeItsTimeOrWithoutAReason(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	c := f.login(t, 7)
	pings, _ := c.manual()
	conn := f.chat.connectionOf(t, 7)
	conn.DeliverAt([]byte(`{"n":1}`), at(3, 10))
	conn.Deliver([]byte(`{"n":2}`), "")
	conn.Replay([]delivery.Replayed{{Frame: []byte(`{"n":3}`)}})
	for range 3 {
		c.next()
	}
	inner := conn.(*connection)
	inner.keep(socket.Elapsed())
	conn.Deliver([]byte(`{"n":4}`), "")
	c.next()
	// Replay asks at once, for what was noted before as well.
	if got := pings(); len(got) != 1 {
		t.Fatalf("%d pings", len(got))
	}
	conn.DeliverAt([]byte(`{"n":5}`), at(3, 11))
	inner.keep(socket.Elapsed())
	conn.Deliver([]byte(`{"n":6}`), "")
	c.next()
	c.next()
	if got := pings(); len(got) != 1 {
		t.Fatalf("%d pings", len(got))
	}
}

func TestAPlaceWithoutAFrameIsConfirmedWithWhatStoodBefore(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	c := f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	conn.Replay([]delivery.Replayed{{Frame: []byte(`{"n":1}`)}, {At: &domain.Place{Partition: 3, Offset: 9}}})
	if _, data, err := c.ReadMessage(); err != nil || string(data) != `{"n":1,"replayed":true}` {
		t.Fatalf("got %s, %v", data, err)
	}
	conn.Deliver([]byte(`{"n":2}`), "")
	if _, data, err := c.ReadMessage(); err != nil || string(data) != `{"n":2}` {
		t.Fatalf("got %s, %v", data, err)
	}
	c.readOn()
	f.awaitReceived(t, 7, at(3, 9))
}

func TestAPongConfirmsNothingThatWasSentAfterItsPing(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	c := f.login(t, 7)
	pings, answer := c.manual()
	conn := f.chat.connectionOf(t, 7)
	for n := range 3 {
		conn.Replay([]delivery.Replayed{
			{Frame: []byte(`{"n":0}`), At: &domain.Place{Partition: 1, Offset: int64(n)}},
			{Frame: []byte(`{"n":0}`), At: &domain.Place{Partition: 2, Offset: int64(n)}},
		})
		c.next()
		c.next()
	}
	conn.DeliverAt([]byte(`{"n":0}`), at(1, 99))
	c.next()
	if len(pings()) != 3 {
		t.Fatalf("%d pings", len(pings()))
	}
	answer("forged 8")
	answer("")
	answer(pings()[1]) // instead of the first, too (RFC 6455 §5.5.3)
	f.awaitReceived(t, 7, at(1, 1), at(2, 1))
	answer(pings()[0])
	answer(pings()[2])
	f.awaitReceived(t, 7, at(1, 2), at(2, 2))
	if got := f.chat.receivedBy(7); len(got) != 2 {
		t.Fatalf("confirmed: %v", got)
	}
}

func TestAClientsCloseConfirmsWhatWasWrittenBefore(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	for _, code := range []int{1000, 1001, 4000} {
		c := f.login(t, code)
		c.manual()
		conn := f.chat.connectionOf(t, domain.UserID(code))
		conn.Replay([]delivery.Replayed{{Frame: []byte(`{"n":0}`), At: &domain.Place{Partition: 1, Offset: 1}}})
		conn.DeliverAt([]byte(`{"n":0}`), at(2, 2))
		c.next()
		c.next()
		conn.(*connection).out.awaitWriter()
		if err := c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "")); err != nil {
			t.Fatal(err)
		}
		if got := c.closed(); got != 1000 {
			t.Fatalf("closed with %d", got)
		}
		// It is noted before the client can know that it was closed.
		if got := f.chat.receivedBy(domain.UserID(code)); len(got) != 1 || !slices.Equal(got[0], []domain.Place{at(1, 1), at(2, 2)}) {
			t.Fatalf("confirmed: %v", got)
		}
	}
}

func TestALostConnectionConfirmsNothing(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	c := f.login(t, 7)
	f.chat.connectionOf(t, 7).DeliverAt([]byte(`{"n":0}`), at(1, 1))
	c.next()
	_ = c.Conn.Close()
	f.awaitEnded(t, 1)
	if got := f.chat.receivedBy(7); len(got) != 0 {
		t.Fatalf("confirmed: %v", got)
	}
}

func (f *fixture) awaitEnded(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the session ends", func() bool {
		f.chat.mu.Lock()
		defer f.chat.mu.Unlock()
		return f.chat.ended == n
	})
}

func TestAnAnswerToTheServersCloseConfirmsEverythingAndACrossingOneDoesNot(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	for i, code := range []int{1012, 1001} {
		user := domain.UserID(code)
		c := f.login(t, code)
		c.SetCloseHandler(func(int, string) error {
			return c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
		})
		conn := f.chat.connectionOf(t, user)
		conn.DeliverAt([]byte(`{"n":0}`), at(1, 1))
		conn.Close(port.CloseRestart)
		conn.DeliverAt([]byte(`{"n":0}`), at(1, 2)) // too late
		c.next()
		if got := c.closed(); got != 1012 {
			t.Fatalf("closed with %d", got)
		}
		_ = c.Conn.Close()
		f.awaitEnded(t, i+1)
		got := f.chat.receivedBy(user)
		if answered := code == 1012; answered != (len(got) == 1 && slices.Equal(got[0], []domain.Place{at(1, 1)})) {
			t.Fatalf("answered with %d: confirmed %v", code, got)
		}
	}
}

func TestWhatWasDroppedIsNotConfirmed(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour, Close: patience}, QueueBytes: 256 << 10}, newChat())
	c := f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	data := []byte(`{"x":"` + strings.Repeat("x", 16<<10) + `"}`)
	for n := int64(0); !conn.(*connection).out.isClosing(); n++ {
		conn.DeliverAt(data, at(1, n))
	}
	c.SetCloseHandler(nil) // answers with the same code
	c.closed()
	_ = c.Conn.Close()
	f.awaitEnded(t, 1)
	if got := f.chat.receivedBy(7); len(got) != 0 {
		t.Fatalf("confirmed: %v", got)
	}
}

func TestABacklogLargerThanTheQueueGetsThroughAtTheReadersPace(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Millisecond}, QueueBytes: 128 << 10, FramesPerSecond: 5}, newChat())
	c := f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	const frames = 1000
	text := strings.Repeat("x", 4<<10)
	failed := make(chan error, 1)
	go func() {
		for n := range frames {
			data := fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, text)
			if err := conn.AwaitRoom(context.Background(), len(data)); err != nil {
				failed <- err
				return
			}
			conn.Replay([]delivery.Replayed{{Frame: data, At: &domain.Place{Partition: 1, Offset: int64(n)}}})
		}
		failed <- nil
	}()
	for n := range frames {
		var got struct {
			N        int  `json:"n"`
			Replayed bool `json:"replayed"`
		}
		_, data, err := c.ReadMessage()
		if err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		if err := json.Unmarshal(data, &got); err != nil || got.N != n || !got.Replayed {
			t.Fatalf("number %d is %v (%v)", n, got, err)
		}
		if n == frames/2 {
			eventually(t, "something is confirmed half-way", func() bool { return len(f.chat.receivedBy(7)) > 0 })
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	c.readOn()
	f.awaitReceived(t, 7, at(1, frames-1))
}

func TestWhoWaitsForRoomIsToldWhenThereWillBeNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStuck(t, Options{QueueBytes: 1000})
		s.Deliver(xs(496), "") // half of the queue with its header
		s.gets(1)
		if err := s.AwaitRoom(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := s.AwaitRoom(ctx, 1); err == nil {
			t.Fatal("there is room although ctx ended")
		}
		time.AfterFunc(10*time.Millisecond, func() { s.Close(port.CloseRestart) })
		if err := s.AwaitRoom(t.Context(), 1); err == nil {
			t.Fatal("there is room although the connection is closing")
		}
	})
}

func TestQuestionsWithoutAnswerHaveABound(t *testing.T) {
	f := serve(t, Options{Times: Times{Receipt: time.Hour}}, newChat())
	c := f.login(t, 7)
	pings, answer := c.manual()
	conn := f.chat.connectionOf(t, 7)
	const frames = 100
	for n := range frames {
		conn.Replay([]delivery.Replayed{{Frame: []byte(`{"n":0}`), At: &domain.Place{Partition: 1, Offset: int64(n)}}})
		c.next()
	}
	if got := len(pings()); got != maxQuestions {
		t.Fatalf("%d pings", got)
	}
	answer(pings()[maxQuestions-1])
	f.awaitReceived(t, 7, at(1, maxQuestions-1))
	conn.Replay([]delivery.Replayed{{Frame: []byte(`{"n":0}`)}})
	conn.Deliver([]byte(`{"n":0}`), "")
	c.next()
	c.next()
	answer(pings()[maxQuestions])
	f.awaitReceived(t, 7, at(1, frames-1))
}
