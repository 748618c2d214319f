package delivery_test

import (
	"slices"
	"testing"
	"time"

	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// newestAct is a delivery.Acts: the version of the newest act on every user.
type newestAct struct{ version int64 }

func (n *newestAct) Judge(domain.Event, domain.Place, time.Time) error { return nil }

func (n *newestAct) VersionOf(domain.UserID) int64 { return n.version }

func TestAnActEndsTheConnectionsWhoseLoginsDoNotKnowIt(t *testing.T) {
	acts := &newestAct{version: 1}
	d := delivery.NewDelivery(&porttest.Readings{}, invites.NewRegister(), porttest.QuietNotices())
	d.Acts = acts
	attach := func(user domain.UserID) (*porttest.Conn, *delivery.Attachment) {
		c := &porttest.Conn{}
		return c, d.Attach(user, c)
	}
	early, login := attach(201)
	if got := login.KnowsActs(); got != 1 {
		t.Errorf("the login knows %d", got)
	}
	other, _ := attach(202)
	inItsLogin, _ := attach(201)
	acts.version = 2
	late, login := attach(201)
	login.KnowsActs()

	d.End(201, 2, port.CloseBanned, domain.NewError(domain.CodeBanned, "banned"))
	d.End(203, 2, port.CloseBanned, nil) // who is not here
	want := []any{porttest.RefusedWith{Code: domain.CodeBanned}, porttest.Closed{Reason: port.CloseBanned}}
	for _, c := range []*porttest.Conn{early, inItsLogin} {
		if got := c.All(); !slices.Equal(got, want) {
			t.Errorf("a connection got %v, want %v", got, want)
		}
	}
	for _, c := range []*porttest.Conn{other, late} {
		if got := c.All(); len(got) != 0 {
			t.Errorf("a connection that stays got %v", got)
		}
	}
	acts.version = 3
	d.End(201, 3, port.CloseEnded, nil)
	if got := late.All(); !slices.Equal(got, []any{porttest.Closed{Reason: port.CloseEnded}}) {
		t.Errorf("without a word to the client: %v", got)
	}
}
