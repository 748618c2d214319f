package rest

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/blocks"
	"chatting/application/presence"
	"chatting/domain"
)

// userList is a list of others that each user keeps: whom it blocks, or its friends.
type userList struct {
	list        func(ctx context.Context, user domain.UserID) ([]domain.UserID, error)
	add, remove func(ctx context.Context, user, target domain.UserID) error
	// sentences are the contract's sentences about a target that is not added or removed.
	sentences map[domain.Code]string
}

func friendsOf(f *presence.Friends) userList {
	return userList{list: f.List, add: f.Add, remove: f.Remove, sentences: map[domain.Code]string{
		domain.CodeSelf:       "자기 자신은 친구로 추가할 수 없습니다.",
		domain.CodeNotWatched: "친구가 아닌 사용자입니다.",
		domain.CodeLimit:      "친구를 더 이상 추가할 수 없습니다.",
	}}
}

func blockedBy(b *blocks.Block) userList {
	return userList{list: b.List, add: b.Add, remove: b.Remove, sentences: map[domain.Code]string{
		domain.CodeUnknownUser: wire.SentenceNever,
		domain.CodeSelf:        "자기 자신은 차단할 수 없습니다.",
		domain.CodeNotBlocked:  "차단되지 않은 사용자입니다.",
		domain.CodeLimit:       "차단을 더 이상 추가할 수 없습니다.",
	}}
}

func (l userList) get(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	others, err := l.list(ctx, user)
	if err != nil {
		return err
	}
	type member struct {
		ID domain.UserID `json:"id"`
	}
	body := make([]member, len(others))
	for i, id := range others {
		body[i].ID = id
	}
	return exchange.Send(c, http.StatusOK, body)
}

func (l userList) post(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readTarget(c)
	if err != nil {
		return err
	}
	if err := l.add(ctx, user, target); err != nil {
		return l.refusal(err)
	}
	return exchange.Send(c, http.StatusCreated, map[string]domain.UserID{wire.TargetField: target})
}

func (l userList) delete(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	target, err := readRemoved(c)
	if err != nil {
		return err
	}
	if err := l.remove(ctx, user, target); err != nil {
		return l.refusal(err)
	}
	return exchange.Send(c, http.StatusOK, nil)
}

// refusal returns the contract's answer to err, or err if it has none.
func (l userList) refusal(err error) error {
	if sentence, ok := l.sentences[domain.CodeOf(err)]; ok {
		return refusedTarget(sentence)
	}
	return err
}

// readTarget returns the user whom the body names. Its error is an answer.
func readTarget(c *fiber.Ctx) (domain.UserID, error) {
	body, err := exchange.ReadFields(c)
	if err != nil {
		return wire.Nobody, err
	}
	return targetOf(body[wire.TargetField])
}

// readRemoved returns the user whom a DELETE names. The query may name it, because HTTP gives the body no meaning and some clients
// and proxies leave it out, or the body, as for the original server. Its error is an answer.
func readRemoved(c *fiber.Ctx) (domain.UserID, error) {
	named := exchange.QueryValue(c, wire.TargetField)
	if named.IsMissing() {
		return readTarget(c)
	}
	target, err := targetOf(named)
	if err != nil {
		return wire.Nobody, err
	}
	body, err := exchange.ReadOptional(c)
	if err != nil {
		return wire.Nobody, err
	}
	value := body[wire.TargetField]
	if value.IsAbsent() {
		return target, nil
	}
	other, err := targetOf(value)
	if err == nil && other != target {
		err = refusedTarget("The query and the body name different targets.")
	}
	return target, err
}

// targetOf returns the user that a value names, who may be unknown. Its error is an answer.
func targetOf(value wire.Value) (domain.UserID, error) {
	target, complaint := value.AsUser()
	if complaint == "" && target == wire.Nobody {
		complaint = wire.SentenceNever
	}
	if complaint != "" {
		return wire.Nobody, refusedTarget(complaint)
	}
	return target, nil
}

// blockStatus tells whether the user blocks the one that the query names. Without a name, it hands over to next.
func blockStatus(block *blocks.Block, next userHandler) userHandler {
	return func(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
		named := exchange.QueryValue(c, wire.TargetField)
		if named.IsMissing() {
			return next(ctx, c, user)
		}
		target, complaint := named.AsUser()
		if complaint != "" {
			return refusedTarget(complaint)
		}
		never := exchange.Detail(http.StatusNotFound, "Not found.")
		if target == wire.Nobody {
			return never
		}
		blocked, err := block.IsBlocked(ctx, user, target)
		if domain.CodeOf(err) == domain.CodeUnknownUser {
			return never
		}
		if err != nil {
			return err
		}
		return exchange.Send(c, http.StatusOK, map[string]bool{"is_blocked": blocked})
	}
}
