package application_test

import (
	"fmt"
	"math/rand/v2"
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
// have got everything addressed to it, and each connection nothing twice, in order within each conversation, replayed before
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
	s.history.window = random.IntN(5) // 0: as the server has it
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
			if _, at := frameAndPlace(what); at != "" {
				places = append(places, positionOf(at))
			}
		}
		d.confirmed = upTo
		// A place is confirmed for all that stands before it, and only for that: conversations take turns.
		for _, place := range places {
			for frame := range got[d.user] {
				if p := positionOf(frame); p.Partition == place.Partition && p.Offset <= place.Offset {
					safe[d.user][frame] = true
				}
			}
			for _, what := range d.conn.all()[:upTo] {
				frame, _ := frameAndPlace(what)
				if p := positionOf(frame); frame != "" && p.Partition == place.Partition && p.Offset <= place.Offset {
					safe[d.user][frame] = true
				}
			}
		}
		if len(places) > 0 {
			d.session.Received(places)
		}
	}
	leave := func(d *device) {
		checkDevice(t, s, d, got[d.user])
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

// positionOf returns the place that a frame stands for.
func positionOf(frame string) (p application.Position) {
	_, _ = fmt.Sscanf(frame, "%d/%d", &p.Partition, &p.Offset)
	return p
}

// checkDevice checks what one connection got, and notes it.
func checkDevice(t *testing.T, s *storing, d *device, got map[string]bool) {
	t.Helper()
	latest := map[domain.Conversation]int64{}
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
		at := positionOf(frame)
		conversation := s.log.all(at.Partition)[at.Offset].Body.Conversation()
		if last, ok := latest[conversation]; ok && at.Offset <= last {
			t.Fatalf("%d got %s after %d", d.user, frame, last)
		}
		latest[conversation] = at.Offset
		if _, own := what.(delivered); !own {
			got[frame] = true
		}
	}
}
