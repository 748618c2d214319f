package platform

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/moderation"
	"chatting/domain"
)

// moderationAPI is what the platform does to users.
type moderationAPI struct{ use *moderation.Moderate }

// actFields names the fields of a request by what is wrong with them.
var actFields = []fieldOfError{
	{domain.ErrActKind, "act"}, {domain.ErrActUser, "user_id"}, {domain.ErrActUntil, "until"}, {domain.ErrActReason, "reason"},
	{domain.ErrActActor, "actor"},
}

// post carries out an act, and answers with it once it counts on all nodes.
func (m moderationAPI) post(ctx context.Context, c *fiber.Ctx) error {
	body, err := exchange.ReadFields(c)
	if err != nil {
		return err
	}
	command, err := actOf(body)
	if err != nil {
		return err
	}
	act, err := m.use.Execute(ctx, command)
	switch domain.CodeOf(err) {
	case "":
	case domain.CodeNotInForce, domain.CodeLimit:
		return exchange.Refused("act", err.Error())
	default:
		return asRefusedField(err, actFields)
	}
	return exchange.Send(c, http.StatusOK, json.RawMessage(wire.AppendAct(nil, act)))
}

// actOf reads the fields of a request. Every field that is wrong is named.
func actOf(body wire.Fields) (moderation.Command, error) {
	wrong := wire.InvalidError{}
	text := func(field string, needed bool) string { return textField(body, field, needed, wrong) }
	command := moderation.Command{
		Kind: domain.ActKind(text("act", true)), Reason: text("reason", false), Actor: text("actor", true),
	}
	user, complaint := body["user_id"].AsUser()
	if complaint == "" && user == wire.Nobody {
		complaint = domain.ErrActUser.Message
	}
	if complaint != "" {
		wrong["user_id"] = []string{complaint}
	}
	command.User = user
	if until := text("until", false); until != "" {
		var err error
		if command.Until, err = time.Parse(time.RFC3339, until); err != nil || command.Until.IsZero() {
			wrong["until"] = []string{"A time is written as 2026-01-31T12:00:00Z."}
		}
	}
	if len(wrong) > 0 {
		return command, exchange.Invalid(wrong)
	}
	return command, nil
}

// get answers what is in force for a user, and the latest acts.
func (m moderationAPI) get(ctx context.Context, c *fiber.Ctx) error {
	user, err := userOfQuery(c)
	if err != nil {
		return err
	}
	standing, err := m.use.StandingOf(ctx, user)
	if err != nil {
		return err
	}
	answer := struct {
		User   domain.UserID     `json:"user_id"`
		Muted  bool              `json:"muted"`
		Banned bool              `json:"banned"`
		Acts   []json.RawMessage `json:"acts"`
	}{User: user, Muted: standing.Muted, Banned: standing.Banned, Acts: make([]json.RawMessage, 0, len(standing.Acts))}
	for _, act := range standing.Acts {
		answer.Acts = append(answer.Acts, wire.AppendAct(nil, act))
	}
	return exchange.Send(c, http.StatusOK, answer)
}
