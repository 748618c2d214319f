package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// says is the record of a system message. Messages to one user have one key, so they are in one order.
func says(target int, text string) kafka.Message {
	return kafka.Message{Key: []byte(strconv.Itoa(target)), Value: fmt.Appendf(nil, `{"target_id":%d,"message":%q}`, target, text)}
}

// told returns what the platform said to a connection, in order.
func told(client *harness.Client) (texts []string) {
	for _, f := range client.Frames()[1:] {
		if f.Type == "system_message" && f.Error == "" {
			texts = append(texts, f.Message)
		}
	}
	return texts
}

func TestOtherProgramsSpeakToUsersOnEveryNode(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2)
	clients := connectAll(t, []int{1, 2}, func(user int) *harness.Node { return nodes[user-1] })
	buried := 0
	for name, produce := range harness.Producers(t) {
		var lines, want []string
		for i := range 10 {
			for user := range clients {
				lines = append(lines, string(says(user+1, fmt.Sprint(name, " ", i)).Value))
			}
			want = append(want, fmt.Sprint(name, " ", i))
			lines = append(lines, "poison", string(says(404, "nobody").Value))
			buried += 2
		}
		produce(ctx, t, c.parts.Brokers, c.systemMessages(), lines...)
		for _, client := range clients {
			harness.Until(ctx, t, fmt.Sprintf("user %d is told everything by %s", client.User, name), func() bool {
				seen := told(client) // without a key, in any order
				return !slices.ContainsFunc(want, func(text string) bool { return !slices.Contains(seen, text) })
			})
		}
	}
	harness.Until(ctx, t, "the dead letters", func() bool {
		return len(harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters())) >= buried
	})
	for _, letter := range harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters()) {
		why := ""
		for _, h := range letter.Headers {
			if h.Key == "kafka_dlt-exception-fqcn" {
				why = string(h.Value)
			}
		}
		if wanted := map[bool]string{true: "chatting.invalid_json", false: "chatting.no_user_or_offline"}[string(letter.Value) == "poison"]; why != wanted {
			t.Errorf("%s is buried for %q", letter.Value, why)
		}
	}
}

// Whatever a killed node was doing, each message reaches its user once.
func TestANodeKilledAmidSystemMessagesLosesNoneAndDoublesNone(t *testing.T) {
	const users = 20
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3)
	all := make([]int, users)
	for i := range all {
		all[i] = i + 1
	}
	clients := connectAll(t, all, func(user int) *harness.Node { return nodes[user%2] })
	each := scaled(400, 1000)
	// Everybody reads: the last node's share is told while the others' are.
	harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), says(1, "first"))
	harness.Until(ctx, t, "the first message", func() bool { return len(told(clients[0])) > 0 })

	// All at once: so each node has much under way when one is killed.
	var messages []kafka.Message
	for i := range each {
		for _, user := range all {
			messages = append(messages, says(user, fmt.Sprint(i)))
		}
	}
	var writing sync.WaitGroup
	writing.Go(func() { harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), messages...) })
	harness.Until(ctx, t, "some are told", func() bool { return len(told(clients[1])) > each/10 })
	nodes[2].Kill()
	killed := time.Now()
	writing.Wait()

	var want []string
	for i := range each {
		want = append(want, fmt.Sprint(i))
	}
	for _, client := range clients {
		harness.Until(ctx, t, fmt.Sprintf("user %d is told everything", client.User), func() bool { return len(told(client)) >= each })
	}
	t.Logf("everything was told %s after the kill", time.Since(killed).Round(time.Millisecond))
	if again := c.mustTellOnce(ctx, clients, want); again == 0 {
		t.Error("nothing was delivered again: what the killed node had under way shows nothing")
	}
	if letters := harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters()); len(letters) > 0 {
		t.Errorf("%d dead letters, the first for %v", len(letters), letters[0].Headers)
	}
}

// told returns the ids of what the platform said to a user, over all of its connections.
func (a *absentee) told() map[string]bool {
	ids := make(map[string]bool)
	for _, client := range a.clients {
		for _, f := range client.Frames()[1:] {
			if f.Type == "system_message" && f.Error == "" {
				ids[f.ID] = true
			}
		}
	}
	return ids
}

// mustBeToldInOrder checks one connection: nothing twice, ascending numbers, what is replayed before what is live.
func mustBeToldInOrder(t *testing.T, client *harness.Client) (replayed int) {
	t.Helper()
	latest, seen, live := -1, make(map[string]bool), false
	for _, f := range client.Frames()[1:] {
		if f.Type != "system_message" || f.Error != "" {
			continue
		}
		number, err := strconv.Atoi(f.Message)
		switch {
		case err != nil:
			t.Fatalf("user %d was told %+v", client.User, f)
		case seen[f.ID]:
			t.Errorf("user %d was told %q twice on a connection", client.User, f.Message)
		case number <= latest:
			t.Errorf("user %d was told %q after number %d", client.User, f.Message, latest)
		case f.Replayed && live:
			t.Errorf("user %d was told %q replayed after what is live", client.User, f.Message)
		}
		latest, seen[f.ID] = number, true
		live = live || !f.Replayed
		if f.Replayed {
			replayed++
		}
	}
	return replayed
}

