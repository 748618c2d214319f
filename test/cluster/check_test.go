package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"chatting/test/harness"
)

// pair is a conversation: two users, the lower first.
type pair [2]int

func pairOf(a, b int) pair { return pair{min(a, b), max(a, b)} }

// logged are the chat messages of the conversations, in the order of the log.
type logged map[pair][]harness.Event

// readChats reads the log with a client that shares nothing with the server.
func (c *cluster) readChats(ctx context.Context) logged {
	c.t.Helper()
	chats := make(logged)
	partitions := make(map[pair]int32)
	for _, event := range harness.ReadEvents(ctx, c.t, c.parts.Brokers, c.conversations()) {
		if event.Type != harness.ChatEvent {
			continue
		}
		p := pairOf(event.Data.From, event.Data.To)
		if partition, known := partitions[p]; known && partition != event.Partition {
			c.t.Errorf("the conversation %v is in the partitions %d and %d", p, partition, event.Partition)
		}
		partitions[p] = event.Partition
		chats[p] = append(chats[p], event)
	}
	return chats
}

// mustFit compares what a connection saw of a conversation with the log: an unbroken stretch of it, each text once. A
// connection that is still open must have come, or come within ctx, to the end of the log.
func (l logged) mustFit(ctx context.Context, t *testing.T, client *harness.Client, p pair) {
	t.Helper()
	log := l[p]
	if client.Err() == nil && len(log) > 0 {
		last := log[len(log)-1].Data.Message
		if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Type == "chat_message" && f.Message == last }); err != nil &&
			client.Err() == nil {
			t.Errorf("a connection of user %d on %s did not get %q, the last of %v: %v", client.User, client.Addr, last, p, err)
			return
		}
	}
	var seen []string
	times := make(map[string]int)
	for _, f := range client.Frames() {
		if f.Type != "chat_message" || pairOf(f.From, f.To) != p {
			continue
		}
		seen = append(seen, f.Message)
		if times[f.Message]++; times[f.Message] == 2 {
			t.Errorf("a connection of user %d on %s got %q twice", client.User, client.Addr, f.Message)
		}
	}
	if len(seen) == 0 {
		return
	}
	var differs string
	for start, event := range log {
		if event.Data.Message != seen[0] {
			continue
		}
		if differs = difference(log[start:], seen); differs == "" {
			return
		}
	}
	if differs == "" {
		differs = fmt.Sprintf("%q is not in the log", seen[0])
	}
	t.Errorf("what a connection of user %d on %s saw of %v is no stretch of the log: %s", client.User, client.Addr, p, differs)
}

// difference compares what was seen with the log from some place on, without what is in it again.
func difference(log []harness.Event, seen []string) string {
	past := make(map[string]bool)
	for _, event := range log {
		if past[event.Data.Message] {
			continue
		}
		past[event.Data.Message] = true
		if event.Data.Message != seen[0] {
			return fmt.Sprintf("%q was seen where the log has %q (%d:%d)", seen[0], event.Data.Message, event.Partition, event.Offset)
		}
		if seen = seen[1:]; len(seen) == 0 {
			return ""
		}
	}
	return fmt.Sprintf("%q was seen and is not in the log after what came before", seen[0])
}

// mustHold compares the answers that a chatter got with the log.
func (l logged) mustHold(t *testing.T, c *chatter) {
	t.Helper()
	count := make(map[string]int)
	var own []string
	for _, event := range l[pairOf(c.user, c.partner)] {
		if event.Data.From == c.user {
			if count[event.Data.Message]++; count[event.Data.Message] == 1 {
				own = append(own, event.Data.Message)
			}
		}
	}
	for text := range c.echoed {
		if count[text] == 0 {
			t.Errorf("%q was echoed and is not in the log", text)
		}
	}
	for text, times := range count {
		if times > 1 && !c.resent[text] {
			t.Errorf("%q was sent once and is in the log %d times", text, times)
		}
	}
	for text := range c.refused {
		if count[text] > 0 && !c.resent[text] {
			t.Errorf("%q was refused and is in the log", text)
		}
	}
	// The texts of each connection stand in the order in which they were sent.
	last := make(map[string]int)
	for _, text := range own {
		connection := text[:strings.LastIndex(text, ".")]
		var n int
		if _, err := fmt.Sscan(text[len(connection)+1:], &n); err != nil {
			t.Fatal(err)
		}
		if before, known := last[connection]; known && n <= before {
			t.Errorf("%q stands behind number %d", text, before)
		}
		last[connection] = n
	}
}

// mustBeSound compares everything that a crowd saw and was told with the log.
func (c *cluster) mustBeSound(ctx context.Context, crowd *crowd, others ...*harness.Client) logged {
	c.t.Helper()
	log := c.readChats(ctx)
	echoed, refused, unsure, resent, connections, records := 0, 0, 0, 0, 0, 0
	for _, events := range log {
		records += len(events)
	}
	for _, chatter := range crowd.chatters {
		log.mustHold(c.t, chatter)
		p := pairOf(chatter.user, chatter.partner)
		own := slices.DeleteFunc(slices.Clone(others), func(o *harness.Client) bool { return o.User != chatter.user })
		for _, client := range append(own, chatter.connections()...) {
			log.mustFit(ctx, c.t, client, p)
			connections++
		}
		echoed += len(chatter.echoed)
		refused += len(chatter.refused)
		unsure += len(chatter.unsure)
		resent += len(chatter.resent)
	}
	c.t.Logf("%d users, %d connections: %d messages echoed, %d refused, %d unconfirmed, %d sent again; %d in the log",
		len(crowd.chatters), connections, echoed, refused, unsure, resent, records)
	return log
}
