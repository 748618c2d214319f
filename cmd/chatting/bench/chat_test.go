package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// enough is how many messages of each user a test waits for.
const enough = 40

// chat runs two pairs (101 and 102, 103 and 104) against a server until everybody has sent enough. The first message is
// not handled before measuring has begun.
func (s *chatServer) chat(change func(c *Chat)) (*ChatReport, error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	measuring := make(chan struct{})
	var once sync.Once
	c := Chat{
		Target: s.target(), Pairs: 2, Window: 5, TextBytes: 64, Duration: time.Hour, Patience: time.Hour,
	}
	c.Progress = func(line string) {
		if strings.HasPrefix(line, "measuring") {
			once.Do(func() { close(measuring) })
		}
	}
	if change != nil {
		change(&c)
	}
	handle := s.handle
	s.handle = func(m sent) {
		select {
		case <-measuring:
		case <-s.t.Context().Done():
		}
		handle(m)
		if m.number < enough {
			return
		}
		for user := range int64(2 * c.Pairs) {
			if s.counts[101+user] < enough {
				return
			}
		}
		cancel()
	}
	return c.Run(ctx)
}

// faults are the counts of a report that must be zero.
func faults(r *ChatReport) map[string]int64 {
	all := map[string]int64{
		"unanswered": r.Unanswered, "undelivered": r.Undelivered, "doubled": r.Doubled, "reordered": r.Reordered,
		"disordered": r.Disordered, "strays": r.Strays,
	}
	maps.DeleteFunc(all, func(_ string, n int64) bool { return n == 0 })
	return all
}

