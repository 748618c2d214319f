package projector

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// Each record meets another projector, which has to find out what the earlier ones did.
func TestTheHistoryLeavesOutWhatCameTooLateToEndAnInvite(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		k, topic := historyTopic(t, cluster)
		store := newMemoryHistory()
		room := domain.RoomID(newEventID().String())
		blockedRoom := domain.RoomID(newEventID().String())
		// say appends what is said of a room, and has it projected.
		say := func(from, to domain.UserID, status domain.InviteStatus, room domain.RoomID, stands, hidden bool) {
			t.Helper()
			event := domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.GameInvite{From: from, To: to, Status: status, Room: room}}
			k.append(event)
			if stands {
				k.want = append(k.want, entryLine(1, event.ID, hidden))
			}
			ends, err := logclient.Ends(brokertest.Context(t), cluster, topic, 1)
			if err != nil {
				t.Fatal(err)
			}
			stop := project(t, testProjector(t, cluster, topic, store))
			brokertest.WaitUntil(t, func() bool { return store.next(0).Offset == ends[0] })
			stop()
			wantHistory(t, store, k.want)
		}
		say(1, 2, domain.InviteOpened, room, true, false)
		say(2, 1, domain.InviteAccepted, room, true, false)
		say(1, 2, domain.InviteCancelled, room, false, false)
		say(1, 2, domain.InviteExpired, room, false, false)
		say(1, 2, domain.InviteCancelled, "", true, false)
		// Of an invite from before a block and its end the invited is told no more.
		say(1, 2, domain.InviteOpened, blockedRoom, true, false)
		k.block(true)
		k.block(false)
		say(2, 1, domain.InviteAccepted, blockedRoom, false, false)
		say(1, 2, domain.InviteExpired, blockedRoom, true, true)
	})
}
