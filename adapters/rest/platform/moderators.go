package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/application/moderation"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

// moderators are told where users are connected, and what they did.
type moderators struct {
	where    *presence.Whereabouts
	activity *moderation.LookAtActivity
	large    Large
}

// connectionBody is a connection of a user.
type connectionBody struct {
	nodeBody

	Address  string         `json:"address,omitempty"`
	Since    string         `json:"since"`
	Features []port.Feature `json:"features"`
}

// nodeBody names a node.
type nodeBody struct {
	Node        string `json:"node,omitempty"`
	Incarnation string `json:"incarnation"`
}

func bodyOfNode(node presence.Node) nodeBody { return nodeBody{node.Name, node.Incarnation.String()} }

// connections answers where a user is connected, on all nodes.
func (m moderators) connections(ctx context.Context, c *fiber.Ctx) error {
	user, err := userOfQuery(c)
	if err != nil {
		return err
	}
	where, err := m.where.Execute(ctx, user)
	if err != nil {
		return err
	}
	answer := struct {
		User        domain.UserID    `json:"user_id"`
		Connections []connectionBody `json:"connections"`
		More        bool             `json:"more"`
		Unanswered  []nodeBody       `json:"unanswered"`
	}{User: user, Connections: []connectionBody{}, Unanswered: []nodeBody{}}
	bytes := 0
	for _, at := range where.Nodes {
		answer.More = answer.More || at.More
		for _, of := range at.Connections {
			features := append([]port.Feature{}, of.Features...)
			answer.Connections = append(answer.Connections, connectionBody{bodyOfNode(at.Node), of.Address, wire.Time(of.Since), features})
			bytes += bytesOfConnection
		}
	}
	for _, node := range where.Silent {
		answer.Unanswered = append(answer.Unanswered, bodyOfNode(node))
	}
	return m.large(c, bytes, answer)
}

// bytesOfConnection is about what a connection takes in an answer.
const bytesOfConnection = 512

// userOfQuery reads user_id. Its error is an answer.
func userOfQuery(c *fiber.Ctx) (domain.UserID, error) {
	user, complaint := exchange.QueryValue(c, "user_id").AsUser()
	if complaint == "" && user == wire.Nobody {
		complaint = domain.ErrActUser.Message
	}
	if complaint != "" {
		return wire.Nobody, exchange.Refused("user_id", complaint)
	}
	return user, nil
}

// maxDone is how many events a page of what a user did has at most.
const maxDone = 50

// pageLimit reads limit. A complaint goes to wrong.
func pageLimit(c *fiber.Ctx, wrong wire.InvalidError) int {
	named := exchange.QueryValue(c, "limit")
	if named.IsMissing() {
		return maxDone
	}
	n, complaint := named.AsInteger()
	if complaint != "" || n < 1 || n > maxDone {
		wrong["limit"] = []string{fmt.Sprintf("Must be a number from 1 to %d.", maxDone)}
	}
	return int(n)
}

// inspectionFields names the parameters of a request for texts by what is wrong with them.
var inspectionFields = []fieldOfError{{domain.ErrInspectionReason, "reason"}, {domain.ErrActActor, "actor"}, {domain.ErrActUser, "user_id"}}

// activityBody is what a user did lately. What is not known is left out: Friends if the user-management service keeps them, Lately and
// Events if no history is kept.
type activityBody struct {
	User      domain.UserID     `json:"user_id"`
	FirstSeen string            `json:"first_seen,omitempty"`
	Online    bool              `json:"online"`
	Muted     bool              `json:"muted"`
	Banned    bool              `json:"banned"`
	Friends   *int              `json:"friends,omitempty"`
	Blocks    int               `json:"blocks"`
	BlockedBy int               `json:"blocked_by"`
	Lately    *countsBody       `json:"lately,omitempty"`
	Acts      []json.RawMessage `json:"acts"`
	Events    []json.RawMessage `json:"events,omitzero"`
	Next      *string           `json:"next"`
}

// countsBody is how much a user did since a time.
type countsBody struct {
	Since    string `json:"since"`
	Messages int    `json:"messages"`
	Invites  int    `json:"invites"`
}

