package e2e

import (
	"fmt"
	"sync"
	"testing"
)

// Pairs chat both ways at once; every side sees the conversation in the one order of the log, with the messages of each
// sender in the order sent, nothing lost, nothing twice.
func TestTwoHundredUsersChattingAtOnceSeeEverythingOnceAndInOrder(t *testing.T) {
	const users, each = 200, 25
	s := startServer(t, t.TempDir())
	clients := make([]*client, users)
	for i := range clients {
		clients[i] = mustConnect(t, s.HTTP, s.token(i+1))
	}
	seen := make([][]string, users) // as "from: text", in order
	var chatting sync.WaitGroup
	for i, c := range clients {
		partner := i ^ 1
		chatting.Go(func() {
			for n := range each {
				if err := c.Send(partner+1, fmt.Sprint(n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		chatting.Go(func() {
			for range 2 * each {
				f, err := c.next()
				if err != nil {
					t.Errorf("user %d, after %d frames: %v", i+1, len(seen[i]), err)
					return
				}
				if f.Type != "chat_message" {
					t.Errorf("user %d got %+v", i+1, f)
					return
				}
				seen[i] = append(seen[i], fmt.Sprintf("%d: %s", f.From, f.Message))
			}
		})
	}
	chatting.Wait()
	for i := range seen {
		if fmt.Sprint(seen[i]) != fmt.Sprint(seen[i^1]) {
			t.Errorf("users %d and %d saw different orders:\n%v\n%v", i+1, (i^1)+1, seen[i], seen[i^1])
		}
		for _, sender := range []int{i + 1, (i ^ 1) + 1} {
			n := 0
			for _, line := range seen[i] {
				if line == fmt.Sprintf("%d: %d", sender, n) {
					n++
				}
			}
			if n != each {
				t.Errorf("user %d saw %d messages of %d in order, not %d: %v", i+1, n, sender, each, seen[i])
			}
		}
	}
	// Nothing comes after that: a further message of the same conversation is the next frame of both its users.
	for i := 0; i < users; i += 2 {
		if err := clients[i].Send(i+2, "last"); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range clients {
		f, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.From != i&^1+1 || f.Message != "last" {
			t.Errorf("user %d got one frame more: %+v", i+1, f)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("the server left with %v", err)
	}
}
