package messaging_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

func TestAMessageIsAppendedWithIDTimeAndText(t *testing.T) {
	log := porttest.NewConversations(2)
	send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
	command := messaging.ChatCommand{Sender: 201, Target: 202, Text: porttest.Words(t, "<hello>")}
	if err := porttest.Answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
		t.Fatal(err)
	}
	want := domain.Event{
		ID: domain.EventID{15: 1}, Time: porttest.Stamped,
		Body: domain.ChatMessage{From: 201, To: 202, Text: porttest.Words(t, "<hello>")},
	}
	if got := porttest.Only(t, log); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHTMLIsEscapedBeforeTheAppendWhereThatIsOn(t *testing.T) {
	log := porttest.NewConversations(2)
	send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter(), EscapeHTML: true}
	command := messaging.ChatCommand{Sender: 201, Target: 202, Text: porttest.Words(t, "<'>")}
	if err := porttest.Answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
		t.Fatal(err)
	}
	if got := porttest.Only(t, log).Body.(domain.ChatMessage).Text.String(); got != "&lt;&#x27;&gt;" {
		t.Errorf("the log has %q", got)
	}
}

func TestAMessageSentAgainIsTheSameEvent(t *testing.T) {
	log := porttest.NewConversations(1)
	send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
	command := messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "m1"}
	for range 2 {
		if err := porttest.Answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, event := range log.All(0) {
		if event.ID != domain.MessageID(201, 202, "m1") || event.ClientMessageID != "m1" {
			t.Errorf("got %v, want the id of m1", event)
		}
	}
}

func TestWhoIsOfflineOrUnknownGetsNoMessageAndNoInvite(t *testing.T) {
	log := porttest.NewConversations(1)
	send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{}, Now: porttest.Local, NewID: porttest.Counter()}
	invite := &invites.Invite{Invites: invites.NewRegister(), Log: log, Online: porttest.OnlineSet{}, Now: porttest.Local, NewID: porttest.Counter()}
	say := &messaging.SendSystemMessage{Log: log, Online: porttest.OnlineSet{}, Now: porttest.Local, NewID: porttest.Counter()}
	_, err := say.Execute(t.Context(), messaging.SystemMessageCommand{Message: domain.SystemMessage{To: 202}})
	for what, err := range map[string]error{
		"chat": porttest.Answer(t, func(done func(error)) {
			send.Execute(messaging.ChatCommand{Sender: 201, Target: 202}, done)
		}),
		"invite": porttest.Answer(t, func(done func(error)) {
			invite.Execute(invites.Command{Sender: 201, Target: 202, Status: domain.InviteOpened}, done)
		}),
		"system message": err,
	} {
		porttest.WantCode(t, what, err, domain.CodeNoUserOrOffline)
		if !strings.Contains(err.Error(), "No User or Offline") {
			t.Errorf("%s: %q is not the contract's sentence", what, err)
		}
	}
	if len(log.All(0)) != 0 {
		t.Errorf("the log has %v", log.All(0))
	}
}

func TestAMessageSentAgainIsAppendedAlthoughItsTargetIsOfflineByNow(t *testing.T) {
	for what, test := range map[string]struct {
		name    domain.ClientMessageID
		behind  bool  // the history has nothing yet
		failing error // of the history
		want    domain.Code
		asks    int
	}{
		"sent before":                  {name: "m1", asks: 1},
		"another one":                  {name: "m2", want: domain.CodeNoUserOrOffline, asks: 1},
		"without a name":               {want: domain.CodeNoUserOrOffline},
		"not in the history yet":       {name: "m1", behind: true, want: domain.CodeNoUserOrOffline, asks: 1},
		"the history does not tell it": {name: "m1", failing: errors.New("away"), want: domain.CodeUnavailable, asks: 1},
	} {
		t.Run(what, func(t *testing.T) {
			log := porttest.NewConversations(1)
			sent := &storedCounts{log: log, behind: test.behind, err: test.failing}
			online := porttest.OnlineSet{202: true}
			send := &messaging.SendMessage{Log: log, Online: online, Now: porttest.Local, NewID: porttest.Counter(), Sent: sent}
			say := func(name domain.ClientMessageID) error {
				return porttest.Answer(t, func(done func(error)) {
					send.Execute(messaging.ChatCommand{Sender: 201, Target: 202, ClientMessageID: name}, done)
				})
			}
			if err := say("m1"); err != nil || sent.looked != 0 {
				t.Fatalf("%v, asked %d times although the target is online", err, sent.looked)
			}
			delete(online, 202)
			porttest.WantCode(t, what, say(test.name), test.want)
			events := log.All(0)
			if again := len(events) == 2 && events[0].ID == events[1].ID; again != (test.want == "") || sent.looked != test.asks {
				t.Errorf("the log has %v; asked %d times", events, sent.looked)
			}
		})
	}
}