// Where messages to absent users are stored, the users of the killed node miss none either.
func TestANodeKilledAmidSystemMessagesCostsItsOwnUsersNoneWhereTheyAreStored(t *testing.T) {
	const users = 20
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(3, "CHATTING_CHAT_OFFLINE=store")
	all := make([]*absentee, users)
	for i := range all {
		all[i] = &absentee{user: i + 1}
		all[i].comeBack(ctx, t, nodes[all[i].user%3])
	}
	each := scaled(50, 500)
	// The last third is written once the node is dead, and its first round before the users of that node are back.
	killed, others := make(chan struct{}), each-each/3
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range each {
			if i == others {
				<-killed
			}
			var messages []kafka.Message
			for _, a := range all {
				messages = append(messages, says(a.user, strconv.Itoa(i)))
			}
			harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), messages...)
		}
	})
	harness.Until(ctx, t, "a third is told", func() bool { return len(all[0].told()) > each/3 })
	nodes[2].Kill()
	close(killed)
	harness.Until(ctx, t, "something is said to an absent user", func() bool {
		return slices.ContainsFunc(harness.ReadEvents(ctx, t, c.parts.Brokers, c.conversations()), func(e harness.Event) bool {
			return e.Type == harness.SystemEvent && e.Data.To%3 == 2 && e.Data.Message == strconv.Itoa(others)
		})
	})
	for _, a := range all {
		if a.user%3 == 2 {
			a.comeBack(ctx, t, nodes[a.user%2])
		}
	}
	writing.Wait()

	replayed := 0
	for _, a := range all {
		harness.Until(ctx, t, fmt.Sprintf("user %d is told everything", a.user), func() bool { return len(a.told()) >= each })
		if got := len(a.told()); got != each {
			t.Errorf("user %d was told %d messages of %d", a.user, got, each)
		}
		for _, client := range a.clients {
			replayed += mustBeToldInOrder(t, client)
		}
	}
	t.Logf("%d messages; %d were replayed to the users of the killed node", users*each, replayed)
	if replayed == 0 {
		t.Error("nothing was replayed, although something was said while they were away")
	}
	if letters := harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters()); len(letters) > 0 {
		t.Errorf("%d dead letters, the first for %v", len(letters), letters[0].Headers)
	}
}

// A broker that is away for longer than anything waits for it, the consumer group included.
func TestABrokerThatIsAwayCostsNoSystemMessage(t *testing.T) {
	ctx := testContext(t)
	parts := harness.StartOwnParts(t, 1)
	c := newCluster(t, parts.Parts)
	nodes := c.startAll(2)
	clients := connectAll(t, []int{1, 2, 3, 4}, func(user int) *harness.Node { return nodes[user%2] })
	const each = 400
	var want []string
	var poison []kafka.Message
	for _, client := range clients {
		poison = append(poison, kafka.Message{Key: says(client.User, "").Key, Value: []byte("poison")})
	}
	// After these, the node has written dead letters to the users' partitions and needs to ask the broker for nothing before
	// the next one. So a letter that is written while the broker is away is in the topic once it is back.
	harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), poison...)
	letters := func() int { return len(harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters())) }
	harness.Until(ctx, t, "the dead letters", func() bool { return letters() == len(poison) })
	// A machine that is busy may tell all of a batch before the broker is stopped. That shows nothing: then there is another batch.
	for amid := false; !amid; {
		before := len(want)
		var messages []kafka.Message
		for i := range each {
			want = append(want, fmt.Sprint(before+i))
			for _, client := range clients {
				messages = append(messages, says(client.User, fmt.Sprint(before+i)))
			}
		}
		harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), messages...)
		harness.Until(ctx, t, "the first messages", func() bool { return len(told(clients[0])) > before })
		parts.SignalBroker(1, syscall.SIGSTOP)
		had := len(told(clients[0]))
		if amid = had < len(want); amid {
			harness.Pause(ctx, 2*appendDeadline)
			had = len(told(clients[0]))
		}
		parts.SignalBroker(1, syscall.SIGCONT)
		t.Logf("user 1 had %d of %d messages when the broker came back", had, len(want))
		amid = amid && had < len(want)
	}
	for _, client := range clients {
		harness.Until(ctx, t, fmt.Sprintf("user %d is told everything", client.User), func() bool { return len(told(client)) >= len(want) })
	}
	c.mustTellOnce(ctx, clients, want)
	if more := letters() - len(poison); more > 0 {
		t.Errorf("%d messages became dead letters", more)
	}
}

// mustTellOnce compares what connections were told with what was said to each of them, once all of the log is through. It
// returns how many records of the log were there before.
func (c *cluster) mustTellOnce(ctx context.Context, clients []*harness.Client, want []string) (again int) {
	c.t.Helper()
	ids := make(map[string]bool)
	records := 0
	for _, event := range harness.ReadEvents(ctx, c.t, c.parts.Brokers, c.conversations()) {
		if event.Type == harness.SystemEvent {
			records++
			ids[event.ID] = true
		}
	}
	c.t.Logf("%d messages are in the log %d times", len(ids), records)
	for _, client := range clients {
		harness.ProduceMessages(ctx, c.t, c.parts.Brokers, c.systemMessages(), says(client.User, "last"))
		harness.Until(ctx, c.t, fmt.Sprintf("the last message of user %d", client.User), func() bool {
			return slices.Contains(told(client), "last")
		})
		got := slices.DeleteFunc(told(client), func(text string) bool { return text == "first" || text == "last" })
		if !slices.Equal(got, want) {
			c.t.Errorf("user %d was told %s", client.User, strings.Join(got, " "))
		}
	}
	return records - len(ids)
}
