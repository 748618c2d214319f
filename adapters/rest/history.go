package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/domain"
)

// historyPages shows users their conversations.
type historyPages struct {
	reader    *history.ReadHistory
	held      *heldAnswers
	pageBytes int
}

// How many entries a page has.
const (
	defaultPage = 50
	maxPage     = 100
)

const (
	beforeField       = "before"
	afterField        = "after"
	limitField        = "limit"
	messageField      = "message_id"
	sentenceMessageID = "Must be a valid UUID."
	sentenceCursor    = "Must be the next of an earlier page."
	sentenceBeside    = "Must not be given beside before."
)

// messagesBody is a page of a conversation. The messages are the frames that clients got.
type messagesBody struct {
	Messages []json.RawMessage `json:"messages"`
	Next     *string           `json:"next"`
	Behind   bool              `json:"behind,omitempty"`
}

// messages answers with a page of the user's conversation with target_id, which is 0 for the platform.
func (h historyPages) messages(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	wrong := wire.InvalidError{}
	partner, complaint := partnerOf(exchange.QueryValue(c, wire.TargetField))
	if complaint != "" {
		wrong[wire.TargetField] = []string{complaint}
	}
	limit := pageLimit(c, wrong)
	before, after := messageNamed(c, beforeField, wrong), messageNamed(c, afterField, wrong)
	if before != nil && after != nil {
		wrong[afterField] = []string{sentenceBeside}
	}
	if len(wrong) > 0 {
		return exchange.Invalid(wrong)
	}
	page, err := h.page(ctx, user, partner, before, after, h.pageOf(limit))
	if err != nil {
		return err
	}
	body, bytes := messagesBody{Messages: make([]json.RawMessage, len(page.Entries)), Behind: page.Behind}, 0
	for i, entry := range page.Entries {
		body.Messages[i] = entry.Frame
		bytes += len(entry.Frame)
	}
	if page.Next != nil {
		next := page.Next.String()
		body.Next = &next
	}
	return h.held.send(c, bytes, body)
}

// page reads a page before one message, behind another, or from the newest.
func (h historyPages) page(
	ctx context.Context, user, partner domain.UserID, before, after *domain.EventID, bounds history.PageBounds,
) (history.Page, error) {
	if after != nil {
		return h.reader.MessagesAfter(ctx, user, partner, *after, bounds)
	}
	return h.reader.Messages(ctx, user, partner, before, bounds)
}

// messageNamed reads a field of the query that names a message; nil for none.
func messageNamed(c *fiber.Ctx, field string, wrong wire.InvalidError) *domain.EventID {
	named, given := exchange.QueryText(c, field)
	if !given {
		return nil
	}
	return messageID(named, field, wrong)
}

// pageOf bounds a page. It may end before limit entries: clients go by next.
func (h historyPages) pageOf(limit int) history.PageBounds {
	return history.PageBounds{Entries: limit, Bytes: h.pageBytes}
}

// conversationBody is a conversation in the user's list. ID is the partner, 0 for the platform.
type conversationBody struct {
	ID          domain.UserID   `json:"id"`
	LastMessage json.RawMessage `json:"last_message"`
	Time        string          `json:"time"`
	Unread      int             `json:"unread"`
}

type conversationsBody struct {
	Conversations []conversationBody `json:"conversations"`
	Next          *string            `json:"next"`
	Behind        bool               `json:"behind,omitempty"`
}

func (h historyPages) conversations(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	wrong := wire.InvalidError{}
	limit := pageLimit(c, wrong)
	var before *history.ConversationCursor
	if named, given := exchange.QueryText(c, beforeField); given {
		if before = parseCursor(named); before == nil {
			wrong[beforeField] = []string{sentenceCursor}
		}
	}
	if len(wrong) > 0 {
		return exchange.Invalid(wrong)
	}
	page, err := h.reader.Conversations(ctx, user, before, h.pageOf(limit))
	if err != nil {
		return err
	}
	body, bytes := conversationsBody{Conversations: make([]conversationBody, len(page.Conversations)), Behind: page.Behind}, 0
	for i, summary := range page.Conversations {
		body.Conversations[i] = conversationBody{
			ID: summary.Partner, LastMessage: summary.Last.Frame, Time: wire.Time(summary.Last.At), Unread: summary.Unread,
		}
		bytes += len(summary.Last.Frame)
	}
	if page.Next != nil {
		next := fmt.Sprintf("%d.%d", page.Next.At.UnixMilli(), page.Next.Partner)
		body.Next = &next
	}
	return h.held.send(c, bytes, body)
}

// cursorForm is that of openapi.yaml. The time stays within what databases take. A partner beyond 64 bits is the largest one.
var cursorForm = regexp.MustCompile(`^[0-9]{1,15}\.[0-9]{1,19}$`)

// parseCursor reads the next of a page of conversations; nil for anything else.
func parseCursor(s string) *history.ConversationCursor {
	if !cursorForm.MatchString(s) {
		return nil
	}
	at, partner, _ := strings.Cut(s, ".")
	millis, _ := strconv.ParseInt(at, 10, 64)
	id, _ := strconv.ParseInt(partner, 10, 64)
	return &history.ConversationCursor{At: time.UnixMilli(millis).UTC(), Partner: domain.UserID(id)}
}

// readBody is the answer to a mark that was moved.
type readBody struct {
	ID     domain.UserID `json:"id"`
	Unread int           `json:"unread"`
}

// markRead moves the user's read mark up to the message that the body names, or to the newest message.
func (h historyPages) markRead(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	named, err := url.PathUnescape(c.Params("partner"))
	partner, complaint := partnerOf(wire.TextValue(named))
	if err != nil || complaint != "" {
		return exchange.Send(c, http.StatusNotFound, problem.Of(http.StatusNotFound, "Not found."))
	}
	body, err := exchange.ReadOptional(c)
	if err != nil {
		return err
	}
	wrong := wire.InvalidError{}
	var message *domain.EventID
	if value := body[messageField]; !value.IsAbsent() {
		text, complaint := value.AsText()
		if complaint != "" {
			return exchange.Refused(messageField, complaint)
		}
		if message = messageID(text, messageField, wrong); message == nil {
			return exchange.Invalid(wrong)
		}
	}
	unread, err := h.reader.MarkRead(ctx, user, partner, message)
	if err != nil {
		return err
	}
	return exchange.Send(c, http.StatusOK, readBody{ID: partner, Unread: unread})
}

// partnerOf reads the other side of a conversation: a user, or 0 for the platform.
func partnerOf(named wire.Value) (partner domain.UserID, complaint string) {
	n, complaint := named.AsInteger()
	if complaint == "" && n < 0 {
		complaint = wire.SentenceNever
	}
	if complaint != "" {
		return wire.Nobody, complaint
	}
	return domain.UserID(n), ""
}

func pageLimit(c *fiber.Ctx, wrong wire.InvalidError) int {
	named := exchange.QueryValue(c, limitField)
	if named.IsMissing() {
		return defaultPage
	}
	n, complaint := named.AsInteger()
	if complaint != "" || n < 1 || n > maxPage {
		wrong[limitField] = []string{fmt.Sprintf("Must be a number from 1 to %d.", maxPage)}
	}
	return int(n)
}

func messageID(s, field string, wrong wire.InvalidError) *domain.EventID {
	id, ok := domain.ParseEventID(s)
	if !ok {
		wrong[field] = []string{sentenceMessageID}
		return nil
	}
	return &id
}
