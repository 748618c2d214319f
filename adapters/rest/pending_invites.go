package rest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/wire"
	"chatting/application/invites"
	"chatting/domain"
)

// pendingInvites shows users their pending invites.
type pendingInvites struct {
	invites *invites.PendingInvites
	held    *heldAnswers
}

// invitesBody has the frames that clients get of the invites.
type invitesBody struct {
	Invites []json.RawMessage `json:"invites"`
}

func (p pendingInvites) get(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	events, err := p.invites.Execute(ctx, user)
	if err != nil {
		return err
	}
	body, bytes := invitesBody{Invites: make([]json.RawMessage, len(events))}, 0
	for i, event := range events {
		frame, err := wire.EncodeEvent(event)
		if err != nil {
			return fmt.Errorf("encoding an invite: %w", err)
		}
		body.Invites[i] = frame
		bytes += len(frame)
	}
	return p.held.send(c, bytes, body)
}
