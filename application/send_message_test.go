package application_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// local is the clock of the use cases: neither UTC nor whole milliseconds.
func local() time.Time {
	return someTime.Add(1_999_999).In(time.FixedZone("KST", 9*3600))
}

var stamped = someTime.Add(time.Millisecond)

// only returns the one event that the log holds.
func only(t *testing.T, log conversations) domain.Event {
	t.Helper()
	var events []domain.Event
	for partition := range log.partitions {
		events = append(events, log.all(partition)...)
	}
	if len(events) != 1 {
		t.Fatalf("the log has %v, want one event", events)
	}
	return events[0]
}

// answer calls a use case and returns what done was called with; it must be called once, without waiting for anything.
func answer(t *testing.T, execute func(done func(error))) error {
	t.Helper()
	var outcomes []error
	execute(func(err error) { outcomes = append(outcomes, err) })
	if len(outcomes) != 1 {
		t.Fatalf("done was called %d times", len(outcomes))
	}
	return outcomes[0]
}

func TestAMessageIsAppendedWithIDTimeAndText(t *testing.T) {
	log := newConversations(2)
	send := &application.SendMessage{Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
	command := application.ChatCommand{Sender: 201, Target: 202, Text: words(t, "<hello>")}
	if err := answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
		t.Fatal(err)
	}
	want := domain.Event{
		ID: domain.EventID{15: 1}, Time: stamped,
		Body: domain.ChatMessage{From: 201, To: 202, Text: words(t, "<hello>")},
	}
	if got := only(t, log); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHTMLIsEscapedBeforeTheAppendWhereThatIsOn(t *testing.T) {
	log := newConversations(2)
	send := &application.SendMessage{Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter(), EscapeHTML: true}
	command := application.ChatCommand{Sender: 201, Target: 202, Text: words(t, "<'>")}
	if err := answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
		t.Fatal(err)
	}
	if got := only(t, log).Body.(domain.ChatMessage).Text.String(); got != "&lt;&#x27;&gt;" {
		t.Errorf("the log has %q", got)
	}
}

