package ws

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"chatting/adapters/ws/socket"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
)

// heldCheck waits with each message until the test says what becomes of it.
type heldCheck struct {
	came   chan messaging.ChatCommand
	decide chan func(messaging.ChatCommand) (messaging.ChatCommand, error)
	ended  chan struct{} // gets one when a connection closed meanwhile
}

func newHeldCheck() *heldCheck {
	return &heldCheck{
		make(chan messaging.ChatCommand), make(chan func(messaging.ChatCommand) (messaging.ChatCommand, error)), make(chan struct{}, 1),
	}
}

func (h *heldCheck) execute(ctx context.Context, command messaging.ChatCommand) (messaging.ChatCommand, error) {
	h.came <- command
	select {
	case decide := <-h.decide:
		return decide(command)
	case <-ctx.Done():
		h.ended <- struct{}{}
		return messaging.ChatCommand{}, domain.NewError(domain.CodeUnavailable, "ended")
	}
}

func passes(command messaging.ChatCommand) (messaging.ChatCommand, error) { return command, nil }

func rewrites(command messaging.ChatCommand) (messaging.ChatCommand, error) {
	var err error
	command.Text, err = domain.NewText("rewritten")
	return command, err
}

func refuses(messaging.ChatCommand) (messaging.ChatCommand, error) {
	return messaging.ChatCommand{}, domain.NewError(domain.CodeTextRefused, "No swearing.")
}

// serveChecked starts a server whose messages are checked, with user 7 logged in.
func serveChecked(t *testing.T) (*fixture, *client, *heldCheck) {
	t.Helper()
	check, chat := newHeldCheck(), newChat()
	chat.check = check.execute
	f := serve(t, Options{}, chat)
	return f, f.login(t, 7), check
}

func TestWhatAConnectionSendsKeepsItsOrderWhileAMessageIsChecked(t *testing.T) {
	f, c, check := serveChecked(t)
	c.send(`{"target_id":7,"message":"one"}`)
	c.send(`{"target_id":7,"type":"invite_game","status":"invite"}`)
	c.send(`{"target_id":7,"message":"two","client_msg_id":"m2"}`)
	c.send(`{"target_id":7,"message":"three"}`)
	if got := <-check.came; got.Text.String() != "one" || got.Sender != 7 || got.Target != 7 {
		t.Errorf("%+v is checked", got)
	}
	// Meanwhile the client's silence is the server's doing, and nothing was sent.
	if !f.chat.connectionOf(t, 7).(*connection).reading.IsPaused() {
		t.Error("the keeper would close the connection")
	}
	f.chat.mu.Lock()
	if len(f.chat.sent) != 0 {
		t.Errorf("%v was sent", f.chat.sent)
	}
	f.chat.mu.Unlock()
	check.decide <- rewrites
	if got := <-check.came; got.Text.String() != "two" {
		t.Errorf("%+v is checked", got)
	}
	check.decide <- refuses
	<-check.came
	check.decide <- passes
	if got := c.next(); got["message"] != "rewritten" {
		t.Errorf("got %v", got)
	}
	if got := c.next(); got["type"] != "invite_game" {
		t.Errorf("got %v", got)
	}
	if got := c.next(); got["code"] != "text_refused" || got["error"] != "No swearing." || got["client_msg_id"] != "m2" || got["from_id"] != 7.0 {
		t.Errorf("got %v", got)
	}
	if got := c.next(); got["message"] != "three" {
		t.Errorf("got %v", got)
	}
	if f.chat.connectionOf(t, 7).(*connection).reading.IsPaused() {
		t.Error("the connection is still paused")
	}
}

func TestACheckHoldsUpNoOtherConnection(t *testing.T) {
	f, c, check := serveChecked(t)
	other := f.login(t, 8)
	c.send(`{"target_id":8,"message":"slow"}`)
	<-check.came
	other.send(`{"target_id":8,"message":"fast"}`)
	<-check.came
	// Whichever of the two takes it, the other one still waits.
	check.decide <- passes
	check.decide <- passes
	got := []any{other.next()["message"], other.next()["message"]}
	if got[0] == got[1] {
		t.Errorf("got %v", got)
	}
}

func TestAMessageIsNotSentIfItsConnectionClosesWhileItIsChecked(t *testing.T) {
	f, c, check := serveChecked(t)
	c.send(`{"target_id":7,"message":"one"}`)
	<-check.came
	f.chat.connectionOf(t, 7).Close(port.CloseReplaced)
	<-check.ended
	if code := c.closed(); code != 3409 {
		t.Errorf("closed with %d", code)
	}
	eventually(t, "the session ends", func() bool { return !f.chat.isOnline(7) })
	f.chat.mu.Lock()
	defer f.chat.mu.Unlock()
	if len(f.chat.sent) != 0 {
		t.Errorf("%v was sent", f.chat.sent)
	}
}

func TestAMessageThatIsCheckedWhenTheNodeLeavesIsAnsweredBeforeTheCloseFrame(t *testing.T) {
	f, c, check := serveChecked(t)
	c.send(`{"target_id":7,"message":"one"}`)
	<-check.came
	ended := f.shutdown(t.Context())
	eventually(t, "the wave comes", func() bool { return f.leaving(t, 7) })
	c.send(`{"target_id":7,"message":"too late"}`)
	check.decide <- passes
	if got := c.next(); got["message"] != "one" {
		t.Errorf("got %v", got)
	}
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// sendsNothing is a Messages.
type sendsNothing struct{}

func (sendsNothing) Execute(messaging.ChatCommand, func(error)) {}

// requestsTo returns the requests of a connection without a socket.
func requestsTo(check checkOf) *requests {
	server := &Server{deps: Deps{Messages: sendsNothing{}, Bytes: ledger.NewByteLedger(0, 0, time.Now)}}
	if check != nil {
		server.deps.Checks = check
	}
	c := &connection{}
	c.init(server, &socket.Conn{Conn: nowhere{}}, netip.Addr{})
	return &requests{conn: c}
}

// BenchmarkCheck compares what a message costs between its parsing and its use case, without a check and with one that passes at
// once. Without one it must cost no allocation.
func BenchmarkCheck(b *testing.B) {
	for name, check := range map[string]checkOf{"off": nil, "on": func(_ context.Context, c messaging.ChatCommand) (messaging.ChatCommand, error) {
		return c, nil
	}} {
		b.Run(name, func(b *testing.B) {
			r := requestsTo(check)
			command := messaging.ChatCommand{Sender: 7, Target: 8, ClientMessageID: "m1"}
			done := func(error) {}
			b.ReportAllocs()
			for b.Loop() {
				r.send(command, done)
			}
		})
	}
}

func TestAServerWithoutACheckAllocatesNothingForOne(t *testing.T) {
	r := requestsTo(nil)
	command := messaging.ChatCommand{Sender: 7, Target: 8, ClientMessageID: "m1"}
	done := func(error) {}
	if n := testing.AllocsPerRun(100, func() { r.send(command, done) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
