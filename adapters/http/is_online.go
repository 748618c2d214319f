package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
	"chatting/domain"
)

// errorBody is how is-online names its errors.
type errorBody struct {
	Error string `json:"error"`
}

// isOnline answers whether a user is online. A request without a token is refused in this path's own form.
func (a *API) isOnline() fiber.Handler {
	ask := a.withUser(a.askOnline)
	return func(c *fiber.Ctx) error {
		if c.Get(fiber.HeaderAuthorization) == "" {
			return &answer{http.StatusUnauthorized, errorBody{"Authorization header is required"}}
		}
		return ask(c)
	}
}

func (a *API) askOnline(ctx context.Context, c *fiber.Ctx, asker domain.UserID) error {
	named := queryValue(c, "id")
	if named.Text == "" {
		return &answer{http.StatusBadRequest, errorBody{"id parameter is required"}}
	}
	user, complaint := named.AsUser()
	if complaint != "" {
		return &answer{http.StatusBadRequest, errorBody{"id must be an integer"}}
	}
	never := &answer{http.StatusNotFound, errorBody{"User not found"}}
	if user == fields.Nobody {
		return never
	}
	online, err := a.deps.IsOnline.Execute(ctx, asker, user)
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
