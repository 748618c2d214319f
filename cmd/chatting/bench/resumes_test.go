package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

// resumesOf is a run of four users, each of whom misses two messages of its own and two of its partner.
func resumesOf(s *chatServer) Resumes {
	r := Resumes{Target: s.target(), Users: 4, Missed: 2, Patience: time.Minute, Cut: func(int) {}}
	r.PIDs = []int{os.Getpid()}
	return r
}

func TestEverybodyComesBackAndGetsWhatWasMissed(t *testing.T) {
	s := newChatServer(t)
	cut := 0
	run := resumesOf(s)
	run.Cut = func(connections int) { cut = connections }
	r, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Fault() != nil || cut != 4 || s.logins != 8 || r.Login.Count != 4 || r.CaughtUp.Count != 4 || r.Missed != 4 || r.PerSec <= 0 ||
		len(r.Processes) != 1 {
		t.Errorf("%d cut, %d logins, fault %v: %+v", cut, s.logins, r.Fault(), r)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "who had missed 4 messages each") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestFaultsOfResumesAreCounted(t *testing.T) {
	for name, test := range map[string]struct {
		replay func(user int64, shown []string) ([]string, bool)
		want   string
	}{
		"twice":    {func(_ int64, shown []string) ([]string, bool) { return append([]string{shown[0]}, shown...), true }, "4 messages came twice"},
		"not":      {func(int64, []string) ([]string, bool) { return nil, false }, "4 clients could not take up where they stopped"},
		"some not": {func(user int64, shown []string) ([]string, bool) { return shown, user != 101 }, "1 clients could not take up"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newChatServer(t)
			s.replay = test.replay
			r, err := resumesOf(s).Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if fault := r.Fault(); fault == nil || !strings.Contains(fault.Error(), test.want) {
				t.Errorf("%v, want %s", fault, test.want)
			}
		})
	}
}

func TestAConnectionThatIsCutBeforeItsLoginIsOpenedAnew(t *testing.T) {
	s := newChatServer(t)
	logins := 0
	s.refuse = func(user int64) int {
		if user != 102 {
			return 0
		}
		if logins++; logins == 2 || logins == 3 { // the first is from before the cut
			return reset
		}
		return 0
	}
	r, err := resumesOf(s).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Fault() != nil || r.Again != 2 || r.Login.Count != 4 || r.CaughtUp.Count != 4 {
		t.Errorf("fault %v: %+v", r.Fault(), r)
	}
}

func TestWhatIsNotReplayedIsMissing(t *testing.T) {
	s := newChatServer(t)
	s.replay = func(user int64, shown []string) ([]string, bool) {
		if user == 102 {
			return shown[1:], true
		}
		return shown, true
	}
	run := resumesOf(s)
	run.Patience = 5 * time.Second // everything else is there already when the wait begins
	r, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Missing != 1 || r.CaughtUp.Count != 3 || r.Fault() == nil || !strings.Contains(r.Fault().Error(), "1 messages were not replayed") {
		t.Errorf("fault %v: %+v", r.Fault(), r)
	}
}

func TestUsersWhoAreRefusedEndTheRun(t *testing.T) {
	s := newChatServer(t)
	s.refuse = func(user int64) int {
		if user == 103 {
			return 1013
		}
		return 0
	}
	if _, err := resumesOf(s).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "user 3 of 4: the login was refused with close code 1013") {
		t.Error(err)
	}
}
