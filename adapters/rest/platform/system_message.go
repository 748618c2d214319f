package platform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/messaging"
	"chatting/domain"
)

// systemMessages are what other servers say to users.
type systemMessages struct {
	sender *messaging.SendSystemMessage
	once   onlyOnce
}

// post sends a system message, and answers with the frame that the user gets. A request with an Idempotency-Key is carried out
// once.
func (m systemMessages) post(ctx context.Context, c *fiber.Ctx) error {
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	body, err := exchange.ReadFields(c)
	if err != nil {
		return err
	}
	message, err := body.SystemMessage()
	if err != nil {
		return exchange.AsAnswer(err)
	}
	if key == "" {
		sent, err := m.send(ctx, messaging.SystemMessageCommand{Message: message})
		if err != nil {
			return err
		}
		return exchange.Send(c, http.StatusOK, json.RawMessage(sent))
	}
	digest := fingerprint(message)
	// A repeated request is the same event on every node and after every crash. The message is part of the name: after an
	// unconfirmed outcome the key is free, and another message under it must be another event.
	id := domain.DerivedID("idempotency-key", key+":"+hex.EncodeToString(digest[:]))
	command := messaging.SystemMessageCommand{ID: id, Message: message}
	status, sent, err := m.once.do(ctx, key, digest, func() ([]byte, error) {
		return m.send(ctx, command)
	})
	if err != nil {
		return err
	}
	return exchange.Send(c, status, json.RawMessage(sent))
}

// send returns the frame of the durable event.
func (m systemMessages) send(ctx context.Context, command messaging.SystemMessageCommand) ([]byte, error) {
	if command.Message.To == wire.Nobody {
		return nil, errOffline
	}
	event, err := m.sender.Execute(ctx, command)
	if domain.CodeOf(err) == domain.CodeNoUserOrOffline {
		return nil, errOffline
	}
	if err != nil {
		return nil, err
	}
	return wire.EncodeEvent(event)
}

var errOffline = exchange.Detail(http.StatusNotFound, "No User or Offline")

// fingerprint tells messages apart by what they mean: a repetition may be spelled differently.
func fingerprint(message domain.SystemMessage) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", message.To, message.Opponent, message.Room, message.Text.String()))
}
