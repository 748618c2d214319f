package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"chatting/test/harness"
)

// A user reads on one node. Its device on the other node, and its partner there, are told, each of them once, also if both devices
// mark the same message at once.
func TestAReadMarkReachesTheDevicesOnOtherNodes(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0")
	device := func(node *harness.Node, user int, features ...string) *harness.Client {
		t.Helper()
		client, err := harness.ConnectWith(node.HTTP, map[string]any{"token": token(t, user), "features": features})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	here, there := device(nodes[0], 1, "read_marks"), device(nodes[1], 1, "read_marks")
	partner := device(nodes[1], 2, "receipts")
	awaitKnownOnline(ctx, t, nodes[1].HTTP, token(t, 2), 1)
	for round := range 5 {
		text := fmt.Sprint("round ", round)
		if err := partner.Send(1, text); err != nil {
			t.Fatal(err)
		}
		at, err := here.Find(ctx, 1, func(f harness.Frame) bool { return f.Message == text })
		if err != nil {
			t.Fatal(err)
		}
		said := here.Frames()[at].ID
		marked := make(chan error, len(nodes))
		for _, node := range nodes {
			go func() {
				for {
					a, err := request(ctx, node.HTTP, token(t, 1), http.MethodPut, "/api/chatting/conversations/2/read/", map[string]string{"message_id": said})
					if err == nil && a.status == http.StatusServiceUnavailable {
						continue // the history does not have it yet
					}
					var done struct{ Unread *int }
					if err == nil && (a.status != http.StatusOK || json.Unmarshal(a.body, &done) != nil || done.Unread == nil || *done.Unread != 0) {
						err = fmt.Errorf("%d %s", a.status, a.body)
					}
					marked <- err
					return
				}
			}()
		}
		for range nodes {
			if err := <-marked; err != nil {
				t.Fatal(err)
			}
		}
		for what, client := range map[string]*harness.Client{"the device here": here, "the device there": there, "the partner": partner} {
			at, err := client.Find(ctx, 1, func(f harness.Frame) bool { return f.Type == "read_mark" && f.Marked == said })
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			mark := client.Frames()[at]
			if mark.From != 1 || mark.To != 2 || (mark.Unread == nil) != (client == partner) || mark.Unread != nil && *mark.Unread != 0 {
				t.Errorf("%s got %+v", what, mark)
			}
		}
	}
	// Behind everything that was marked.
	if err := partner.Send(1, "the end"); err != nil {
		t.Fatal(err)
	}
	for what, client := range map[string]*harness.Client{"the device here": here, "the device there": there, "the partner": partner} {
		end, err := client.Find(ctx, 1, func(f harness.Frame) bool { return f.Message == "the end" })
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, f := range client.Frames()[:end] {
			if f.Type == "read_mark" {
				seen[f.ID]++
			}
		}
		if len(seen) != 5 {
			t.Errorf("%s got %d marks", what, len(seen))
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s got the mark %s %d times", what, id, times)
			}
		}
	}
}
