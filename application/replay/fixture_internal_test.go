package replay

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/domain"
)

// givenConn is a delivery.Connection that notes what it was given, in short: "replay 7 8@0:3", "close 1012".
type givenConn struct {
	delivery.Connection
	given []string
	rooms []int // what was waited for
	room  func(ctx context.Context) error
}

func (c *givenConn) Has(port.Feature) bool { return false }

func (c *givenConn) Close(reason port.CloseReason) {
	c.given = append(c.given, fmt.Sprintf("close %v", reason))
}

func (c *givenConn) Replay(batch []delivery.Replayed) {
	text := "replay"
	for _, r := range batch {
		text += fmt.Sprintf(" %d", len(r.Frame))
		if r.At != nil {
			text += fmt.Sprintf("@%d:%d", r.At.Partition, r.At.Offset)
		}
	}
	c.given = append(c.given, text)
}

func (c *givenConn) AwaitRoom(ctx context.Context, bytes int) error {
	c.rooms = append(c.rooms, bytes)
	if c.room != nil {
		return c.room(ctx)
	}
	return nil
}

func (c *givenConn) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(c.given, want) {
		t.Errorf("%s: given %q, want %q", what, c.given, want)
	}
	c.given = nil
}

// attach attaches a connection to a delivery to which no record comes.
func attach(user domain.UserID, c *givenConn) *delivery.Attachment {
	return delivery.NewDelivery(nil, nil, nil).Attach(user, c)
}

// handoverTo is attach for a user for whom messages are stored.
func handoverTo(user domain.UserID, c *givenConn) *delivery.Handover {
	to := attach(user, c).Handover()
	to.Stores()
	return to
}