func TestAGoodServerHasNoFaults(t *testing.T) {
	for _, mode := range []string{"closed loop", "open loop"} {
		t.Run(mode, func(t *testing.T) {
			s := newChatServer(t)
			s.handle = func(m sent) {
				s.write(m.from, `{"type":"send_status","from_id":102,"to_id":101,"status":"online"}`) // of no interest
				s.deliver(m)
			}
			r, err := s.chat(func(c *Chat) {
				if mode == "open loop" {
					c.Rate = 2000
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Mode != mode || len(faults(r)) > 0 || len(r.Errors) > 0 || len(r.Closed) > 0 || r.Fault() != nil {
				t.Errorf("%+v, fault %v", r, r.Fault())
			}
			if r.Sent < 4*enough || r.Echoed != r.Sent || r.Delivered != r.Sent || r.Messages < 4*enough-4*int64(5) || r.Messages > r.Sent {
				t.Errorf("%+v", r)
			}
			if r.Echo.Count == 0 || r.Delivery.Count != r.Echo.Count || r.Echo.Max <= 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestWhatAServerDoesWrongIsCounted(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	const k = 20 // the message of user 101 that it does wrong
	for name, row := range map[string]struct {
		wrong func(s *chatServer, m sent) // does with message k of user 101 ...
		next  func(s *chatServer, m sent) // and with k+1, if it matters
		want  map[string]int64
	}{
		"no echo and no delivery": {func(*chatServer, sent) {}, nil, map[string]int64{"unanswered": 1}},
		"no echo":                 {func(s *chatServer, m sent) { s.show(m.to, m) }, nil, map[string]int64{"unanswered": 1}},
		"no delivery":             {func(s *chatServer, m sent) { s.show(m.from, m) }, nil, map[string]int64{"undelivered": 1}},
		"two echoes":              {func(s *chatServer, m sent) { s.deliver(m); s.show(m.from, m) }, nil, map[string]int64{"doubled": 1}},
		"two deliveries":          {func(s *chatServer, m sent) { s.deliver(m); s.show(m.to, m) }, nil, map[string]int64{"doubled": 1}},
		"the wrong user":          {func(s *chatServer, m sent) { s.deliver(m); s.show(103, m) }, nil, map[string]int64{"strays": 1}},
		"a message that nobody sent": {
			func(s *chatServer, m sent) {
				s.deliver(m)
				mark := len(markOf(0))
				m.text = m.text[:mark+8] + "ffffffff" + m.text[mark+16:] // its number
				s.show(m.from, m)
			}, nil, map[string]int64{"strays": 1},
		},
		"an echo late": {
			func(s *chatServer, m sent) { s.show(m.to, m); s.late = m },
			func(s *chatServer, m sent) { s.deliver(m); s.show(m.from, s.late) },
			map[string]int64{"reordered": 1},
		},
		"a delivery late": {
			func(s *chatServer, m sent) { s.show(m.from, m); s.late = m },
			func(s *chatServer, m sent) { s.deliver(m); s.show(m.to, s.late) },
			map[string]int64{"reordered": 1},
		},
		"both late": {
			func(s *chatServer, m sent) { s.late = m },
			func(s *chatServer, m sent) { s.deliver(m); s.deliver(s.late) },
			map[string]int64{"reordered": 2},
		},
	} {
		s := newChatServer(t)
		s.handle = func(m sent) {
			switch {
			case m.from == 101 && m.number == k:
				row.wrong(s, m)
			case m.from == 101 && m.number == k+1 && row.next != nil:
				row.next(s, m)
			default:
				s.deliver(m)
			}
		}
		running.Go(func() {
			// Only what never comes is waited for. A machine that is short of processors may be silent for some seconds.
			r, err := s.chat(func(c *Chat) { c.Patience = 10 * time.Second })
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if !maps.Equal(faults(r), row.want) || len(r.Closed) > 0 {
				t.Errorf("%s: %v, want %v", name, faults(r), row.want)
			}
			for what := range row.want {
				word := map[string]string{"unanswered": "without an answer", "undelivered": "not delivered", "strays": "to the wrong user"}[what]
				if word == "" {
					word = what
				}
				if fault := r.Fault(); fault == nil || !strings.Contains(fault.Error(), word) {
					t.Errorf("%s: fault %v, want one with %q", name, fault, word)
				}
			}
		})
	}
}

// TestTwoUsersMustSeeOneOrder: each stream is in order, but 102 sees one of its own messages before one of 101 that 101 has seen first.
func TestTwoUsersMustSeeOneOrder(t *testing.T) {
	s := newChatServer(t)
	held := map[int64][]sent{}
	s.handle = func(m sent) {
		if m.from > 102 || m.number != 10 {
			s.deliver(m)
			return
		}
		// Both send on, because they have other messages under way.
		if held[m.from] = append(held[m.from], m); len(held) < 2 {
			return
		}
		a, b := held[101][0], held[102][0]
		for user, order := range map[int64][]sent{101: {a, b}, 102: {b, a}} {
			for _, m := range order {
				s.show(user, m)
			}
		}
	}
	r, err := s.chat(func(c *Chat) { c.Window = 1 }) // or a held message would be overtaken
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"disordered": 1}; !maps.Equal(faults(r), want) || r.Fault() == nil {
		t.Errorf("%v, want %v; %v", faults(r), want, r.Fault())
	}
}

func TestRefusalsAreCountedByCodeAndAreNoLoss(t *testing.T) {
	s := newChatServer(t)
	s.handle = func(m sent) {
		switch {
		case m.from == 101 && m.number%4 == 3:
			s.write(m.from, `{"type":"system_message","error":"Too fast.","code":"rate_limited","from_id":102,"to_id":101}`)
		case m.from == 102 && m.number == 7:
			s.write(m.from, `{"type":"system_message","error":"No User or Offline","from_id":101,"to_id":102}`)
		default:
			s.deliver(m)
		}
	}
	r, err := s.chat(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(faults(r)) > 0 || r.Fault() != nil || r.Errors["rate_limited"] < enough/4 || r.Errors["other"] != 1 || len(r.Errors) != 2 {
		t.Errorf("%+v, fault %v", r, r.Fault())
	}
	if r.Echoed+r.Errors["rate_limited"]+1 != r.Sent || r.Delivered != r.Echoed {
		t.Errorf("%+v", r)
	}
}

// TestAnUnconfirmedMessageMayStillCome: no other message is sent in its place, and its echo is no fault, however late.
func TestAnUnconfirmedMessageMayStillCome(t *testing.T) {
	s := newChatServer(t)
	const window = 5
	var held []sent // messages of 101 from the unconfirmed one on, while the others chat
	released := false
	s.handle = func(m sent) {
		switch {
		case m.from == 101 && m.number == 10:
			s.write(m.from, unconfirmed)
			held = append(held, m)
		case m.from == 101 && m.number > 10 && !released:
			held = append(held, m)
		default:
			s.deliver(m)
		}
		if released || len(held) == 0 || s.counts[102] < enough || s.counts[103] < enough || s.counts[104] < enough {
			return
		}
		released = true
		if len(held) != window {
			t.Errorf("%d messages are under way, want %d", len(held), window)
		}
		for _, m := range append(held[1:], held[0]) {
			s.deliver(m)
		}
	}
	r, err := s.chat(func(c *Chat) { c.Window = window })
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"reordered": 2}; !maps.Equal(faults(r), want) || r.Errors["unconfirmed"] != 1 || r.Echoed != r.Sent {
		t.Errorf("%v, want %v: %+v", faults(r), want, r)
	}
}

const unconfirmed = `{"type":"system_message","error":"Unknown.","code":"unconfirmed","from_id":102,"to_id":101}`

func TestARunWaitsForTheEchoOfAnUnconfirmedMessage(t *testing.T) {
	r := &chatRun{Chat: Chat{Rate: 1}}
	for i := range 2 {
		r.chatters = append(r.chatters, &chatter{client: &client{index: i}, run: r, refusals: map[string]int64{}})
	}
	c, partner := r.chatters[0], r.chatters[1]
	c.sent.Store(2)
	c.handleOther([]byte(strings.Replace(unconfirmed, "unconfirmed", "unavailable", 1)))
	c.handleOther([]byte(unconfirmed))
	if r.settled() {
		t.Error("the run does not wait for the echo")
	}
	c.echoed.Store(1)
	if r.settled() {
		t.Error("the run does not wait for the delivery")
	}
	partner.delivered.Store(1)
	if !r.settled() {
		t.Error("the run waits for more than there is")
	}
}

func TestAClosedConnectionIsAFault(t *testing.T) {
	s := newChatServer(t)
	closed := false
	s.handle = func(m sent) {
		switch {
		case !closed && m.from == 101 && m.number == enough/2:
			closed = true
			s.close(s.sockets[101], 1013)
		case closed && m.from == 101: // it was under way
		case closed:
			s.counts[101] = enough // nobody waits for more
			s.deliver(m)
		default:
			s.deliver(m)
		}
	}
	r, err := s.chat(nil) // and nobody waits for what it does not get
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(r.Closed, map[string]int64{"1013": 1}) || r.Undelivered > 0 || r.Fault() == nil ||
		!strings.Contains(r.Fault().Error(), "1 connections closed by the server (1013: 1)") {
		t.Errorf("%+v, fault %v", r, r.Fault())
	}
}

// TestAClosedLoopKeepsItsWindow: user 101 is not answered while the others chat on, and sends no more than its window
// meanwhile. When it is answered, it sends as many again.
func TestAClosedLoopKeepsItsWindow(t *testing.T) {
	s := newChatServer(t)
	const window = 5
	var held []sent
	released := false
	s.handle = func(m sent) {
		if m.from != 101 || released {
			s.deliver(m)
		} else {
			held = append(held, m)
		}
		if released || s.counts[102] < enough || s.counts[103] < enough || s.counts[104] < enough {
			return
		}
		released = true
		if len(held) != window {
			t.Errorf("%d messages are under way, want %d", len(held), window)
		}
		for _, m := range held {
			s.deliver(m)
		}
	}
	r, err := s.chat(func(c *Chat) { c.Window = window })
	if err != nil {
		t.Fatal(err)
	}
	if len(faults(r)) > 0 || !released {
		t.Errorf("%+v", r)
	}
}

func TestARefusedLoginEndsTheRun(t *testing.T) {
	s := newChatServer(t)
	s.refuse = func(user int64) int {
		if user == 103 {
			return 3401
		}
		return 0
	}
	if _, err := s.chat(nil); err == nil || err.Error() != "user 3 of 4: the login was refused with close code 3401" {
		t.Error(err)
	}
}

func TestARunThatIsInterruptedBeforeItMeasuresSaysSo(t *testing.T) {
	s := newChatServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := Chat{Target: s.target(), Pairs: 2, Window: 5, TextBytes: 64, Warmup: time.Hour, Duration: time.Hour, Patience: time.Minute}
	c.Progress = func(line string) {
		if strings.HasPrefix(line, "warming up") {
			cancel()
		}
	}
	if _, err := c.Run(ctx); !errors.Is(err, errCancelled) {
		t.Error(err)
	}
}

func TestAReportIsWrittenForPeopleAndPrograms(t *testing.T) {
	r := &ChatReport{
		Mode: "open loop", Pairs: 3, Rate: 1000, TextBytes: 64, Seconds: 10, Messages: 10000, PerSec: 1000, Echo: Latency{Count: 10000, P50: 1.25},
		SendLag: &Latency{}, Processes: []ProcessReport{{PID: 7, CPU: 36.8, ResidentMiB: 80}}, ClientCPU: 9, Sent: 10, Echoed: 9, Delivered: 8,
		Errors: map[string]int64{"unavailable": 2, "rate_limited": 1}, Closed: map[string]int64{},
	}
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1000 messages/s in all", "p50 1.25 ms", "client's own lag", "process 7", "36.8 µs of CPU a message", "rate_limited: 1, unavailable: 2",
		"10 sent, 9 echoed, 8 delivered",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "closed connections") {
		t.Errorf("%s", out.String())
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"messages_per_second":1000`, `"echo_ms":{"count":10000,`, `"cpu_us_each":36.8`, `"errors":{"rate_limited":1,"unavailable":2}`} {
		if !strings.Contains(string(encoded), want) {
			t.Errorf("%q is not in %s", want, encoded)
		}
	}
}