func TestAMessageSentAgainIsTheSameEvent(t *testing.T) {
	log := newConversations(1)
	send := &application.SendMessage{Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
	command := application.ChatCommand{Sender: 201, Target: 202, ClientMessageID: "m1"}
	for range 2 {
		if err := answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, event := range log.all(0) {
		if event.ID != domain.MessageID(201, 202, "m1") || event.ClientMessageID != "m1" {
			t.Errorf("got %v, want the id of m1", event)
		}
	}
}

func TestWhoIsOfflineOrUnknownGetsNoMessageAndNoInvite(t *testing.T) {
	log := newConversations(1)
	send := &application.SendMessage{Log: log, Online: onlineSet{}, Now: local, NewID: counter()}
	invite := &application.Invite{Invites: application.NewInvites(), Log: log, Online: onlineSet{}, Now: local, NewID: counter()}
	say := &application.SendSystemMessage{Log: log, Online: onlineSet{}, Now: local, NewID: counter()}
	_, err := say.Execute(t.Context(), application.SystemMessageCommand{Message: domain.SystemMessage{To: 202}})
	for what, err := range map[string]error{
		"chat": answer(t, func(done func(error)) {
			send.Execute(application.ChatCommand{Sender: 201, Target: 202}, done)
		}),
		"invite": answer(t, func(done func(error)) {
			invite.Execute(application.InviteCommand{Sender: 201, Target: 202, Status: domain.InviteOpened}, done)
		}),
		"system message": err,
	} {
		wantCode(t, what, err, domain.CodeNoUserOrOffline)
		if !strings.Contains(err.Error(), "No User or Offline") {
			t.Errorf("%s: %q is not the contract's sentence", what, err)
		}
	}
	if len(log.all(0)) != 0 {
		t.Errorf("the log has %v", log.all(0))
	}
}

func TestTheOutcomeOfAnAppendIsTheOutcomeOfItsMessage(t *testing.T) {
	for what, want := range map[fate]domain.Code{refused: domain.CodeUnavailable, lost: domain.CodeUnconfirmed, confirmed: ""} {
		log := newConversations(1)
		log.decide(func(domain.Event) fate { return what })
		send := &application.SendMessage{Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
		invite := &application.Invite{Invites: application.NewInvites(), Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
		say := &application.SendSystemMessage{Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
		wantCode(t, "chat", answer(t, func(done func(error)) {
			send.Execute(application.ChatCommand{Sender: 201, Target: 202}, done)
		}), want)
		wantCode(t, "invite", answer(t, func(done func(error)) {
			invite.Execute(application.InviteCommand{Sender: 201, Target: 202, Status: domain.InviteCancelled}, done)
		}), want)
		_, err := say.Execute(t.Context(), application.SystemMessageCommand{Message: domain.SystemMessage{To: 202}})
		wantCode(t, "system message", err, want)
	}
}

func TestEveryInviteOpensANewRoomAndACancelNamesTheNewest(t *testing.T) {
	log := newConversations(1)
	invite := &application.Invite{Invites: application.NewInvites(), Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
	for _, status := range []domain.InviteStatus{domain.InviteOpened, domain.InviteOpened, domain.InviteCancelled} {
		command := application.InviteCommand{Sender: 201, Target: 202, Status: status}
		if err := answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	events := log.all(0)
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
	if !events[0].Time.Equal(stamped) || events[0].Time.Location() != time.UTC {
		t.Errorf("the time is %v, want %v", events[0].Time, stamped)
	}
}

// The two copies may reach different connections: the target has the first, the sender's next connection the second.
func TestAnInviteSentAgainNamesTheSameRoom(t *testing.T) {
	log := newConversations(1)
	for range 2 { // two nodes
		invite := &application.Invite{Invites: application.NewInvites(), Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
		invite.NewID()
		command := application.InviteCommand{Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: "i1"}
		if err := answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	events := log.all(0)
	if events[0].ID != events[1].ID || events[0].ID != domain.InviteID(201, 202, "i1") {
		t.Errorf("ids %s and %s", events[0].ID, events[1].ID)
	}
	if a, b := events[0].Body.(domain.GameInvite).Room, events[1].Body.(domain.GameInvite).Room; a != b || a == "" {
		t.Errorf("rooms %q and %q for one invite", a, b)
	}
}

func TestARoomIsNotThatOfAnotherInvite(t *testing.T) {
	log := newConversations(1)
	invite := &application.Invite{Invites: application.NewInvites(), Log: log, Online: onlineSet{202: true}, Now: local, NewID: counter()}
	for _, name := range []domain.ClientMessageID{"i1", "i2"} {
		command := application.InviteCommand{Sender: 201, Target: 202, Status: domain.InviteOpened, ClientMessageID: name}
		if err := answer(t, func(done func(error)) { invite.Execute(command, done) }); err != nil {
			t.Fatal(err)
		}
	}
	if events := log.all(0); events[0].Body.(domain.GameInvite).Room == events[1].Body.(domain.GameInvite).Room {
		t.Error("two invites share a room")
	}
}

func TestASystemMessageIsAnsweredOnceItIsDurable(t *testing.T) {
	log := newConversations(1)
	log.decide(func(domain.Event) fate { return delayed })
	say := &application.SendSystemMessage{Log: log, Online: onlineSet{7: true}, Now: local, NewID: counter()}
	message := domain.SystemMessage{To: 7, Text: words(t, "round 2 starts"), Room: "r", Opponent: 8}
	type result struct {
		event domain.Event
		err   error
	}
	outcome := make(chan result, 1)
	go func() {
		event, err := say.Execute(t.Context(), application.SystemMessageCommand{Message: message})
		outcome <- result{event, err}
	}()
	eventually(t, func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return len(log.waiting) == 1
	})
	select {
	case r := <-outcome:
		t.Fatalf("answered with %v before the log had it", r)
	default:
	}
	log.release()
	r := <-outcome
	want := domain.Event{ID: domain.EventID{15: 1}, Time: stamped, Body: message}
	if r.err != nil || r.event != want || only(t, log) != want {
		t.Errorf("got %v, %v; want %v", r.event, r.err, want)
	}
}

func TestASystemMessageKeepsTheIDOfItsRequest(t *testing.T) {
	log := newConversations(1)
	say := &application.SendSystemMessage{Log: log, Online: onlineSet{7: true}, Now: local, NewID: counter()}
	id := domain.DerivedID("idempotency", "k")
	event, err := say.Execute(t.Context(), application.SystemMessageCommand{ID: id, Message: domain.SystemMessage{To: 7}})
	if err != nil || event.ID != id || only(t, log).ID != id {
		t.Errorf("got %v, %v; want the id %s", event, err, id)
	}
}

func TestARequestThatEndsFirstDoesNotKnowTheOutcome(t *testing.T) {
	log := newConversations(1)
	log.decide(func(domain.Event) fate { return delayed })
	say := &application.SendSystemMessage{Log: log, Online: onlineSet{7: true}, Now: local, NewID: counter()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := say.Execute(ctx, application.SystemMessageCommand{Message: domain.SystemMessage{To: 7}})
	wantCode(t, "Execute", err, domain.CodeUnconfirmed)
	log.release() // done is called after all: nobody waits, and nothing blocks
}

func TestIsOnlineKnowsOfflineFromUnknown(t *testing.T) {
	known := &users{known: map[domain.UserID]bool{8: true}}
	query := &application.IsOnline{Users: known, Presence: onlineSet{7: true}}
	if online, err := query.Execute(t.Context(), 1, 7); err != nil || !online {
		t.Errorf("7: %v, %v; want online, whatever the database knows", online, err)
	}
	if online, err := query.Execute(t.Context(), 1, 8); err != nil || online {
		t.Errorf("8: %v, %v; want offline", online, err)
	}
	_, err := query.Execute(t.Context(), 1, 9)
	wantCode(t, "9", err, domain.CodeUnknownUser)
	known.err = errRefused
	_, err = query.Execute(t.Context(), 1, 8)
	wantCode(t, "without a database", err, domain.CodeUnavailable)
	if online, err := query.Execute(t.Context(), 1, 7); err != nil || !online {
		t.Errorf("7 without a database: %v, %v; want online", online, err)
	}
}

// hangingUsers is a KnownUsers that does not answer.
type hangingUsers struct{ *users }

func (hangingUsers) Known(ctx context.Context, _ domain.UserID) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestAMessageToSomebodyOfflineWaitsTwoSecondsForTheDatabaseAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send := &application.SendMessage{Log: newConversations(1), Online: onlineSet{}, Now: time.Now, NewID: counter(), Stored: hangingUsers{}}
		began := time.Now()
		wantCode(t, "the message", answer(t, func(done func(error)) {
			send.Execute(application.ChatCommand{Sender: 201, Target: 202}, done)
		}), domain.CodeUnavailable)
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("it waited %v", waited)
		}
	})
}
