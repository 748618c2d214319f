package presence

import (
	"testing"

	"chatting/application/port"
	"chatting/domain"
)

func TestUsersWhoseChangesTheLogDidNotTakeAreBounded(t *testing.T) {
	var friends Friends
	friends.unannounced = make(map[domain.UserID]struct{})
	for user := range domain.UserID(maxUnannounced) {
		friends.unannounced[user+1] = struct{}{}
	}
	friends.Sessions = refusingLog{}
	if err := friends.announce(t.Context(), maxUnannounced+1, true); err == nil || len(friends.unannounced) != maxUnannounced {
		t.Errorf("%v; %d users are remembered", err, len(friends.unannounced))
	}
}

// refusingLog is a port.SessionLog that takes nothing.
type refusingLog struct{ port.SessionLog }

func (refusingLog) Append(_ domain.SessionRecord, done func(error)) {
	done(domain.NewError(domain.CodeUnavailable, "refused"))
}
