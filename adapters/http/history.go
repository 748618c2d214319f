package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
	"chatting/adapters/frame"
	"chatting/adapters/problem"
	"chatting/application"
	"chatting/domain"
)

// How many entries a page has.
const (
	defaultPage = 50
	maxPage     = 100
)

const (
	beforeField       = "before"
	limitField        = "limit"
	messageField      = "message_id"
	sentenceMessageID = "Must be a valid UUID."
	sentenceCursor    = "Must be the next of an earlier page."
)

// messagesBody is a page of a conversation. The messages are the frames that clients got.
type messagesBody struct {
	Messages []json.RawMessage `json:"messages"`
	Next     *string           `json:"next"`
}

// getMessages answers with a page of the user's conversation with target_id, 0 for what the platform said.
func (a *API) getMessages(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	wrong := fields.InvalidError{}
	partner := partnerOf(c, wrong)
	limit := pageLimit(c, wrong)
	var before *domain.EventID
	if named, ok := lastQuery(c, beforeField); ok {
		before = messageID(named, beforeField, wrong)
	}
	if len(wrong) > 0 {
		return &answer{http.StatusBadRequest, wrong}
	}
	page, err := a.deps.History.Messages(ctx, user, partner, before, a.pageOf(limit))
	if err != nil {
		return err
	}
	body, bytes := messagesBody{Messages: make([]json.RawMessage, len(page.Entries))}, 0
	for i, entry := range page.Entries {
		body.Messages[i] = entry.Frame
		bytes += len(entry.Frame)
	}
	if page.Next != nil {
		next := page.Next.String()
		body.Next = &next
	}
	return a.sendHeld(c, bytes, body)
}

// pageOf bounds a page. It may end before limit entries, so clients go by next.
func (a *API) pageOf(limit int) application.PageBounds {
	return application.PageBounds{Entries: limit, Bytes: a.options.PageBytes}
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
}

func (a *API) getConversations(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	wrong := fields.InvalidError{}
	limit := pageLimit(c, wrong)
	var before *application.ConversationCursor
	if named, ok := lastQuery(c, beforeField); ok {
		if before = parseCursor(named); before == nil {
			wrong[beforeField] = []string{sentenceCursor}
		}
	}
	if len(wrong) > 0 {
		return &answer{http.StatusBadRequest, wrong}
	}
	page, err := a.deps.History.Conversations(ctx, user, before, a.pageOf(limit))
	if err != nil {
		return err
	}
	body, bytes := conversationsBody{Conversations: make([]conversationBody, len(page.Conversations))}, 0
	for i, summary := range page.Conversations {
		body.Conversations[i] = conversationBody{
			ID: summary.Partner, LastMessage: summary.Last.Frame, Time: frame.Time(summary.Last.At), Unread: summary.Unread,
		}
		bytes += len(summary.Last.Frame)
	}
	if page.Next != nil {
		next := fmt.Sprintf("%d.%d", page.Next.At.UnixMilli(), page.Next.Partner)
		body.Next = &next
	}
	return a.sendHeld(c, bytes, body)
}

// parseCursor reads what getConversations gave as next; nil for anything else.
func parseCursor(s string) *application.ConversationCursor {
	at, partner, _ := strings.Cut(s, ".")
	millis, errAt := strconv.ParseInt(at, 10, 64)
	id, errPartner := strconv.ParseInt(partner, 10, 64)
	if errAt != nil || errPartner != nil || id < 0 {
		return nil
	}
	return &application.ConversationCursor{At: time.UnixMilli(millis).UTC(), Partner: domain.UserID(id)}
}

// readBody is the answer to a mark that was moved.
type readBody struct {
	ID     domain.UserID `json:"id"`
	Unread int           `json:"unread"`
}

// markRead moves the user's mark up to the message that the body names, to the newest where it names none.
func (a *API) markRead(ctx context.Context, c *fiber.Ctx, user domain.UserID) error {
	partner, complaint := parsePartner(c.Params("partner"))
	if complaint != "" {
		return send(c, http.StatusNotFound, problem.Of(http.StatusNotFound, "Not found."))
	}
	body, err := readFields(c)
	if err != nil {
		return err
	}
	wrong := fields.InvalidError{}
	var message *domain.EventID
	if value := body[messageField]; !value.IsAbsent() {
		text, complaint := value.AsText()
		if complaint != "" {
			return refused(messageField, complaint)
		}
		if message = messageID(text, messageField, wrong); message == nil {
			return &answer{http.StatusBadRequest, wrong}
		}
	}
	unread, err := a.deps.History.MarkRead(ctx, user, partner, message)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, readBody{ID: partner, Unread: unread})
}

// eraseUser erases a user for the platform.
func (a *API) eraseUser(ctx context.Context, c *fiber.Ctx) error {
	named, _ := lastQuery(c, "user_id")
	user, complaint := fields.Value{Kind: fields.Text, Text: named}.AsUser()
	if named == "" {
		complaint = "This field is required."
	}
	if complaint != "" {
		return refused("user_id", complaint)
	}
	// Nobody is known under an id that no user can have.
	if err := a.deps.Erase.Execute(ctx, user); err != nil {
		return err
	}
	return send(c, http.StatusOK, nil)
}

// partnerOf reads target_id, where 0 is the platform.
func partnerOf(c *fiber.Ctx, wrong fields.InvalidError) domain.UserID {
	named, ok := lastQuery(c, fields.TargetField)
	if !ok {
		wrong[fields.TargetField] = []string{"This field is required."}
		return fields.Nobody
	}
	partner, complaint := parsePartner(named)
	if complaint != "" {
		wrong[fields.TargetField] = []string{complaint}
	}
	return partner
}

// parsePartner reads the other side of a conversation: a user, or 0 for the platform.
func parsePartner(named string) (partner domain.UserID, complaint string) {
	n, integer := fields.IntegerOfText(named)
	switch {
	case !integer:
		return fields.Nobody, fields.SentenceInteger
	case n < 0, n == 0 && strings.Trim(named, " 0") != "": // negative, or beyond 64 bits
		return fields.Nobody, fields.SentenceNever
	}
	return domain.UserID(n), ""
}

func pageLimit(c *fiber.Ctx, wrong fields.InvalidError) int {
	named, ok := lastQuery(c, limitField)
	if !ok {
		return defaultPage
	}
	n, _ := strconv.Atoi(named) // 0 for what is no number
	if n < 1 || n > maxPage {
		wrong[limitField] = []string{fmt.Sprintf("Must be a number from 1 to %d.", maxPage)}
	}
	return n
}

func messageID(s, field string, wrong fields.InvalidError) *domain.EventID {
	id, ok := domain.ParseEventID(s)
	if !ok {
		wrong[field] = []string{sentenceMessageID}
		return nil
	}
	return &id
}

// sendFrames writes a body that holds frames, without the escapes of < > & that encoding/json would put into them: a frame
// of the history is that of the socket, byte for byte.
func sendFrames(c *fiber.Ctx, body any) error {
	encoded, err := frame.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	return send(c, http.StatusOK, json.RawMessage(encoded))
}
