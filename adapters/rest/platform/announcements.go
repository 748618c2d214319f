package platform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/moderation"
	"chatting/domain"
)

// announcements are what the platform says to many users at once.
type announcements struct {
	use  *moderation.Announce
	once onlyOnce
}

// announcementFields names the fields of a request by what is wrong with them.
var announcementFields = []fieldOfError{
	{domain.ErrAnnouncementText, "message"}, {domain.ErrAnnouncementUsers, "user_ids"}, {domain.ErrActReason, "reason"},
	{domain.ErrActActor, "actor"},
}

// post makes an announcement, and answers with it once it is durable. A request with an Idempotency-Key is carried out once.
func (a announcements) post(ctx context.Context, c *fiber.Ctx) error {
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	body, err := exchange.ReadFields(c)
	if err != nil {
		return err
	}
	command, err := announcementOf(body)
	if err != nil {
		return err
	}
	if key == "" {
		made, err := a.make(ctx, command)
		if err != nil {
			return err
		}
		return exchange.Send(c, http.StatusOK, json.RawMessage(made))
	}
	digest := sha256.Sum256(fmt.Appendf(nil,
		"announcement %t %v %q %q %q", command.Online, command.Users, command.Text, command.Reason, command.Actor))
	// As that of a system message.
	command.ID = domain.DerivedID("announcement idempotency-key", key+":"+hex.EncodeToString(digest[:]))
	status, made, err := a.once.do(ctx, key, digest, func() ([]byte, error) { return a.make(ctx, command) })
	if err != nil {
		return err
	}
	return exchange.Send(c, status, json.RawMessage(made))
}

// make returns what is answered of the durable announcement.
func (a announcements) make(ctx context.Context, command moderation.AnnounceCommand) ([]byte, error) {
	made, offline, err := a.use.Execute(ctx, command)
	if err != nil {
		return nil, asRefusedField(err, announcementFields)
	}
	return wire.AppendAnnounced(nil, made, offline), nil
}

// fieldOfError is the field that an error of the domain is about.
type fieldOfError struct {
	err   error
	field string
}

// asRefusedField returns the answer that names the field which err is about; err itself if it is about none.
func asRefusedField(err error, fields []fieldOfError) error {
	for _, wrong := range fields {
		if errors.Is(err, wrong.err) {
			return exchange.Refused(wrong.field, err.Error())
		}
	}
	return err
}

// announcementOf reads the fields of a request. Every field that is wrong is named.
func announcementOf(body wire.Fields) (moderation.AnnounceCommand, error) {
	wrong := wire.InvalidError{}
	command := moderation.AnnounceCommand{
		Text: textField(body, "message", true, wrong), Reason: textField(body, "reason", false, wrong),
		Actor: textField(body, "actor", true, wrong),
	}
	to := textField(body, "to", false, wrong)
	switch command.Online = to == wire.ToOnline; {
	case to != "" && !command.Online:
		wrong["to"] = []string{`Must be "online", or absent beside user_ids.`}
	case command.Online && body["user_ids"].IsAbsent():
	default:
		users, complaint := body["user_ids"].AsUsers(domain.MaxAnnouncedUsers)
		if complaint != "" {
			wrong["user_ids"] = []string{complaint}
		}
		command.Users = users
	}
	if len(wrong) > 0 {
		return command, exchange.Invalid(wrong)
	}
	return command, nil
}

// textField reads a field that is a text; "" if it is absent and may be. A complaint goes to wrong.
func textField(body wire.Fields, field string, needed bool, wrong wire.InvalidError) string {
	value := body[field]
	if !needed && value.IsAbsent() {
		return ""
	}
	text, complaint := value.AsString()
	if complaint != "" {
		wrong[field] = []string{complaint}
	}
	return text
}
