package usermanagement

import (
	"context"
	"fmt"
	"net/http"

	"chatting/domain"
)

// Friends implements presence.FriendLists: whom user added, in the service's order, repeated ones once. Nothing is
// remembered. Every failure is CodeUnavailable: no answer within the timeout, another status than 200, an entry without
// a good id, more than maxFriends entries or maxFriendsBytes.
func (c *Client) Friends(ctx context.Context, user domain.UserID) ([]domain.UserID, error) {
	ctx, end, ok := c.asker.Begin(ctx)
	if !ok {
		return nil, noFriends(errClosed)
	}
	defer end()
	if err := c.friendsTurns.Acquire(ctx, 1); err != nil {
		return nil, noFriends(err)
	}
	defer c.friendsTurns.Release(1)
	status, body, err := c.get(ctx, c.friendsURL+"?id="+user.String(), "", maxFriendsBytes)
	if err != nil {
		return nil, noFriends(err)
	}
	if status != http.StatusOK {
		return nil, noFriends(fmt.Errorf("the answer has status %d", status))
	}
	friends, err := parseFriends(body)
	if err != nil {
		return nil, noFriends(err)
	}
	return friends, nil
}

func noFriends(cause error) *domain.Error {
	return domain.WrapError(domain.CodeUnavailable, "The list of friends could not be loaded.", cause)
}