func TestTheOutcomeOfAnAppendIsTheOutcomeOfItsMessage(t *testing.T) {
	for what, want := range map[porttest.Fate]domain.Code{porttest.Refused: domain.CodeUnavailable, porttest.Lost: domain.CodeUnconfirmed, porttest.Confirmed: ""} {
		log := porttest.NewConversations(1)
		log.Decide(func(domain.Event) porttest.Fate { return what })
		send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
		invite := &invites.Invite{Invites: invites.NewRegister(), Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
		say := &messaging.SendSystemMessage{Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
		porttest.WantCode(t, "chat", porttest.Answer(t, func(done func(error)) {
			send.Execute(messaging.ChatCommand{Sender: 201, Target: 202}, done)
		}), want)
		porttest.WantCode(t, "invite", porttest.Answer(t, func(done func(error)) {
			invite.Execute(invites.Command{Sender: 201, Target: 202, Status: domain.InviteCancelled}, done)
		}), want)
		_, err := say.Execute(t.Context(), messaging.SystemMessageCommand{Message: domain.SystemMessage{To: 202}})
		porttest.WantCode(t, "system message", err, want)
	}
}

func TestEveryInviteOpensANewRoomAndACancelNamesTheNewest(t *testing.T) {
	log := porttest.NewConversations(1)
	invite := &invites.Invite{Invites: invites.NewRegister(), Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
	for _, status := range []domain.InviteStatus{domain.InviteOpened, domain.InviteOpened, domain.InviteCancelled} {
		command := invites.Command{Sender: 201, Target: 202, Status: status}
		if err := porttest.Answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	events := log.All(0)
	first, second, cancel := events[0].Body.(domain.GameInvite), events[1].Body.(domain.GameInvite), events[2].Body.(domain.GameInvite)
	if _, ok := domain.ParseEventID(string(first.Room)); !ok || first.Room == second.Room || events[0].ID == events[1].ID {
		t.Errorf("rooms %q and %q, want two UUIDs", first.Room, second.Room)
	}
	if string(first.Room) == events[0].ID.String() {
		t.Error("the room is named like the event")
	}
	if cancel.Room != second.Room || cancel.Status != domain.InviteCancelled || cancel.From != 201 || cancel.To != 202 {
		t.Errorf("the cancel is %v", cancel)
	}
	if !events[0].Time.Equal(porttest.Stamped) || events[0].Time.Location() != time.UTC {
		t.Errorf("the time is %v, want %v", events[0].Time, porttest.Stamped)
	}
}

// The two copies may reach different connections: the target has the first, the sender's next connection the second.
func TestAnInviteSentAgainNamesTheSameRoom(t *testing.T) {
	log := porttest.NewConversations(1)
	for range 2 { // two nodes
		invite := &invites.Invite{Invites: invites.NewRegister(), Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
		invite.NewID()
		command := invites.Command{Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: "i1"}
		if err := porttest.Answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	events := log.All(0)
	if events[0].ID != events[1].ID || events[0].ID != domain.InviteID(201, 202, "i1") {
		t.Errorf("ids %s and %s", events[0].ID, events[1].ID)
	}
	if a, b := events[0].Body.(domain.GameInvite).Room, events[1].Body.(domain.GameInvite).Room; a != b || a == "" {
		t.Errorf("rooms %q and %q for one invite", a, b)
	}
}

func TestARoomIsNotThatOfAnotherInvite(t *testing.T) {
	log := porttest.NewConversations(1)
	invite := &invites.Invite{Invites: invites.NewRegister(), Log: log, Online: porttest.OnlineSet{202: true}, Now: porttest.Local, NewID: porttest.Counter()}
	for _, name := range []domain.ClientMessageID{"i1", "i2"} {
		command := invites.Command{Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: name}
		if err := porttest.Answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	if events := log.All(0); events[0].Body.(domain.GameInvite).Room == events[1].Body.(domain.GameInvite).Room {
		t.Error("two invites share a room")
	}
}

func TestASystemMessageIsAnsweredOnceItIsDurable(t *testing.T) {
	log := porttest.NewConversations(1)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
	say := &messaging.SendSystemMessage{Log: log, Online: porttest.OnlineSet{7: true}, Now: porttest.Local, NewID: porttest.Counter()}
	message := domain.SystemMessage{To: 7, Text: porttest.Words(t, "round 2 starts"), Room: "r", Opponent: 8}
	type result struct {
		event domain.Event
		err   error
	}
	outcome := make(chan result, 1)
	go func() {
		event, err := say.Execute(t.Context(), messaging.SystemMessageCommand{Message: message})
		outcome <- result{event, err}
	}()
	porttest.Eventually(t, func() bool {
		log.Mu.Lock()
		defer log.Mu.Unlock()
		return len(log.Waiting) == 1
	})
	select {
	case r := <-outcome:
		t.Fatalf("answered with %v before the log had it", r)
	default:
	}
	log.Release()
	r := <-outcome
	want := domain.Event{ID: domain.EventID{15: 1}, Time: porttest.Stamped, Body: message}
	if r.err != nil || r.event != want || porttest.Only(t, log) != want {
		t.Errorf("got %v, %v; want %v", r.event, r.err, want)
	}
}

func TestASystemMessageKeepsTheIDOfItsRequest(t *testing.T) {
	log := porttest.NewConversations(1)
	say := &messaging.SendSystemMessage{Log: log, Online: porttest.OnlineSet{7: true}, Now: porttest.Local, NewID: porttest.Counter()}
	id := domain.DerivedID("idempotency", "k")
	event, err := say.Execute(t.Context(), messaging.SystemMessageCommand{ID: id, Message: domain.SystemMessage{To: 7}})
	if err != nil || event.ID != id || porttest.Only(t, log).ID != id {
		t.Errorf("got %v, %v; want the id %s", event, err, id)
	}
}

func TestARequestThatEndsFirstDoesNotKnowTheOutcome(t *testing.T) {
	log := porttest.NewConversations(1)
	log.Decide(func(domain.Event) porttest.Fate { return porttest.Delayed })
	say := &messaging.SendSystemMessage{Log: log, Online: porttest.OnlineSet{7: true}, Now: porttest.Local, NewID: porttest.Counter()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := say.Execute(ctx, messaging.SystemMessageCommand{Message: domain.SystemMessage{To: 7}})
	porttest.WantCode(t, "Execute", err, domain.CodeUnconfirmed)
	log.Release() // done is called after all: nobody waits, and nothing blocks
}

func TestIsOnlineKnowsOfflineFromUnknown(t *testing.T) {
	known := &porttest.Users{Seen: map[domain.UserID]bool{8: true}}
	query := &presence.IsOnline{Users: known, Presence: porttest.OnlineSet{7: true}}
	if online, err := query.Execute(t.Context(), 1, 7); err != nil || !online {
		t.Errorf("7: %v, %v; want online, whatever the database knows", online, err)
	}
	if online, err := query.Execute(t.Context(), 1, 8); err != nil || online {
		t.Errorf("8: %v, %v; want offline", online, err)
	}
	_, err := query.Execute(t.Context(), 1, 9)
	porttest.WantCode(t, "9", err, domain.CodeUnknownUser)
	known.Err = porttest.ErrRefused
	_, err = query.Execute(t.Context(), 1, 8)
	porttest.WantCode(t, "without a database", err, domain.CodeUnavailable)
	if online, err := query.Execute(t.Context(), 1, 7); err != nil || !online {
		t.Errorf("7 without a database: %v, %v; want online", online, err)
	}
}

// hangingUsers is a port.KnownUsers that does not answer.
type hangingUsers struct{ *porttest.Users }

func (hangingUsers) Known(ctx context.Context, _ domain.UserID) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestAMessageToSomebodyOfflineWaitsTwoSecondsForTheDatabaseAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send := &messaging.SendMessage{Log: porttest.NewConversations(1), Online: porttest.OnlineSet{}, Now: time.Now, NewID: porttest.Counter(), Stored: hangingUsers{}}
		began := time.Now()
		porttest.WantCode(t, "the message", porttest.Answer(t, func(done func(error)) {
			send.Execute(messaging.ChatCommand{Sender: 201, Target: 202}, done)
		}), domain.CodeUnavailable)
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("it waited %v", waited)
		}
	})
}
