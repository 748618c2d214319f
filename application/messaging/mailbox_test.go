package messaging_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/messaging"
	"chatting/domain"
	"chatting/test/porttest"
)

// storedCounts counts what a log of messages to users who are offline holds.
type storedCounts struct {
	log porttest.Conversations

	mu    sync.Mutex
	taken map[domain.UserID]int // messages, from the first on, that the recipient has got
	asked int
	err   error
	// behind has the history know no message yet. looked is how often it was asked for one.
	behind bool
	looked int
}

func (c *storedCounts) HasMessage(_ context.Context, one, other domain.UserID, id domain.EventID) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked++
	return !c.behind && slices.ContainsFunc(c.log.All(c.log.PartitionOf(domain.Between(one, other))), func(event domain.Event) bool {
		return event.ID == id
	}), c.err
}

func (c *storedCounts) StoredOf(
	_ context.Context, sender, recipient domain.UserID, limit int,
) (messages int, bytes int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	got := c.taken[recipient]
	for _, event := range c.log.All(c.log.PartitionOf(domain.Between(sender, recipient))) {
		body, ok := event.Body.(domain.ChatMessage)
		if !ok || body.From != sender || body.To != recipient {
			continue
		}
		if got > 0 {
			got--
			continue
		}
		if messages < limit {
			messages++
			bytes += int64(len(body.Text.String()) + 100)
		}
	}
	return messages, bytes, c.err
}

func newStoringSender(bounds messaging.MailboxBounds) (*messaging.SendMessage, *storedCounts, porttest.Conversations) {
	log := porttest.NewConversations(4)
	counts := &storedCounts{log: log, taken: map[domain.UserID]int{}}
	known := &porttest.Users{Seen: map[domain.UserID]bool{201: true, 202: true, 203: true}}
	return &messaging.SendMessage{
		Log: log, Online: porttest.OnlineSet{201: true, 203: true}, Now: time.Now, NewID: porttest.Counter(), Stored: known,
		Mailboxes: messaging.NewMailboxes(counts, bounds),
	}, counts, log
}

func TestWhatOneSenderMayStoreForOneUserIsBounded(t *testing.T) {
	short, long := text(t, "x"), text(t, strings.Repeat("x", 10_000))
	for name, test := range map[string]struct {
		bounds messaging.MailboxBounds
		text   domain.Text
		most   int
	}{
		"messages":                   {messaging.MailboxBounds{Messages: 20, Bytes: 1 << 20}, short, 20},
		"bytes":                      {messaging.MailboxBounds{Messages: 1000, Bytes: 100_000}, long, 9},
		"bytes alone":                {messaging.MailboxBounds{Bytes: 100_000}, long, 9},
		"bytes below one message":    {messaging.MailboxBounds{Bytes: 5_000}, long, 1},
		"none":                       {messaging.MailboxBounds{}, short, 50},
		"messages, as many as there": {messaging.MailboxBounds{Messages: 50}, short, 50},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				send, counts, log := newStoringSender(test.bounds)
				say := func(from, to domain.UserID) error {
					return porttest.Answer(t, func(done func(error)) {
						send.Execute(messaging.ChatCommand{Sender: from, Target: to, Text: test.text}, done)
					})
				}
				stored := 0
				for range 50 {
					err := say(201, 202)
					if err == nil {
						stored++
						continue
					}
					porttest.WantCode(t, "beyond the bound", err, domain.CodeMailboxFull)
				}
				if stored != test.most {
					t.Fatalf("%d messages are stored, want %d", stored, test.most)
				}
				if test.bounds == (messaging.MailboxBounds{}) && counts.asked > 0 {
					t.Error("the database was asked though nothing is bounded")
				}
				if counts.looked > 0 {
					t.Error("the database was asked for messages that have no names")
				}
				if counts.asked > 2 {
					t.Errorf("the database was asked %d times", counts.asked)
				}
				porttest.WantCode(t, "another sender", say(203, 202), "")
				porttest.WantCode(t, "to somebody who is online", say(201, 203), "")
				if test.most == 50 {
					return
				}
				if test.bounds.Messages == 20 { // what other nodes have stored meanwhile counts, too
					counts.taken[202] = 20
					time.Sleep(2 * time.Second)
					porttest.WantCode(t, "with room again", say(201, 202), "")
					counts.taken[202] = 0
					time.Sleep(6 * time.Second)
					porttest.WantCode(t, "counted again", say(201, 202), domain.CodeMailboxFull)
				}
				before := len(log.All(log.PartitionOf(domain.Between(201, 202))))
				time.Sleep(time.Minute) // what was known is counted again
				porttest.WantCode(t, "a minute later", say(201, 202), domain.CodeMailboxFull)
				if after := len(log.All(log.PartitionOf(domain.Between(201, 202)))); after != before {
					t.Error("what was refused is in the log")
				}
				counts.taken[202] = stored + 1
				time.Sleep(2 * time.Second)
				porttest.WantCode(t, "once it was taken", say(201, 202), "")
			})
		})
	}
}

