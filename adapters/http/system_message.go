package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// maxRoomID bounds the name of a room, in characters: the platform's rooms have UUIDs.
const maxRoomID = 255

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
	message, err := body.systemMessage()
	if err != nil {
		return err
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
	if command.Message.To == nobody {
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

// systemMessage reads the fields of a system message and names all that are wrong. Room and opponent count with the
// type invite_game only; without it they are not looked at, like any other field that the contract does not know.
func (f fields) systemMessage() (domain.SystemMessage, error) {
	wrong := fieldErrors{}
	note := func(field, complaint string) {
		if complaint != "" {
			wrong[field] = []string{complaint}
		}
	}
	var message domain.SystemMessage
	var complaint string
	message.To, complaint = f[targetField].asUser()
	note(targetField, complaint)

	said, complaint := f["message"].asText()
	if complaint == "" {
		var err error
		if message.Text, err = domain.NewText(said); err != nil {
			complaint = fmt.Sprintf("Ensure this field has no more than %d bytes.", domain.MaxTextBytes)
		}
	}
	note("message", complaint)

	if f["type"].kind == text && f["type"].text == frame.TypeInvite {
		message.Room, complaint = f.room()
		note("room_id", complaint)
		opponent, complaint := f.opponent()
		note("opponent_id", complaint)
		if message.Room != "" {
			message.Opponent = opponent
		}
	}
	if len(wrong) > 0 {
		return domain.SystemMessage{}, &answer{http.StatusBadRequest, wrong}
	}
	return message, nil
}

// room reads room_id, "" where it is missing.
func (f fields) room() (domain.RoomID, string) {
	if f["room_id"].kind == missing {
		return "", ""
	}
	room, complaint := f["room_id"].asText()
	if complaint == "" && utf8.RuneCountInString(room) > maxRoomID {
		complaint = fmt.Sprintf("Ensure this field has no more than %d characters.", maxRoomID)
	}
	return domain.RoomID(room), complaint
}

// opponent reads opponent_id, nobody where it is missing.
func (f fields) opponent() (domain.UserID, string) {
	if f["opponent_id"].kind == missing {
		return nobody, ""
	}
	opponent, complaint := f["opponent_id"].asUser()
	if complaint == "" && opponent == nobody {
		complaint = sentenceNever
	}
	return opponent, complaint
}

// fingerprint tells messages apart. It is over what the message means, so that a repetition may be spelled otherwise.
func fingerprint(message domain.SystemMessage) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", message.To, message.Opponent, message.Room, message.Text.String()))
}
