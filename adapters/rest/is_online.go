package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
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
			return &exchange.Answer{Status: http.StatusUnauthorized, Body: errorBody{"Authorization header is required"}}
		}
		return ask(c)
	}
}

func (o onlineStatus) get(ctx context.Context, c *fiber.Ctx, asker domain.UserID) error {
	named, _ := exchange.QueryText(c, "id")
	if named == "" {
		return &exchange.Answer{Status: http.StatusBadRequest, Body: errorBody{"id parameter is required"}}
	}
	user, complaint := wire.TextValue(named).AsUser()
	if complaint != "" {
		return &exchange.Answer{Status: http.StatusBadRequest, Body: errorBody{"id must be an integer"}}
	}
	never := &exchange.Answer{Status: http.StatusNotFound, Body: errorBody{"User not found"}}
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
	return exchange.Send(c, http.StatusOK, struct {
		ID     domain.UserID `json:"id"`
		Online bool          `json:"is_online"`
	}{user, online})
}
