package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
	"chatting/domain"
)

const (
	sentenceNoBlock  = "자기 자신은 차단할 수 없습니다."
	sentenceUnblock  = "차단되지 않은 사용자입니다."
	sentenceNotFound = "Not found."
	sentenceTwo      = "The query and the body name different targets."
)

// targetBody is the answer to a target that was added to a list.
type targetBody struct {
	TargetID domain.UserID `json:"target_id"`
}

// idBody is a member of a list of users.
type idBody struct {
	ID domain.UserID `json:"id"`
}

func idBodies(ids []domain.UserID) []idBody {
	bodies := make([]idBody, len(ids))
	for i, id := range ids {
		bodies[i].ID = id
	}
	return bodies
}

// readTarget returns whom the body names. Its error is an answer.
func readTarget(c *fiber.Ctx) (domain.UserID, error) {
	body, err := readFields(c)
	if err != nil {
		return fields.Nobody, err
	}
	return targetOf(body[fields.TargetField])
}

// readRemoved returns whom a DELETE names: in the query, because HTTP gives its body no meaning and some clients and proxies
// leave it out, or in the body, as for the original server. Its error is an answer.
func readRemoved(c *fiber.Ctx) (domain.UserID, error) {
	named := queryValue(c, fields.TargetField)
	if named.Kind == fields.Missing {
		return readTarget(c)
	}
	target, err := targetOf(named)
	if err != nil {
		return fields.Nobody, err
	}
	body, err := readOptional(c)
	if err != nil {
		return fields.Nobody, err
	}
	value := body[fields.TargetField]
	if value.IsAbsent() {
		return target, nil
	}
	other, err := targetOf(value)
	if err == nil && other != target {
		err = refusedTarget(sentenceTwo)
	}
	return target, err
}

// targetOf returns the user of a value, who need not be known. Its error is an answer.
func targetOf(value fields.Value) (domain.UserID, error) {
	target, complaint := value.AsUser()
	if complaint != "" {
		return fields.Nobody, refusedTarget(complaint)
	}
	if target == fields.Nobody {
		return fields.Nobody, refusedTarget(fields.SentenceNever)
	}
	return target, nil
}

// targetSentences are the contract's sentences for what may be wrong with a target.
type targetSentences map[domain.Code]string

// of returns err as the contract's answer where it has one.
func (s targetSentences) of(err error) error {
	if sentence, ok := s[domain.CodeOf(err)]; ok {
		return refusedTarget(sentence)
	}
	return err
}

var blockSentences = targetSentences{
	domain.CodeUnknownUser: fields.SentenceNever,
	domain.CodeSelf:        sentenceNoBlock,
	domain.CodeNotBlocked:  sentenceUnblock,
	domain.CodeLimit:       "차단을 더 이상 추가할 수 없습니다.",
}

func (a *API) block(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readTarget(c)
	if err != nil {
		return err
	}
	if err := a.deps.Block.Block(ctx, user, target); err != nil {
		return blockSentences.of(err)
	}
	return send(c, http.StatusCreated, targetBody{target})
}

func (a *API) unblock(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readRemoved(c)
	if err != nil {
		return err
	}
	if err := a.deps.Block.Unblock(ctx, user, target); err != nil {
		return blockSentences.of(err)
	}
	return send(c, http.StatusOK, nil)
}

// getBlocked answers with all whom the user blocks or, where the query names one, whether that one is blocked.
func (a *API) getBlocked(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	if named := queryValue(c, fields.TargetField); named.Kind != fields.Missing {
		return a.getBlockedOne(ctx, c, user, named)
	}
	blocked, err := a.deps.Block.Blocked(ctx, user)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, idBodies(blocked))
}

func (a *API) getBlockedOne(ctx context.Context, c *fiber.Ctx, user domain.UserID, named fields.Value) error {
	target, complaint := named.AsUser()
	if complaint != "" {
		return refusedTarget(complaint)
	}
	if target == fields.Nobody {
		return detail(http.StatusNotFound, sentenceNotFound)
	}
	blocked, err := a.deps.Block.IsBlocked(ctx, user, target)
	if domain.CodeOf(err) == domain.CodeUnknownUser {
		return detail(http.StatusNotFound, sentenceNotFound)
	}
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, map[string]bool{"is_blocked": blocked})
}

// queryValue returns a parameter of the query as a form would hold it: of one that comes twice the last counts.
func queryValue(c *fiber.Ctx, name string) fields.Value {
	all := c.Context().QueryArgs().PeekMulti(name)
	if len(all) == 0 {
		return fields.Value{}
	}
	return fields.Value{Kind: fields.Text, Text: string(all[len(all)-1])}
}
