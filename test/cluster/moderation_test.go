package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// partitions is how many the topics have.
const partitions = 16

// actEvent is an event of the log: a text, or an act with its version.
type actEvent struct {
	Type string
	Acts int64 `json:",string"` // of a text: the newest act that its sender's login knew
	Data struct {
		Message, Act string
		From         int `json:"from_id"`
		To           int `json:"to_id"`
		User         int `json:"user_id"`
		Version      int64
	}

	partition int32
}

// readActs reads the conversations: those of a partition in their order.
func (c *cluster) readActs(ctx context.Context) (events []actEvent) {
	c.t.Helper()
	for _, r := range harness.ReadTopic(ctx, c.t, c.parts.Brokers, c.conversations()) {
		event := actEvent{partition: r.Partition}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			c.t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// kept returns which texts of a user to a partner take effect by what the log says, and which do not, both in the order of the log. It
// knows nothing of the server.
func kept(events []actEvent, user, partner int) (shown, hidden []string) {
	partition := int32(-1)
	for _, e := range events {
		if e.Type == harness.ChatEvent && pairOf(e.Data.From, e.Data.To) == pairOf(user, partner) {
			partition = e.partition
		}
	}
	muted, banned, ended := false, false, int64(0)
	seen := make(map[int64]bool)
	for _, e := range events {
		switch {
		case e.partition != partition:
		case e.Data.Act != "" && e.Data.User == user && !seen[e.Data.Version]:
			seen[e.Data.Version] = true
			switch e.Data.Act {
			case "mute", "unmute":
				muted = e.Data.Act == "mute"
			case "ban", "unban":
				banned = e.Data.Act == "ban"
			}
			if e.Data.Act == "ban" || e.Data.Act == "end" || e.Data.Act == "revoke" {
				ended = e.Data.Version
			}
		case e.Type == harness.ChatEvent && e.Data.From == user && e.Data.To == partner:
			if muted || banned || e.Acts < ended {
				hidden = append(hidden, e.Data.Message)
			} else {
				shown = append(shown, e.Data.Message)
			}
		}
	}
	return shown, hidden
}

// flood has a device write to a partner until its connection ends or stop is closed.
func flood(ctx context.Context, device *harness.Client, partner int, name string, stop <-chan struct{}) {
	for n := 0; !isClosed(stop) && ctx.Err() == nil && device.Err() == nil; n++ {
		if device.Send(partner, fmt.Sprintf("%s.%d", name, n)) != nil {
			return
		}
		harness.Pause(ctx, 10*time.Millisecond) // below the limits
	}
}

// slip writes texts of a user into the log, as a node does that has not heard of an act.
func (c *cluster) slip(ctx context.Context, from, to int, texts ...string) {
	c.t.Helper()
	producer := harness.Dial(c.t, c.parts.Brokers)
	for _, text := range texts {
		id, at := uuid.NewString(), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		value := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/chatting","type":"chatting.chat_message.v1","subject":"%d",`+
			`"time":%q,"datacontenttype":"application/json","data":{"type":"chat_message","message":%q,"from_id":%[2]d,"to_id":%[5]d,`+
			`"time":%[3]q,"id":%[1]q}}`, id, from, at, text, to)
		record := &kgo.Record{
			Topic: c.conversations(), Key: fmt.Appendf(nil, "%d:%d", min(from, to), max(from, to)), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		}
		if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// history returns the texts that a user has from a partner, oldest first.
func history(ctx context.Context, t *testing.T, node *harness.Node, user, partner int) (texts []string) {
	t.Helper()
	for before := ""; ; {
		a, err := request(ctx, node.HTTP, token(t, user), http.MethodGet,
			fmt.Sprintf("/api/chatting/messages/?target_id=%d&limit=100%s", partner, before), nil)
		var page struct {
			Messages []harness.Frame
			Next     *string
		}
		if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
			t.Fatalf("the history: %v %d %s", err, a.status, a.body)
		}
		for _, f := range page.Messages {
			if f.From == partner {
				texts = append(texts, f.Message)
			}
		}
		if page.Next == nil {
			slices.Reverse(texts)
			return texts
		}
		before = "&before=" + *page.Next
	}
}

// A user writes from three devices, each on another node, while the platform acts on it over one of the nodes. Which of its texts stand
// behind an act is found by a client that shares nothing with the server. None of them reaches anybody: neither live on any node, nor a
// client that takes up later, nor the history. The others all do.
func TestNothingBehindAnActOfThePlatformReachesAnybody(t *testing.T) {
	for name, acts := range map[string][]string{
		"mute":   {"mute", "unmute"},
		"ban":    {"ban", "unban"},
		"end":    {"end"},
		"revoke": {"revoke"},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); actAgainAndAgain(t, acts) })
	}
}

const actor, hearer = 1, 2

