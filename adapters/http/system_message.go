package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// systemMessage sends what another server says to a user, and answers with the frame that the user gets. A request with
// an Idempotency-Key is carried out once: see idempotently.
func (a *API) systemMessage(ctx context.Context, c *fiber.Ctx) error {
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	body, err := readFields(c)
	if err != nil {
		return err
	}
	message, err := body.SystemMessage()
	if err != nil {
		return asAnswer(err)
	}
	if key == "" {
		sent, err := a.sendSystemMessage(ctx, application.SystemMessageCommand{Message: message})
		if err != nil {
			return err
		}
		return send(c, http.StatusOK, json.RawMessage(sent))
	}
	digest := fingerprint(message)
	// The same request is the same event, over whichever node and after whatever crash it is repeated. The message is
	// part of the name: after an unconfirmed outcome the key is free, and a client that then says something else under it
	// must not have it taken for what it said before.
	id := domain.DerivedID("idempotency-key", key+":"+hex.EncodeToString(digest[:]))
	command := application.SystemMessageCommand{ID: id, Message: message}
	status, sent, err := a.idempotently(ctx, key, digest, func() ([]byte, error) {
		return a.sendSystemMessage(ctx, command)
	})
	if err != nil {
		return err
	}
	return send(c, status, json.RawMessage(sent))
}

// sendSystemMessage returns the frame of the durable event.
func (a *API) sendSystemMessage(ctx context.Context, command application.SystemMessageCommand) ([]byte, error) {
	// Nobody is online under an id that no user can have, but the presence need not be asked.
	if command.Message.To == fields.Nobody {
		return nil, errOffline
	}
	event, err := a.deps.SystemMessage.Execute(ctx, command)
	if domain.CodeOf(err) == domain.CodeNoUserOrOffline {
		return nil, errOffline
	}
	if err != nil {
		return nil, err
	}
	return frame.Encode(event)
}

var errOffline = detail(http.StatusNotFound, "No User or Offline")

// fingerprint tells messages apart. It is over what the message means, so that a repetition may be spelled otherwise.
func fingerprint(message domain.SystemMessage) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", message.To, message.Opponent, message.Room, message.Text.String()))
}
