package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"chatting/test/harness"
)

// traveller is a device of a user: it connects to any node, breaks off at any time, and takes up where it stopped.
type traveller struct {
	user    int
	token   string // that it takes up with; "" at first
	client  *harness.Client
	taken   int             // frames of client that it has looked at
	saw     []string        // texts, in the order in which they came
	ids     map[string]bool // of what it saw
	resumed map[bool]int    // how often it recovered, or did not
	again   int             // how often it saw an event again
}

func newTraveller(user int) *traveller {
	return &traveller{user: user, ids: make(map[string]bool), resumed: make(map[bool]int)}
}

// connect logs in on a node that lives, as often as it takes.
func (d *traveller) connect(ctx context.Context, t *testing.T, node func() *harness.Node) {
	t.Helper()
	first := map[string]any{"token": token(t, d.user), "features": []string{"resume"}}
	if d.token != "" {
		first["resume"] = d.token
	}
	var failed error
	for ctx.Err() == nil {
		var client *harness.Client
		client, failed = harness.ConnectWith(node().HTTP, first)
		if failed != nil {
			harness.Pause(ctx, beat/10)
			continue
		}
		t.Cleanup(client.Close)
		d.client, d.taken = client, 1
		answer := client.Frames()[0]
		if d.token != "" && answer.Recovered == nil {
			t.Errorf("user %d named a token, and is told %+v", d.user, answer)
		}
		if answer.Recovered != nil {
			d.resumed[*answer.Recovered]++
		}
		d.token = answer.Resume
		return
	}
	t.Fatalf("user %d cannot log in: %v", d.user, failed)
}

// look takes up to n of the frames that came.
func (d *traveller) look(n int) {
	for _, f := range d.client.Frames()[d.taken:] {
		if n--; n < 0 {
			return
		}
		d.taken++
		if f.Resume == "" {
			continue
		}
		d.token = f.Resume
		if f.Type != "chat_message" {
			continue
		}
		if d.ids[f.ID] {
			d.again++
			continue
		}
		d.ids[f.ID] = true
		d.saw = append(d.saw, f.Message)
	}
}

// await looks at frames until a text has come.
func (d *traveller) await(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	if !slices.Contains(d.saw, text) {
		if _, err := d.client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
			t.Errorf("user %d waits for %q: %v", d.user, text, err)
		}
	}
	d.look(len(d.client.Frames()))
}

// Devices break off and take up again, on any node, while nodes are killed. Everything that was echoed is on the screen of each of
// them in the end, once and in the order of its sender, in either mode.
func TestDevicesTakeUpWhileNodesAreKilled(t *testing.T) {
	for _, mode := range []string{"reject", "store"} {
		t.Run(mode, func(t *testing.T) {
			takeUpThroughKills(t, "CHATTING_CHAT_OFFLINE="+mode, "CHATTING_LIMIT_FRAMES_PER_SECOND=0")
		})
	}
}

func takeUpThroughKills(t *testing.T, settings ...string) {
	const users, kills = 4, 2
	rounds := scaled(30, 300)
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, settings...)
	stays := nodes[0]
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(14, 1))
	anywhere := func() *harness.Node {
		mu.Lock()
		defer mu.Unlock()
		return nodes[random.IntN(len(nodes))]
	}
	// Each user has a device that stays, so that it is online, and one that travels.
	var devices []*traveller
	for user := 101; user <= 100+users; user++ {
		connect(t, stays, user)
		d := newTraveller(user)
		d.connect(ctx, t, anywhere)
		devices = append(devices, d)
	}
	sender := connect(t, stays, 1)
	var texts []string
	for round := range rounds {
		for _, d := range devices {
			text := fmt.Sprintf("round %d to %d", round, d.user)
			if err := sender.SendNamed(d.user, text, text[:min(len(text), 64)]); err != nil {
				t.Fatal(err)
			}
			if _, err := sender.Find(ctx, len(texts), func(f harness.Frame) bool { return f.Message == text || f.Error != "" }); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
			switch random.IntN(3) {
			case 0: // it breaks off, having seen some
				d.look(random.IntN(4))
				d.client.Close()
				d.connect(ctx, t, anywhere)
			case 1:
				d.look(random.IntN(4))
			}
		}
		if round%(rounds/kills) == rounds/kills-1 && len(nodes) > 1 {
			mu.Lock()
			killed := nodes[len(nodes)-1]
			nodes = nodes[:len(nodes)-1]
			mu.Unlock()
			killed.Kill()
			for _, d := range devices {
				if d.client.Addr == killed.HTTP {
					d.look(len(d.client.Frames()))
					d.connect(ctx, t, anywhere)
				}
			}
		}
	}
	for _, d := range devices {
		last := fmt.Sprintf("round %d to %d", rounds-1, d.user)
		d.await(ctx, t, last)
		d.client.Close()
		d.connect(ctx, t, anywhere)
		var want []string
		for round := range rounds {
			want = append(want, fmt.Sprintf("round %d to %d", round, d.user))
		}
		if !slices.Equal(d.saw, want) || d.again > 0 || d.resumed[false] > 0 || d.resumed[true] == 0 {
			t.Errorf("user %d saw %d of %d texts, %d again, after it recovered %d times, and %d times not:\n%q",
				d.user, len(d.saw), len(want), d.again, d.resumed[true], d.resumed[false], d.saw)
		}
	}
}
