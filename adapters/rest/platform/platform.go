// Package platform is what other servers of the platform may ask for, below /s2sapi: system messages, acts of moderation, what
// moderators see, announcements, the erasure of a user. Who is such a server is decided before a request comes here.
package platform

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/application"
	"chatting/application/messaging"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
)

// Deps is what the platform's servers are served with. All are needed.
type Deps struct {
	SystemMessage *messaging.SendSystemMessage
	Idempotency   IdempotencyStore
	Erase         *application.EraseUser
	Moderate      *moderation.Moderate
	Announce      *moderation.Announce
	Activity      *moderation.LookAtActivity
	Whereabouts   *presence.Whereabouts
	Now           port.Clock
	// Notices take the log lines that callers can cause in any number.
	Notices *notice.Log
}

// Handler answers a request of another server of the platform. Its context ends with the time for the request.
type Handler func(ctx context.Context, c *fiber.Ctx) error

// Large sends an answer that has so many bytes, and counts them until the caller has taken it.
type Large func(c *fiber.Ctx, bytes int, body any) error

// Mount names every path once. guarded returns the handler that lets the platform's servers, and nobody else, come to handle.
func Mount(app fiber.Router, guarded func(handle Handler) fiber.Handler, large Large, deps Deps) {
	messages := systemMessages{
		sender: deps.SystemMessage, once: onlyOnce{store: deps.Idempotency, now: deps.Now, notices: deps.Notices},
	}
	app.Post("/s2sapi/system-message/", guarded(messages.post))
	app.Delete("/s2sapi/users/", guarded(userErasure{deps.Erase}.remove))
	acts := moderationAPI{deps.Moderate}
	app.Post("/s2sapi/moderation/", guarded(acts.post))
	app.Get("/s2sapi/moderation/", guarded(acts.get))
	said := announcements{use: deps.Announce, once: messages.once}
	app.Post("/s2sapi/moderation/announcements/", guarded(said.post))
	asked := moderators{where: deps.Whereabouts, activity: deps.Activity, large: large}
	app.Get("/s2sapi/moderation/connections/", guarded(asked.connections))
	app.Get("/s2sapi/moderation/activity/", guarded(asked.whatUserDid))
}

// userErasure erases users for the platform.
type userErasure struct{ *application.EraseUser }

func (u userErasure) remove(ctx context.Context, c *fiber.Ctx) error {
	user, complaint := exchange.QueryValue(c, "user_id").AsUser()
	if complaint != "" {
		return exchange.Refused("user_id", complaint)
	}
	if err := u.Execute(ctx, user); err != nil { // wire.Nobody is unknown to it
		return err
	}
	return exchange.Send(c, http.StatusOK, nil)
}
