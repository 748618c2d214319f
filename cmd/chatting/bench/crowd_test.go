package bench

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestEveryRoundLogsEverybodyIn(t *testing.T) {
	s := newChatServer(t)
	l := Logins{Target: s.target(), Users: 30, Rounds: 3}
	l.PIDs = []int{os.Getpid()}
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.logins != 90 || len(r.Rounds) != 3 || r.Fault() != nil {
		t.Errorf("%d logins, fault %v: %+v", s.logins, r.Fault(), r)
	}
	for _, round := range r.Rounds {
		if round.Logins != 30 || round.Login.Count != 30 || round.PerSec <= 0 || len(round.Processes) != 1 || round.Processes[0].ResidentMiB < 1 {
			t.Errorf("%+v", round)
		}
	}
}

func TestLoginsThatFailAreCountedByReason(t *testing.T) {
	s := newChatServer(t)
	s.refuse = func(user int64) int {
		if user%10 == 5 {
			return 1013
		}
		return 0
	}
	r, err := Logins{Target: s.target(), Users: 30, Rounds: 1}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reason := "the login was refused with close code 1013"
	if got := r.Rounds[0]; got.Logins != 27 || !maps.Equal(got.Failed, map[string]int64{reason: 3}) ||
		r.Fault() == nil || !strings.Contains(r.Fault().Error(), "3 logins of round 1 failed ("+reason+": 3)") {
		t.Errorf("%+v, fault %v", got, r.Fault())
	}
}

// TestEqualFailuresHaveOneReason: the client's own port, which differs, is no part of it.
func TestEqualFailuresHaveOneReason(t *testing.T) {
	s := newChatServer(t)
	s.refuse = func(int64) int { return reset }
	r, err := Logins{Target: s.target(), Users: 10, Rounds: 1}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Rounds[0].Failed; len(got) != 1 || sum(got) != 10 || !strings.Contains(list(got), "connection reset by peer") {
		t.Errorf("%v", got)
	}
}

func TestIdleConnectionsAreHeldUntilTheEnd(t *testing.T) {
	s := newChatServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i := Idle{Target: s.target(), Users: 30, Duration: time.Hour}
	i.PIDs = []int{os.Getpid()}
	held := 0
	i.Held = func(connections int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		held = len(s.sockets)
		s.close(s.sockets[110], 3409)
		cancel()
	}
	r, err := i.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if held != 30 || r.Connections != 30 || len(r.Processes) != 1 {
		t.Errorf("%d held: %+v", held, r)
	}
}

func TestSourcesAreTakenInTurn(t *testing.T) {
	s := newChatServer(t)
	i := Idle{Target: s.target(), Users: 6}
	i.Sources = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	from := map[string]int{}
	i.Held = func(int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, conn := range s.sockets {
			host, _, _ := strings.Cut(conn.RemoteAddr().String(), ":")
			from[host]++
		}
	}
	if _, err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(from, map[string]int{"127.0.0.2": 3, "127.0.0.3": 3}) {
		t.Errorf("%v", from)
	}
}

func TestTheUsageOfAProcessIsRead(t *testing.T) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Skip("this system has no /proc")
	}
	after := before
	for after.cpu < before.cpu+3*tick { // a busy loop shows up as CPU time
		if after, err = usageOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if before.resident < 1<<20 || before.resident > 1<<36 {
		t.Errorf("%d bytes resident", before.resident)
	}
	if _, err := usagesOf([]int{1 << 30}); err == nil || !strings.Contains(err.Error(), "cannot be measured") {
		t.Error(err)
	}
}
