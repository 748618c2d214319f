package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"chatting/test/harness"
)

// Two nodes share the partitions of the history, and each waits two seconds for more to project. Who was shown a message
// finds it in the history all the same, whichever of the nodes projects it. That is an effort and no promise, so half of
// them have to; without it, hardly one would.
func TestWhoWasShownAMessageFindsItInTheHistoryOfEitherNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_HISTORY_DELAY=2s", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0")
	const pairs, of = 24, 1000
	var users []int
	for i := range pairs {
		users = append(users, of+i, 2*of+i)
	}
	clients := connectAll(t, users, func(int) *harness.Node { return nodes[0] })
	// Before that, no node projects anything: the group begins.
	harness.Until(ctx, t, "the history follows the log", func() bool {
		a, err := request(ctx, nodes[0].HTTP, "", http.MethodGet, "/readyz", nil)
		var told struct {
			Groups map[string]struct{ Member bool } `json:"consumer_groups"`
		}
		return err == nil && json.Unmarshal(a.body, &told) == nil && told.Groups[c.prefix+".history"].Member
	})
	found, known, unread := 0, 0, 0
	for i := range pairs {
		sender, receiver := clients[2*i], token(t, 2*of+i)
		text := fmt.Sprint("message ", i)
		if err := sender.Send(2*of+i, text); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == text }); err != nil {
			t.Fatal(err)
		}
		ask := func(token, method, path string, answered any) {
			t.Helper()
			a, err := request(ctx, nodes[0].HTTP, token, method, path, nil)
			if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, answered) != nil {
				t.Fatalf("%s: %d %s, %v", path, a.status, a.body, err)
			}
		}
		var page struct{ Messages []harness.Frame }
		ask(token(t, of+i), http.MethodGet, fmt.Sprintf("/api/chatting/messages/?target_id=%d", 2*of+i), &page)
		if len(page.Messages) == 1 && page.Messages[0].Message == text {
			found++
		}
		if err := sender.Send(2*of+i, "and another"); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == "and another" }); err != nil {
			t.Fatal(err)
		}
		var list struct {
			Conversations []struct{ Unread int }
		}
		ask(receiver, http.MethodGet, "/api/chatting/conversations/", &list)
		if len(list.Conversations) == 1 {
			known++
			if list.Conversations[0].Unread == 2 {
				unread++
			}
		}
	}
	t.Logf("of %d messages %d were found at once, %d of the conversations in the list, %d with both messages", pairs, found, known, unread)
	if found < pairs/2 || unread < pairs/2 {
		t.Errorf("of %d messages only %d were found at once, and %d of the conversations show both", pairs, found, unread)
	}
}
