package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// live lets users on two nodes do one of everything that is logged, and returns how many chat messages there were, and how
// many conversation events in all.
func (c *cluster) live(ctx context.Context) (messages, events int) {
	c.t.Helper()
	nodes := c.startAll(2)
	ann, bob := connect(c.t, nodes[0], 201), connect(c.t, nodes[1], 202)
	awaitKnownOnline(ctx, c.t, nodes[0].HTTP, token(c.t, 201), 202)
	awaitKnownOnline(ctx, c.t, nodes[1].HTTP, token(c.t, 202), 201)
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	for i := range 20 {
		must(ann.SendNamed(202, fmt.Sprintf("one %d <b>\t\"안녕\" \u2028", i), fmt.Sprintf("name %d", i)))
		must(bob.Send(201, fmt.Sprintf("two %d", i)))
	}
	must(bob.SendFrame(map[string]any{"target_id": 201, "type": "invite_game", "status": "invite"}))
	must(bob.SendFrame(map[string]any{"target_id": 201, "type": "invite_game", "status": "cancel"}))
	if _, err := ann.Find(ctx, 0, func(f harness.Frame) bool { return f.Status == "cancel" }); err != nil {
		c.t.Fatal(err)
	}
	call := func(method, path, token string, body any, want int) {
		c.t.Helper()
		if a, err := request(ctx, nodes[0].HTTP, token, method, path, body); err != nil || a.status != want {
			c.t.Fatalf("%s %s: %v %d %s", method, path, err, a.status, a.body)
		}
	}
	call(http.MethodPost, "/s2sapi/system-message/", s2sToken, map[string]any{
		"target_id": 201, "message": "join", "type": "invite_game", "room_id": "room 7", "opponent_id": 202}, http.StatusOK)
	last, err := ann.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == "two 19" })
	must(err)
	harness.Until(ctx, c.t, "the history has what is marked as read", func() bool {
		a, err := request(ctx, nodes[0].HTTP, token(c.t, 201), http.MethodPut, "/api/chatting/conversations/202/read/",
			map[string]any{"message_id": ann.Frames()[last].ID})
		if err != nil || a.status != http.StatusOK && a.status != http.StatusServiceUnavailable {
			c.t.Fatalf("marking as read: %v %d %s", err, a.status, a.body)
		}
		return a.status == http.StatusOK
	})
	call(http.MethodPost, "/api/chatting/blockedusers/", token(c.t, 201), target(202), http.StatusCreated)
	call(http.MethodDelete, "/api/chatting/blockedusers/", token(c.t, 201), target(202), http.StatusOK)
	call(http.MethodPost, "/s2sapi/moderation/", s2sToken, map[string]any{"act": "mute", "user_id": 203, "actor": "alice"}, http.StatusOK)
	call(http.MethodPost, "/s2sapi/moderation/announcements/", s2sToken, map[string]any{"to": "online", "message": "noon", "actor": "alice"}, http.StatusOK)
	call(http.MethodGet, "/s2sapi/moderation/activity/?user_id=201&texts=true&actor=alice&reason=why", s2sToken, nil, http.StatusOK)
	ann.Close()
	bob.Close()
	// An invite, its cancel, a system message, a read mark, a block and its end, an announcement; and an act, in every partition.
	const others = 7 + partitions
	return 40, 40 + others
}

// await waits until the events of a topic are as they shall be, and returns how many there are.
func (c *cluster) await(ctx context.Context, topic string, holds func([]harness.Event) bool) int {
	c.t.Helper()
	var events []harness.Event
	harness.Until(ctx, c.t, "events in "+topic, func() bool {
		events = harness.ReadEvents(ctx, c.t, c.parts.Brokers, topic)
		return holds(events)
	})
	return len(events)
}

func TestOthersReadTheTopicsOfARunningClusterAsTheDocumentsSay(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	messages, said := c.live(ctx)
	logged := c.await(ctx, c.conversations(), func(events []harness.Event) bool { return len(events) >= said })
	changes := c.await(ctx, c.presence(), func(events []harness.Event) bool {
		return len(events) >= 4 // both have come, and gone
	})
	audited := c.await(ctx, c.audit(), func(events []harness.Event) bool { return len(events) >= 3 })
	schemas := harness.LoadSchemas(t)

	t.Run("Kafka's console consumer", func(t *testing.T) {
		kinds := map[string]int{}
		for topic, count := range map[string]int{c.conversations(): logged, c.presence(): changes, c.audit(): audited} {
			records := harness.ConsoleConsumer(ctx, t, c.parts.Brokers, topic, count)
			if len(records) != count {
				t.Errorf("it read %d of %d records of %s", len(records), count, topic)
			}
			for i, r := range records {
				if err := schemas.CheckRecord(r); err != nil {
					t.Errorf("record %d that it read of %s: %v", i, topic, err)
				}
				kinds[kindOf(t, r.Value)]++
			}
		}
		if kinds["chatting.chat_message.v1"] != messages || kinds["chatting.presence_changed.v1"] != changes {
			t.Errorf("it read %v", kinds)
		}
		// All that there are: the promise is of each.
		var read []string
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			read = append(read, strings.TrimPrefix(kind, "chatting."))
		}
		read = append(read, "send_system_message.v1") // which others write
		slices.Sort(read)
		if !slices.Equal(read, schemas.Names()) {
			t.Errorf("it read events of %v, the schemas are %v", read, schemas.Names())
		}
	})

	t.Run("chatting events tail", func(t *testing.T) {
		command := exec.CommandContext(ctx, harness.Binary, "events", "tail", "--end", "--format", "json")
		command.Env, command.Stderr = harness.Environ(c.settings()...), t.Output()
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for line := range strings.Lines(string(out)) {
			var r struct {
				Topic string
				Key   string
				Event json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			err := schemas.CheckRecord(&kgo.Record{Key: []byte(r.Key), Value: r.Event, Headers: []kgo.RecordHeader{
				{Key: "content-type", Value: []byte("application/cloudevents+json")},
			}})
			if err != nil {
				t.Errorf("line %d: %v", shown+1, err)
			}
			shown++
		}
		if shown != logged+changes {
			t.Errorf("it showed %d of %d records", shown, logged+changes)
		}
	})

	t.Run("the example", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "messages_per_minute")
		if _, err := os.Stat("../../docs/examples/messages_per_minute/main.go"); err != nil { // go test shall see it change
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "chatting/docs/examples/messages_per_minute").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		out, err := exec.CommandContext(ctx, program, "-brokers", c.parts.Brokers, "-topic", c.conversations()).Output()
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for line := range bytes.Lines(out) {
			var minute string
			var count int
			if _, err := fmt.Sscan(string(line), &minute, &count); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			total += count
		}
		if total != messages {
			t.Errorf("it counted %d of %d messages:\n%s", total, messages, out)
		}
	})
}

func kindOf(t *testing.T, value []byte) string {
	t.Helper()
	var e struct{ Type string }
	if err := json.Unmarshal(value, &e); err != nil {
		t.Fatal(err)
	}
	return e.Type
}
