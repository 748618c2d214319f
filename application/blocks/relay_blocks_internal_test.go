package blocks

import (
	"fmt"
	"testing"

	"chatting/domain"
)

func TestChangesOfBlocksAreGroupedByPairInTheirOrder(t *testing.T) {
	change := func(blocker, target domain.UserID, version int64) domain.Event {
		return domain.Event{Body: domain.BlockChanged{Blocker: blocker, Target: target, Version: version}}
	}
	groups := byPair([]domain.Event{change(1, 2, 1), change(2, 1, 4), change(1, 3, 1), change(1, 2, 2), change(2, 1, 5), change(1, 2, 3)})
	var got string
	for _, group := range groups {
		for _, event := range group {
			body, _ := event.Body.(domain.BlockChanged)
			got += fmt.Sprintf("%d:%d/%d ", body.Blocker, body.Target, body.Version)
		}
		got += "| "
	}
	if want := "1:2/1 1:2/2 1:2/3 | 2:1/4 2:1/5 | 1:3/1 | "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
