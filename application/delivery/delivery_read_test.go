package delivery_test

import (
	"errors"
	"slices"
	"testing"

	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/domain"
	"chatting/test/porttest"
)

// witness is a RecordReader that notes what a connection had got by then.
type witness struct {
	conn *porttest.Conn
	seen map[domain.EventID][]int // frames that it had, each time
}

func (w *witness) Read(id domain.EventID, outcome error) {
	if outcome != nil {
		panic(outcome)
	}
	w.seen[id] = append(w.seen[id], len(porttest.Of[porttest.Delivered](w.conn)))
}

func (w *witness) want(t *testing.T, what string, id domain.EventID, frames ...int) {
	t.Helper()
	if !slices.Equal(w.seen[id], frames) {
		t.Errorf("%s: read when the sender had %v frames, want %v", what, w.seen[id], frames)
	}
}

// newWitness returns a stage, and who watches the connection that a user has on it.
func newWitness(t *testing.T, user domain.UserID) (*stage, *witness) {
	s := newStage(t, 1)
	w := &witness{seen: make(map[domain.EventID][]int)}
	s.Delivery = delivery.NewDelivery(w, invites.NewRegister(), porttest.QuietNotices())
	w.conn, _ = s.Login(user)
	return s, w
}

func TestARecordCountsAsReadOnceItsSenderHasItsFrame(t *testing.T) {
	s, w := newWitness(t, 201)
	s.Append(domain.Event{ID: domain.EventID{1}, Body: domain.ChatMessage{From: 201, To: 202}})
	s.Append(domain.Event{ID: domain.EventID{2}, Body: domain.ChatMessage{From: 201, To: 201}})
	s.Append(domain.Event{ID: domain.EventID{3}, Body: domain.GameInvite{From: 201, To: 200, Status: domain.InviteOpened}})
	s.Tail()
	w.want(t, "a message", domain.EventID{1}, 1)
	w.want(t, "one to oneself", domain.EventID{2}, 2)
	w.want(t, "an invite", domain.EventID{3}, 3)
}

func TestARecordThatItsReceiverHidesCountsAsRead(t *testing.T) {
	s, w := newWitness(t, 201)
	s.Login(202)
	s.Block(202, 201)
	s.Append(domain.Event{ID: domain.EventID{1}, Body: domain.ChatMessage{From: 201, To: 202}})
	s.Tail()
	w.want(t, "a blocked sender's message", domain.EventID{1}, 1)
}

func TestASecondCopyCountsAsRead(t *testing.T) {
	s, w := newWitness(t, 201)
	s.Named(201, 202, "m")
	s.Named(201, 202, "m")
	s.Tail()
	w.want(t, "a message that was sent again", domain.MessageID(201, 202, "m"), 1, 1)
}

func TestARecordThatIsNotOursDoesNotCountAsRead(t *testing.T) {
	s, w := newWitness(t, 201)
	event := domain.Event{ID: domain.EventID{1}, Body: domain.ChatMessage{From: 201, To: 202}}
	s.Delivery.Apply(porttest.Record{Event: event, Err: errors.New("not ours")})
	w.want(t, "a forged record", event.ID)
}
