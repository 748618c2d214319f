package application_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// device is one connection of a user, as its client sees it.
type device struct {
	user    domain.UserID
	conn    *conn
	session *application.Session
	// confirmed counts what conn got and its client has confirmed.
	confirmed int
}

// TestNothingIsLostDoubledOrOutOfOrderWhateverClientsAndNodesDo lets users chat, come with several devices, confirm some of
// what they got, vanish, and has the node crash. After that everybody comes once more: over all connections each user must
// have got everything addressed to it, and each connection nothing twice, in order within each partition, replayed before
// live; what was confirmed and saved must not be replayed.
func TestNothingIsLostDoubledOrOutOfOrderWhateverClientsAndNodesDo(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 5))) })
		})
	}
}

func runModel(t *testing.T, random *rand.Rand) {
	s := newStoring(t)
	users := []domain.UserID{201, 202, 203, 204}
	want := map[domain.UserID]map[string]bool{}
	got := map[domain.UserID]map[string]bool{}
	safe := map[domain.UserID]map[string]bool{} // confirmed by the client
	for _, user := range users {
		want[user], got[user], safe[user] = map[string]bool{}, map[string]bool{}, map[string]bool{}
	}
	var devices []*device
	login := func(user domain.UserID) *device {
		known := map[string]bool{}
		for frame := range safe[user] {
			known[frame] = true
		}
		c, session := s.in(t, user)
		synctest.Wait()
		for _, frame := range replayedTo(c) {
			if known[frame] {
				t.Fatalf("%d got %s again although it was confirmed and saved", user, frame)
			}
		}
		return &device{user: user, conn: c, session: session}
	}
	confirm := func(d *device, upTo int) {
		var places []application.Position
		for _, what := range d.conn.all()[d.confirmed:upTo] {
			frame, at := frameAndPlace(what)
			if at != "" {
				var p application.Position
				_, _ = fmt.Sscanf(at, "%d/%d", &p.Partition, &p.Offset)
				places = append(places, p)
			}
			if frame != "" {
				safe[d.user][frame] = true
			}
		}
		d.confirmed = upTo
		if len(places) > 0 {
			d.session.Received(places)
		}
	}
	leave := func(d *device) {
		checkDevice(t, d, got[d.user])
		d.session.Close()
		synctest.Wait()
	}
	for range 150 {
		switch n := random.IntN(20); {
		case n < 11:
			from, to := users[random.IntN(4)], users[random.IntN(4)]
			frame := s.chat(t, from, to)
			if from != to {
				want[to][frame] = true
			}
			if random.IntN(2) == 0 {
				synctest.Wait()
			}
		case n < 15:
			user := users[random.IntN(4)]
			mine := 0
			for _, d := range devices {
				if d.user == user {
					mine++
				}
			}
			if mine < 3 {
				devices = append(devices, login(user))
			}
		case n < 17 && len(devices) > 0:
			d := devices[random.IntN(len(devices))]
			synctest.Wait()
			confirm(d, d.confirmed+random.IntN(len(d.conn.all())-d.confirmed+1))
		case n < 19 && len(devices) > 0:
			i := random.IntN(len(devices))
			synctest.Wait()
			leave(devices[i])
			devices = append(devices[:i], devices[i+1:]...)
		case n == 19 && random.IntN(4) == 0:
			// Crash: sockets end, and what was not saved is gone. Half of the time there was time to save.
			synctest.Wait()
			if random.IntN(2) == 0 {
				time.Sleep(3 * time.Second)
			} else {
				for _, frames := range safe {
					clear(frames) // no promise
				}
			}
			s.history.mu.Lock()
			s.history.saving = errRefused
			s.history.mu.Unlock()
			for _, d := range devices {
				leave(d)
			}
			devices = nil
			s.stop()
			s.history.saving = nil
			s.restart(t)
		}
	}
	synctest.Wait()
	for _, d := range devices {
		leave(d)
	}
	for _, user := range users {
		leave(login(user))
		for frame := range want[user] {
			if !got[user][frame] {
				t.Fatalf("%d never got %s", user, frame)
			}
		}
		for frame := range got[user] {
			if !want[user][frame] {
				t.Fatalf("%d got %s, which is not for it", user, frame)
			}
		}
	}
}

// frameAndPlace returns the frame of others that a conn was given, and the place that is confirmed with it.
func frameAndPlace(what any) (frame, at string) {
	switch w := what.(type) {
	case deliveredAt:
		return w.frame, string(frameOf(w.at))
	case replayed:
		return w.frame, w.at
	default:
		return "", ""
	}
}

// checkDevice checks what one connection got, and notes it.
func checkDevice(t *testing.T, d *device, got map[string]bool) {
	t.Helper()
	latest := map[string]int{}
	live := false
	for i, what := range d.conn.all() {
		if _, first := what.(loggedIn); first != (i == 0) {
			t.Fatalf("%d got %v as number %d", d.user, what, i)
		}
		if _, before := what.(replayed); before && live {
			t.Fatalf("%d got a replayed frame after a live one", d.user)
		}
		frame, _ := frameAndPlace(what)
		if own, ok := what.(delivered); ok {
			frame = own.frame
		}
		if frame == "" {
			continue
		}
		if _, before := what.(replayed); !before {
			live = true
		}
		partition, offset, _ := strings.Cut(frame, "/")
		n := 0
		_, _ = fmt.Sscan(offset, &n)
		if last, ok := latest[partition]; ok && n <= last {
			t.Fatalf("%d got %s after %s/%d", d.user, frame, partition, last)
		}
		latest[partition] = n
		if _, own := what.(delivered); !own {
			got[frame] = true
		}
	}
}
