package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"chatting/domain"
)

// sessionValue is the value of a session record.
type sessionValue struct {
	Type        domain.SessionKind `json:"type"`
	Incarnation string             `json:"incarnation,omitempty"`
	User        domain.UserID      `json:"user,omitempty"`
	Target      domain.UserID      `json:"target,omitempty"`
	Count       int64              `json:"count,omitempty"`
	GraceMillis int64              `json:"grace_ms,omitempty"`
	Node        string             `json:"node,omitempty"`
	Question    string             `json:"question,omitempty"`
	Sealed      []byte             `json:"sealed,omitempty"`
}

// maxGraceMillis is an hour: no node asks for so much.
const maxGraceMillis = 3_600_000

func encodeSession(r domain.SessionRecord) ([]byte, error) {
	value := sessionValue{
		Type: r.Kind, User: r.User, Target: r.Target, Count: r.Count, GraceMillis: r.Grace.Milliseconds(), Node: r.Node,
		Sealed: []byte(r.Sealed),
	}
	if r.Question != (domain.EventID{}) {
		value.Question = r.Question.String()
	}
	if r.Incarnation != (domain.Incarnation{}) {
		value.Incarnation = r.Incarnation.String()
	}
	return json.Marshal(value)
}

// decodeSession reads a session record's value. Kinds that this version does not know are returned as they are: the
// domain ignores them.
func decodeSession(value []byte) (domain.SessionRecord, error) {
	if r, ok := scanSession(value); ok {
		return r, nil
	}
	return parseSession(value)
}

// scanSession reads the value of an up or down exactly as encodeSession writes it. A starting node reads very many of
// them, and a parser of any JSON takes several times as long. Of whatever else it says false: that is for parseSession.
func scanSession(value []byte) (domain.SessionRecord, bool) {
	const idLength = 36
	var r domain.SessionRecord
	rest, isUp := bytes.CutPrefix(value, []byte(`{"type":"up","incarnation":"`))
	r.Kind = domain.SessionUp
	if !isUp {
		var isDown bool
		if rest, isDown = bytes.CutPrefix(value, []byte(`{"type":"down","incarnation":"`)); !isDown {
			return r, false
		}
		r.Kind = domain.SessionDown
	}
	if len(rest) < idLength {
		return r, false
	}
	id, isID := domain.ParseEventID(string(rest[:idLength]))
	r.Incarnation = domain.Incarnation(id)
	user, rest, hasUser := scanNumber(rest[idLength:], `","user":`)
	r.User = domain.UserID(user)
	count, rest, hasCount := scanNumber(rest, `,"count":`)
	r.Count = count
	return r, isID && hasUser && hasCount && string(rest) == "}"
}

// scanNumber reads a positive number of at most 18 digits, so that it cannot overflow, behind a prefix.
func scanNumber(text []byte, prefix string) (n int64, rest []byte, ok bool) {
	if len(text) < len(prefix) || string(text[:len(prefix)]) != prefix {
		return 0, nil, false
	}
	digits := text[len(prefix):]
	i := 0
	for i < len(digits) && i < 18 && '0' <= digits[i] && digits[i] <= '9' {
		n = 10*n + int64(digits[i]-'0')
		i++
	}
	return n, digits[i:], i > 0 && digits[0] != '0'
}

func parseSession(value []byte) (domain.SessionRecord, error) {
	var v sessionValue
	if err := json.Unmarshal(value, &v); err != nil {
		return domain.SessionRecord{}, fmt.Errorf("no session record: %w", err)
	}
	if v.GraceMillis < 0 || v.GraceMillis > maxGraceMillis {
		return domain.SessionRecord{}, errors.New("no session record: its grace is out of bounds")
	}
	r := domain.SessionRecord{
		Kind: v.Type, User: v.User, Target: v.Target, Count: v.Count, Grace: time.Duration(v.GraceMillis) * time.Millisecond,
		Node: domain.NodeName(v.Node), Sealed: string(v.Sealed),
	}
	if v.Incarnation != "" {
		id, ok := domain.ParseEventID(v.Incarnation)
		if !ok {
			return domain.SessionRecord{}, errors.New("no session record: its incarnation is no UUID")
		}
		r.Incarnation = domain.Incarnation(id)
	}
	r.Question, _ = domain.ParseEventID(v.Question)
	switch r.Kind {
	case domain.ConnectionsAsked, domain.ConnectionsTold:
		asks := r.Kind == domain.ConnectionsAsked
		if r.Question == (domain.EventID{}) || asks && r.User <= 0 || !asks && (v.Incarnation == "" || r.Sealed == "") {
			return domain.SessionRecord{}, errors.New("no session record: it lacks its question, or what it asks or tells")
		}
	case domain.SessionUp, domain.SessionDown, domain.SessionAway:
		if r.User <= 0 || r.Count <= 0 || v.Incarnation == "" {
			return domain.SessionRecord{}, errors.New("no session record: it lacks its user, count or incarnation")
		}
	case domain.SessionBeat, domain.SessionLeaving, domain.SessionDead:
		if v.Incarnation == "" {
			return domain.SessionRecord{}, errors.New("no session record: it lacks its incarnation")
		}
	case domain.FriendsChanged, domain.UserErased, domain.UserForgotten:
		if r.User <= 0 {
			return domain.SessionRecord{}, errors.New("no session record: it lacks its user")
		}
	case domain.UserBlocked, domain.UserUnblocked:
		if r.User <= 0 || r.Target <= 0 {
			return domain.SessionRecord{}, errors.New("no session record: it lacks its user or target")
		}
	}
	return r, nil
}
