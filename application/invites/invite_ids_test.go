package invites_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"chatting/application/invites"
	"chatting/domain"
	"chatting/test/porttest"
)

// named does what do does, under a name of the sender's.
func (i *inviting) named(name string, sender, target domain.UserID, status domain.InviteStatus, room domain.RoomID) error {
	i.t.Helper()
	id, err := domain.NewClientMessageID(name)
	if err != nil {
		i.t.Fatal(err)
	}
	return porttest.Answer(i.t, func(done func(error)) {
		i.invite.Execute(invites.Command{
			Sender: sender, Target: target, Status: status, Room: room, ClientMessageID: id,
		}, done)
	})
}

// lastEvent is the one at the end of the log.
func (i *inviting) lastEvent() domain.Event {
	events := i.log.All(0)
	return events[len(events)-1]
}

func TestACancelThatIsAppendedAgainWithoutItsRoomIsAnotherEvent(t *testing.T) {
	for _, name := range []string{"", "mine"} {
		log := porttest.NewConversations(1)
		here, elsewhere := newInviting(t, log), newInviting(t, log)
		room := here.open()
		here.tail()
		elsewhere.tail()
		here.invite.Log = echoing{here}
		porttest.WantCode(t, "accept", elsewhere.do(202, 201, domain.InviteAccepted, room), "")
		cancel := func() error { return here.do(201, 202, domain.InviteCancelled, "") }
		if name != "" {
			cancel = func() error { return here.named(name, 201, 202, domain.InviteCancelled, "") }
		}
		porttest.WantCode(t, "cancel", cancel(), "")
		events := log.All(0)
		lost, shown := events[len(events)-2], events[len(events)-1]
		if lost.ID == shown.ID {
			t.Errorf("name %q: %+v and %+v have one id", name, lost.Body, shown.Body)
		}
		if name == "" {
			continue
		}
		porttest.WantCode(t, "the same again", cancel(), "")
		if again := here.lastEvent(); again.ID != shown.ID || again.Body != shown.Body {
			t.Errorf("sent again it is %+v, not %+v", again, shown)
		}
	}
}

func TestACancelThatIsSentAgainEndsNoOtherInvite(t *testing.T) {
	i := newInviting(t, porttest.NewConversations(1))
	room := i.open()
	i.tail()
	porttest.WantCode(t, "cancel", i.named("mine", 201, 202, domain.InviteCancelled, ""), "")
	if i.tail() != domain.InviteStands || i.latest().Room != room {
		t.Fatalf("the cancel ends %q", i.latest().Room)
	}
	first := i.lastEvent()
	i.open()
	i.tail()
	porttest.WantCode(t, "the same again", i.named("mine", 201, 202, domain.InviteCancelled, ""), "")
	if again := i.lastEvent(); again.ID != first.ID || again.Body != first.Body {
		t.Errorf("sent again it is %+v, not %+v", again, first)
	}
}

// Readers of the log count the first record of an id: so no later one may say anything else.
func TestAnEventIDStandsForOneBodyWhateverClientsNameTheirInvites(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 15))
		log := porttest.NewConversations(1)
		nodes := []*inviting{newInviting(t, log), newInviting(t, log)}
		for _, node := range nodes {
			node.invite.Log = echoing{node}
		}
		var rooms []domain.RoomID
		statuses := []domain.InviteStatus{
			domain.InviteOpened, domain.InviteCancelled, domain.InviteCancelled, domain.InviteAccepted, domain.InviteDeclined,
		}
		for range 60 {
			node := nodes[random.IntN(2)]
			if random.IntN(2) == 0 {
				nodes[random.IntN(2)].tail()
			}
			sender := domain.UserID(201 + random.IntN(2))
			status := statuses[random.IntN(len(statuses))]
			var room domain.RoomID
			if len(rooms) > 0 && (status != domain.InviteCancelled || random.IntN(2) == 0) {
				room = rooms[random.IntN(len(rooms))]
			}
			_ = node.named(fmt.Sprint(random.IntN(3)), sender, 403-sender, status, room)
			if len(log.All(0)) > 0 && node.latest().Status == domain.InviteOpened {
				rooms = append(rooms, node.latest().Room)
			}
		}
		first := map[domain.EventID]domain.GameInvite{}
		for _, event := range log.All(0) {
			body, _ := event.Body.(domain.GameInvite)
			body.Expires = time.Time{} // that of an opening which is sent again may differ: the first counts
			if known, again := first[event.ID]; again && known != body {
				t.Fatalf("seed %d: %s is %+v, then %+v", seed, event.ID, known, body)
			}
			first[event.ID] = body
		}
	}
}