// A message that is sent again under its name is the same message, also for the mailbox.
func TestAMessageThatIsSentAgainFindsRoomInAFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send, counts, log := newStoringSender(messaging.MailboxBounds{Messages: 3})
		say := func(name domain.ClientMessageID) error {
			return porttest.Answer(t, func(done func(error)) {
				send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, Text: text(t, "x"), ClientMessageID: name}, done)
			})
		}
		for _, name := range []domain.ClientMessageID{"c0", "c1", "c2"} {
			porttest.WantCode(t, string(name), say(name), "")
		}
		again := func(what string) {
			t.Helper()
			porttest.WantCode(t, what+": the same again", say("c2"), "")
			porttest.WantCode(t, what+": a new one", say("c3"), domain.CodeMailboxFull)
			porttest.WantCode(t, what+": one without a name", say(""), domain.CodeMailboxFull)
			porttest.WantCode(t, what+": the same once more", say("c0"), "")
		}
		counts.behind = true
		again("while the history is behind")
		time.Sleep(10 * time.Second)
		again("counted again")
		counts.behind = false
		send.Mailboxes = messaging.NewMailboxes(counts, messaging.MailboxBounds{Messages: 3}) // as on another node
		again("on another node")
		if got := len(log.All(log.PartitionOf(domain.Between(201, 202)))); got != 9 {
			t.Errorf("the log has %d records, want those that were echoed", got)
		}
		counts.err = porttest.ErrRefused
		porttest.WantCode(t, "the database away", say("c4"), domain.CodeUnavailable)
	})
}

func TestAMessageThatIsSentAgainDoesNotCountAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send, counts, _ := newStoringSender(messaging.MailboxBounds{Messages: 20})
		say := func(name string) error {
			return porttest.Answer(t, func(done func(error)) {
				send.Execute(messaging.ChatCommand{
					Sender: 201, Target: 202, Text: text(t, "x"), ClientMessageID: domain.ClientMessageID(name),
				}, done)
			})
		}
		for range 1200 {
			porttest.WantCode(t, "one message", say("same"), "")
		}
		for i := range 19 {
			porttest.WantCode(t, "another one", say(fmt.Sprint("other", i)), "")
		}
		porttest.WantCode(t, "beyond the bound", say("more"), domain.CodeMailboxFull)
		porttest.WantCode(t, "the first one, which is no longer remembered", say("same"), "")
		if counts.asked > 1 || counts.looked > 2 {
			t.Errorf("the database counted %d times and looked %d times", counts.asked, counts.looked)
		}
	})
}

func TestNothingIsStoredWhileItCannotBeTold(t *testing.T) {
	send, counts, _ := newStoringSender(messaging.MailboxBounds{Messages: 10})
	counts.err = porttest.ErrRefused
	porttest.WantCode(t, "the database away", porttest.Answer(t, func(done func(error)) {
		send.Execute(messaging.ChatCommand{Sender: 201, Target: 202}, done)
	}), domain.CodeUnavailable)
}

func text(t *testing.T, s string) domain.Text {
	t.Helper()
	made, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestTheBoundOfBytesMayBeReachedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send, _, _ := newStoringSender(messaging.MailboxBounds{Bytes: 3 * (160 + 40)})
		for n := range 4 {
			want := domain.Code("")
			if n == 3 {
				want = domain.CodeMailboxFull
			}
			porttest.WantCode(t, fmt.Sprint("message ", n), porttest.Answer(t, func(done func(error)) {
				send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, Text: text(t, strings.Repeat("안", 13)+"x")}, done) // 40 bytes
			}), want)
		}
	})
}
