package application_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
	"chatting/test/porttest"
)

// device is one connection of a user, as its client sees it.
type device struct {
	user    domain.UserID
	conn    *porttest.Conn
	session *application.LoggedIn
	// confirmed counts what conn got and its client has confirmed.
	confirmed int
}

// TestNothingIsLostDoubledOrOutOfOrderWhateverClientsAndNodesDo lets users chat, come with several devices, confirm some of
// what they got, vanish, and has the node crash. After that everybody comes once more: over all connections each user must
// have got everything addressed to it, and each connection nothing twice, in order within each conversation, replayed before
// live; what was confirmed and saved must not be replayed. In half of the runs the history lags, or stands still; in some of
// those it is too far behind for a login to get everything at once.
func TestNothingIsLostDoubledOrOutOfOrderWhateverClientsAndNodesDo(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 5))) })
		})
	}
}

func runModel(t *testing.T, random *rand.Rand) {
	s := newStoring(t)
	s.history.Window = random.IntN(5) // 0: as the server has it
	lags := random.IntN(2) == 0
	if lags && random.IntN(3) == 0 {
		s.past.Records = 3
	}
	if random.IntN(2) == 0 {
		s.past.AtOnce = 1 + random.IntN(4)
	}
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
			if known[frame] && s.past.Records == 0 {
				t.Fatalf("%d got %s again although it was confirmed and saved", user, frame)
			}
		}
		return &device{user: user, conn: c, session: session}
	}
	confirm := func(d *device, upTo int) {
		var places []domain.Place
		for _, what := range d.conn.All()[d.confirmed:upTo] {
			if _, at := frameAndPlace(what); at != "" {
				places = append(places, porttest.PositionOf(at))
			}
		}
		d.confirmed = upTo
		// A place is confirmed for all that stands before it, and only for that: conversations take turns.
		for _, place := range places {
			for frame := range got[d.user] {
				if p := porttest.PositionOf(frame); p.Partition == place.Partition && p.Offset <= place.Offset {
					safe[d.user][frame] = true
				}
			}
			for _, what := range d.conn.All()[:upTo] {
				frame, _ := frameAndPlace(what)
				if p := porttest.PositionOf(frame); frame != "" && p.Partition == place.Partition && p.Offset <= place.Offset {
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
		if lags && random.IntN(10) == 0 {
			s.project(random)
		}
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
			confirm(d, d.confirmed+random.IntN(len(d.conn.All())-d.confirmed+1))
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
			s.history.Mu.Lock()
			s.history.Saving = porttest.ErrRefused
			s.history.Mu.Unlock()
			for _, d := range devices {
				leave(d)
			}
			devices = nil
			s.stop()
			s.history.Saving = nil
			s.restart(t)
		}
	}
	synctest.Wait()
	for _, d := range devices {
		leave(d)
	}
	s.history.Mu.Lock()
	clear(s.history.Behind)
	s.history.Mu.Unlock()
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

// project has the history follow one partition up to some place, where it stands still.
func (s *storing) project(random *rand.Rand) {
	partition := random.IntN(len(s.log.Records))
	end := int64(len(s.log.All(partition)))
	s.history.Mu.Lock()
	defer s.history.Mu.Unlock()
	at, behind := s.history.Behind[partition]
	if !behind {
		at = end
	}
	s.history.Behind[partition] = at + random.Int64N(end-at+1)
}

// frameAndPlace returns the frame of others that a conn was given, and the place that is confirmed with it.
func frameAndPlace(what any) (frame, at string) {
	switch w := what.(type) {
	case porttest.DeliveredAt:
		return w.Frame, string(porttest.FrameOf(w.At))
	case porttest.Replayed:
		return w.Frame, w.At
	default:
		return "", ""
	}
}

// checkDevice checks what one connection got, and notes it.
func checkDevice(t *testing.T, s *storing, d *device, got map[string]bool) {
	t.Helper()
	latest := map[domain.Conversation]int64{}
	live := false
	for i, what := range d.conn.All() {
		if _, first := what.(porttest.LoggedIn); first != (i == 0) {
			t.Fatalf("%d got %v as number %d", d.user, what, i)
		}
		if _, before := what.(porttest.Replayed); before && live {
			t.Fatalf("%d got a replayed frame after a live one", d.user)
		}
		frame, _ := frameAndPlace(what)
		if own, ok := what.(porttest.Delivered); ok {
			frame = own.Frame
		}
		if frame == "" {
			continue
		}
		if _, before := what.(porttest.Replayed); !before {
			live = true
		}
		at := porttest.PositionOf(frame)
		conversation := s.log.All(at.Partition)[at.Offset].Body.Conversation()
		if last, ok := latest[conversation]; ok && at.Offset <= last {
			t.Fatalf("%d got %s after %d", d.user, frame, last)
		}
		latest[conversation] = at.Offset
		if _, own := what.(porttest.Delivered); !own {
			got[frame] = true
		}
	}
}
