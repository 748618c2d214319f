package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/wire"
	"chatting/application/presence"
	"chatting/domain"
)

// errorBody is the body of an error of this path.
type errorBody struct {
	Error string `json:"error"`
}

// onlineStatus tells whether a user is online.
type onlineStatus struct{ *presence.IsOnline }

// handler refuses a request without a token in this path's own form.
func (o onlineStatus) handler(users *userGate) fiber.Handler {
	ask := users.handler(o.get)
	return func(c *fiber.Ctx) error {
		if c.Get(fiber.HeaderAuthorization) == "" {
			return &answer{http.StatusUnauthorized, errorBody{"Authorization header is required"}}
		}
		return ask(c)
	}
}

func (o onlineStatus) get(ctx context.Context, c *fiber.Ctx, asker domain.UserID) error {
	named, _ := queryText(c, "id")
	if named == "" {
		return &answer{http.StatusBadRequest, errorBody{"id parameter is required"}}
	}
	user, complaint := wire.TextValue(named).AsUser()
	if complaint != "" {
		return &answer{http.StatusBadRequest, errorBody{"id must be an integer"}}
	}
	never := &answer{http.StatusNotFound, errorBody{"User not found"}}
	if user == wire.Nobody {
		return never
	}
	online, err := o.Execute(ctx, asker, user)
	if domain.CodeOf(err) == domain.CodeUnknownUser {
		return never
	}
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, struct {
		ID     domain.UserID `json:"id"`
		Online bool          `json:"is_online"`
	}{user, online})
}
