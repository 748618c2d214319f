package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/domain"
)

var friendSentences = targetSentences{
	domain.CodeSelf:       "자기 자신은 친구로 추가할 수 없습니다.",
	domain.CodeNotWatched: "친구가 아닌 사용자입니다.",
	domain.CodeLimit:      "친구를 더 이상 추가할 수 없습니다.",
}

func (a *API) addFriend(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readTarget(c)
	if err != nil {
		return err
	}
	if err := a.deps.Friends.Add(ctx, user, target); err != nil {
		return friendSentences.of(err)
	}
	return send(c, http.StatusCreated, targetBody{target})
}

func (a *API) removeFriend(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readRemoved(c)
	if err != nil {
		return err
	}
	if err := a.deps.Friends.Remove(ctx, user, target); err != nil {
		return friendSentences.of(err)
	}
	return send(c, http.StatusOK, nil)
}

func (a *API) getFriends(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	friends, err := a.deps.Friends.List(ctx, user)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, idBodies(friends))
}
