package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"chatting/test/harness"
)

// Two nodes share the partitions of the history, and each waits two seconds for more to project. Who was shown a message
// finds it in the history all the same, whichever of the nodes projects it. That is an effort and no promise, and on a busy machine
// it may come to nothing for a while. So one in eight is enough; without it, hardly one in a hundred would do.
func TestWhoWasShownAMessageFindsItInTheHistoryOfEitherNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, "CHATTING_HISTORY_DELAY=2s", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0")
	const pairs, of, rounds = 24, 1000, 4
	const enough = pairs * rounds / 8
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
	asked := 0
	for ; asked < pairs*rounds && (found < enough || unread < enough); asked++ {
		i, round := asked%pairs, asked/pairs
		sender, receiver := clients[2*i], token(t, 2*of+i)
		text, other := fmt.Sprintf("message %d of round %d", i, round), fmt.Sprint("another of round ", round)
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
		if len(page.Messages) > 0 && page.Messages[0].Message == text {
			found++
		}
		if err := sender.Send(2*of+i, other); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == other }); err != nil {
			t.Fatal(err)
		}
		var list struct {
			Conversations []struct{ Unread int }
		}
		ask(receiver, http.MethodGet, "/api/chatting/conversations/", &list)
		if len(list.Conversations) == 1 {
			known++
			if list.Conversations[0].Unread == 2*(round+1) {
				unread++
			}
		}
	}
	t.Logf("of %d messages %d were found at once, %d of the conversations in the list, %d with both messages", asked, found, known, unread)
	if found < enough || unread < enough {
		t.Errorf("of %d messages only %d were found at once, and %d of the conversations show both", asked, found, unread)
	}
}
