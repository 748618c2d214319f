package cluster

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"chatting/test/harness"
)

const blockedUsers = "/api/chatting/blockedusers/"

// A blocker on one node blocks and unblocks somebody who floods it over another node, and logs in again all the time.
// Where each block's record stands is found by a client that shares nothing with the server.
func TestNothingBehindABlockReachesTheBlockerOnAnyDevice(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, "CHATTING_LIMIT_FRAMES_PER_SECOND=300")
	pairs, rounds := 4, scaled(12, 250)
	var all sync.WaitGroup
	devices := make([][]*harness.Client, pairs)
	floods := make([]*harness.Client, pairs)
	for i := range pairs {
		blocker, flooder := 2*i+1, 2*i+2
		// The first device stays and keeps the blocker online.
		devices[i] = append(devices[i], connect(t, nodes[0], blocker), connect(t, nodes[1], blocker))
		floods[i] = connect(t, nodes[1], flooder)
		all.Go(func() {
			devices[i] = append(devices[i], blockAgainAndAgain(ctx, t, nodes, floods[i], blocker, rounds)...)
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}

	records := make(map[pair][]harness.Event)
	for _, event := range harness.ReadEvents(ctx, t, c.parts.Brokers, c.conversations()) {
		p := pairOf(event.Data.From, event.Data.To)
		records[p] = append(records[p], event)
	}
	hidden, shown := 0, 0
	for i := range pairs {
		behind := make(map[string]harness.Event) // the texts behind a block's record and before the unblock's
		sent := 0
		blocked, blocks := false, 0
		log := records[pairOf(2*i+1, 2*i+2)]
		for _, event := range log {
			switch event.Type {
			case harness.ChatEvent:
				if sent++; blocked {
					behind[event.Data.Message] = event
				}
			case harness.BlockEvent:
				blocked = true
				blocks++
			default:
				blocked = false
			}
		}
		if blocks < rounds || len(behind) < rounds || len(behind) == sent {
			t.Errorf("pair %d: %d blocks, %d texts, %d behind a block: that shows nothing", i, blocks, sent, len(behind))
		}
		hidden += len(behind)
		// What the blocker says last comes to its open devices behind all of that.
		marker := fmt.Sprintf("the last of %d", i)
		if err := devices[i][0].Send(2*i+2, marker); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, device := range devices[i] {
			if device.Err() != nil {
				continue // closed by this test
			}
			if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == marker }); err != nil && device.Err() == nil {
				t.Errorf("user %d on %s does not get %q: %v", device.User, device.Addr, marker, err)
			}
			open++
		}
		if open < 3 {
			t.Errorf("pair %d: the blocker has %d devices left", i, open)
		}
		for _, device := range devices[i] {
			for _, f := range device.Frames() {
				if f.Type != "chat_message" {
					continue
				}
				if f.From != device.User {
					shown++
				}
				if event, is := behind[f.Message]; is {
					t.Errorf("%q stands behind a block, at %d:%d, and reached user %d on %s", f.Message, event.Partition,
						event.Offset, device.User, device.Addr)
				}
			}
		}
		// The blocked user noticed nothing.
		last := log[len(log)-1].Data.Message
		if _, err := floods[i].Find(ctx, 0, func(f harness.Frame) bool { return f.Message == last }); err != nil {
			t.Errorf("user %d did not get its last echo: %v", floods[i].User, err)
		}
		echoes := 0
		for _, f := range floods[i].Frames() {
			if f.Type == "chat_message" && f.From == floods[i].User {
				echoes++
			}
		}
		if echoes != sent {
			t.Errorf("user %d got %d echoes of %d texts", floods[i].User, echoes, sent)
		}
	}
	if shown == 0 {
		t.Error("the blockers were shown nothing at all")
	}
	t.Logf("%d blocks; %d texts stand behind one, %d frames were shown to %d devices", pairs*rounds, hidden, shown, pairs*(rounds+2))
}

// blockAgainAndAgain blocks and unblocks the flooder, and returns the devices that logged in meanwhile.
func blockAgainAndAgain(
	ctx context.Context, t *testing.T, nodes []*harness.Node, flooder *harness.Client, blocker, rounds int,
) (devices []*harness.Client) {
	stop := make(chan struct{})
	var flooding sync.WaitGroup
	flooding.Go(func() {
		for n := 0; !isClosed(stop) && ctx.Err() == nil; n++ {
			if err := flooder.Send(blocker, fmt.Sprintf("%d.%d", flooder.User, n)); err != nil {
				t.Errorf("user %d: %v", flooder.User, err)
				return
			}
			harness.Pause(ctx, 4*time.Millisecond) // below the limit of frames a second
		}
	})
	defer flooding.Wait()
	defer close(stop)
	minted := token(t, blocker)
	progress := func() bool { // some more of the flood is in the log
		from := len(flooder.Frames())
		_, err := flooder.At(ctx, from+5)
		return err == nil
	}
	for round := range rounds {
		at := nodes[round%2*2].HTTP // by turns the nodes on which the flooder is not
		a, err := request(ctx, at, minted, http.MethodPost, blockedUsers, target(flooder.User))
		if err != nil || a.status != http.StatusCreated || !progress() {
			t.Errorf("round %d: blocking: %v %d %s", round, err, a.status, a.body)
			return devices
		}
		device, err := harness.Connect(nodes[(round+1)%3].HTTP, minted)
		if err != nil {
			t.Errorf("round %d: %v", round, err)
			return devices
		}
		devices = append(devices, device)
		if round >= 5 { // it has been there for some changes
			devices[round-5].Close()
		}
		if !progress() {
			t.Errorf("round %d: the flood does not go on", round)
		}
		if round == rounds-1 {
			break // blocked to the end
		}
		if a, err = request(ctx, at, minted, http.MethodDelete, blockedUsers, target(flooder.User)); err != nil ||
			a.status != http.StatusOK || !progress() {
			t.Errorf("round %d: unblocking: %v %d %s", round, err, a.status, a.body)
			return devices
		}
	}
	return devices
}