// whatUserDid answers what a user did lately, without texts, unless they are asked for.
func (m moderators) whatUserDid(ctx context.Context, c *fiber.Ctx) error {
	query, err := activityQuery(c)
	if err != nil {
		return err
	}
	a, err := m.activity.Execute(ctx, query)
	if err != nil {
		return asRefusedField(err, inspectionFields)
	}
	answer := activityOf(query.User, a)
	bytes := 0
	for _, act := range a.Acts {
		encoded := wire.AppendAct(nil, act)
		answer.Acts, bytes = append(answer.Acts, encoded), bytes+len(encoded)
	}
	for _, done := range a.Events {
		shown := done.Frame
		if !query.Texts {
			if shown, err = wire.WithoutText(done.Frame); err != nil {
				return err
			}
		}
		answer.Events, bytes = append(answer.Events, shown), bytes+len(shown)
	}
	if a.Next != nil {
		next := markText(*a.Next)
		answer.Next = &next
	}
	return m.large(c, bytes, answer)
}

// activityOf returns the answer about a user, still without acts and events.
func activityOf(user domain.UserID, a moderation.Activity) activityBody {
	answer := activityBody{
		User: user, Online: a.Online, Muted: a.Muted, Banned: a.Banned, Blocks: a.Blocks, BlockedBy: a.BlockedBy,
		Acts: make([]json.RawMessage, 0, len(a.Acts)),
	}
	if a.HasFriends {
		answer.Friends = &a.Friends
	}
	if a.HasHistory {
		answer.Lately = &countsBody{wire.Time(a.At.Add(-moderation.CountedFor)), a.Messages, a.Invites}
		answer.Events = make([]json.RawMessage, 0, len(a.Events))
	}
	if !a.FirstSeen.IsZero() {
		answer.FirstSeen = wire.Time(a.FirstSeen)
	}
	return answer
}

// activityQuery reads the parameters. Every one that is wrong is named.
func activityQuery(c *fiber.Ctx) (q moderation.ActivityQuery, err error) {
	wrong := wire.InvalidError{}
	user, complaint := exchange.QueryValue(c, "user_id").AsUser()
	if complaint == "" && user == wire.Nobody {
		complaint = domain.ErrActUser.Message
	}
	if complaint != "" {
		wrong["user_id"] = []string{complaint}
	}
	q = moderation.ActivityQuery{User: user, Limit: pageLimit(c, wrong)}
	if before, given := exchange.QueryText(c, "before"); given {
		if q.Before = parseMark(before); q.Before == nil {
			wrong["before"] = []string{"Must be the next of an earlier page."}
		}
	}
	switch texts, _ := exchange.QueryText(c, "texts"); texts {
	case "", "false":
	case "true":
		q.Texts = true
		q.Actor = queryTextField(c, "actor", wrong)
		q.Reason = queryTextField(c, "reason", wrong)
	default:
		wrong["texts"] = []string{"Must be true or false."}
	}
	if len(wrong) > 0 {
		return q, exchange.Invalid(wrong)
	}
	return q, nil
}

// queryTextField reads a parameter that is a text, and needed. A complaint goes to wrong.
func queryTextField(c *fiber.Ctx, field string, wrong wire.InvalidError) string {
	text, complaint := exchange.QueryValue(c, field).AsString()
	if complaint != "" {
		wrong[field] = []string{complaint}
	}
	return text
}

// markText is a mark as clients name it. parseMark reads it; nil for anything else.
func markText(m moderation.Mark) string {
	return strconv.FormatInt(m.Time.UnixMilli(), 10) + "_" + m.ID.String()
}

func parseMark(text string) *moderation.Mark {
	at, id, _ := strings.Cut(text, "_")
	millis, err := strconv.ParseInt(at, 10, 64)
	parsed, ok := domain.ParseEventID(id)
	if err != nil || !ok || millis < 0 {
		return nil
	}
	return &moderation.Mark{Time: time.UnixMilli(millis).UTC(), ID: parsed}
}