func actAgainAndAgain(t *testing.T, acts []string) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	act := func(kind string) {
		t.Helper()
		body := map[string]any{"act": kind, "user_id": actor, "actor": "alice", "reason": "of the test"}
		if a, err := request(ctx, nodes[0].HTTP, s2sToken, http.MethodPost, "/s2sapi/moderation/", body); err != nil || a.status != http.StatusOK {
			t.Fatalf("%s: %v %d %s", kind, err, a.status, a.body)
		}
	}
	late := newTraveller(hearer)
	late.connect(ctx, t, func() *harness.Node { return nodes[1] })
	late.client.Close() // it takes up at the end what came since
	var hearers []*harness.Client
	for _, node := range nodes {
		hearers = append(hearers, connect(t, node, hearer))
	}
	awaitKnownOnline(ctx, t, nodes[0].HTTP, token(t, hearer), hearer)
	var devices []*harness.Client
	slipped := 0
	for round := range scaled(3, 12) {
		devices = devices[:0]
		for _, node := range nodes {
			harness.Until(ctx, t, "the user logs in", func() bool {
				device, err := harness.Connect(node.HTTP, token(t, actor))
				if err != nil {
					return false
				}
				t.Cleanup(device.Close)
				devices = append(devices, device)
				return true
			})
		}
		stop := make(chan struct{})
		var flooding sync.WaitGroup
		for i, device := range devices {
			flooding.Go(func() { flood(ctx, device, hearer, fmt.Sprintf("%d.%d", round, i), stop) })
		}
		for i, device := range devices { // all are at it
			if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return strings.HasPrefix(f.Message, fmt.Sprintf("%d.%d.", round, i)) }); err != nil {
				t.Fatalf("round %d: device %d: %v", round, i, err)
			}
		}
		act(acts[0])
		c.slip(ctx, actor, hearer, fmt.Sprintf("slipped.%d", round))
		slipped++
		if acts[0] != "mute" {
			for _, device := range devices {
				harness.Until(ctx, t, "its connections end", func() bool { return device.Err() != nil })
				if code := map[string]int{"ban": 3403, "end": 3410, "revoke": 3401}[acts[0]]; !websocket.IsCloseError(device.Err(), code) {
					t.Errorf("round %d: a connection to %s ended with %v", round, device.Addr, device.Err())
				}
			}
		} else {
			for _, device := range devices {
				if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Code == "muted" }); err != nil {
					t.Errorf("round %d: a device on %s is not told: %v", round, device.Addr, err)
				}
			}
		}
		if len(acts) > 1 {
			act(acts[1])
		}
		close(stop)
		flooding.Wait()
	}
	// What the user says last stands behind all of that, and comes to all devices.
	const last = "the last of all"
	harness.Until(ctx, t, "the user logs in", func() bool {
		device, err := harness.Connect(nodes[2].HTTP, token(t, actor))
		if err != nil {
			return false
		}
		t.Cleanup(device.Close)
		return device.Send(hearer, last) == nil
	})
	for _, device := range hearers {
		if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == last }); err != nil {
			t.Fatalf("a device on %s: %v", device.Addr, err)
		}
	}
	shown, hidden := kept(c.readActs(ctx), actor, hearer)
	if len(hidden) < slipped || len(shown) <= slipped {
		t.Fatalf("%d texts stand behind an act, and %d do not: that shows nothing", len(hidden), len(shown))
	}
	compare := func(where string, got []string) {
		t.Helper()
		for _, text := range got {
			if slices.Contains(hidden, text) {
				t.Errorf("%s: %q stands behind an act, and is shown", where, text)
			}
		}
		if !slices.Equal(got, shown) {
			t.Errorf("%s: %d texts, want %d", where, len(got), len(shown))
		}
	}
	for _, device := range hearers {
		compare("live on "+device.Addr, textsOf(device.Frames(), actor))
	}
	late.connect(ctx, t, func() *harness.Node { return nodes[2] })
	if _, err := late.client.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == last }); err != nil {
		t.Fatal(err)
	}
	compare("a client that takes up", textsOf(late.client.Frames(), actor))
	for _, node := range nodes {
		harness.Until(ctx, t, "the history has the last text", func() bool {
			texts := history(ctx, t, node, hearer, actor)
			return len(texts) > 0 && texts[len(texts)-1] == last
		})
		compare("the history on "+node.HTTP, history(ctx, t, node, hearer, actor))
	}
	for _, device := range devices {
		for _, f := range device.Frames() {
			if f.Type == "chat_message" && slices.Contains(hidden, f.Message) {
				t.Errorf("a device of the sender on %s has the echo of %q, which stands behind an act", device.Addr, f.Message)
			}
		}
	}
	t.Logf("%d texts stand behind an act, %d were shown", len(hidden), len(shown))
}

// textsOf returns the texts of a user among frames.
func textsOf(frames []harness.Frame, from int) (texts []string) {
	for _, f := range frames {
		if f.Type == "chat_message" && f.From == from {
			texts = append(texts, f.Message)
		}
	}
	return texts
}
