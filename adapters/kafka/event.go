package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/adapters/frame"
	"chatting/domain"
)

// An event record is a CloudEvents 1.0 JSON object in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md): one header, and data
// last, so that a reader of a stream sees what it is before how long it is.
const (
	contentTypeHeader = "content-type"
	contentTypeEvent  = "application/cloudevents+json"
	eventSource       = "/chatting"
	typePrefix        = "chatting."
	typeSuffix        = ".v1"
	presenceType      = typePrefix + "presence_changed" + typeSuffix
)

// eventHeaders are the headers of every event record. They are few on purpose: each costs every reader.
var eventHeaders = []kafka.Header{{Key: contentTypeHeader, Value: []byte(contentTypeEvent)}}

// envelope is a CloudEvent.
type envelope struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	// ClientMessageID is an extension attribute: the sender's own name of the message, for its connections only.
	ClientMessageID string          `json:"clientmsgid,omitempty"`
	ContentType     string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// encodeEvent returns the value of an event's record.
func encodeEvent(event domain.Event) ([]byte, error) {
	data, err := frame.Encode(event)
	if err != nil {
		return nil, err
	}
	kind, err := eventType(event.Body)
	if err != nil {
		return nil, err
	}
	return marshalEnvelope(envelope{
		SpecVersion: "1.0", ID: event.ID.String(), Source: eventSource, Type: kind,
		Subject: event.Body.Actor().String(), Time: frame.Time(event.Time),
		ClientMessageID: string(event.ClientMessageID), ContentType: "application/json", Data: data,
	})
}

// eventType names an event: its frame's type between the prefix and the version of its schema.
func eventType(body domain.Body) (string, error) {
	var kind string
	switch e := body.(type) {
	case domain.ChatMessage:
		kind = frame.TypeChat
	case domain.GameInvite:
		kind = frame.TypeInvite
	case domain.SystemMessage:
		kind = frame.TypeSystem
	case domain.BlockChanged:
		kind = frame.TypeUnblocked
		if e.Blocked {
			kind = frame.TypeBlocked
		}
	default:
		return "", fmt.Errorf("no event type for %T", body)
	}
	return typePrefix + kind + typeSuffix, nil
}

// marshalEnvelope encodes without HTML escapes, which would change the frame within.
func marshalEnvelope(e envelope) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

// decodeEvent checks a record's value, which anybody who may write the topic could have written, against its key, and
// returns the event and the frame that clients get of it, nil for what they do not see.
func decodeEvent(key domain.Conversation, value []byte) (domain.Event, []byte, error) {
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return domain.Event{}, nil, fmt.Errorf("no CloudEvent: %w", err)
	}
	event, err := frame.Decode(e.Data)
	if err != nil {
		return domain.Event{}, nil, err
	}
	kind, err := eventType(event.Body)
	switch {
	case err != nil:
		return domain.Event{}, nil, err
	case e.SpecVersion != "1.0" || e.Type != kind:
		return domain.Event{}, nil, fmt.Errorf("the envelope is of type %.100q, its data of %q", e.Type, kind)
	case e.ID != event.ID.String():
		return domain.Event{}, nil, errors.New("envelope and data differ in their id")
	case event.Body.Conversation() != key:
		return domain.Event{}, nil, errors.New("the key names another conversation than the data")
	case isInvite(event.Body) && !concernsInvites(value[:min(len(value), headBytes)]):
		// Nodes without a receiver would not see it, and judge what follows differently.
		return domain.Event{}, nil, errors.New("an invite whose type does not stand at the beginning")
	}
	if e.ClientMessageID != "" {
		if event.ClientMessageID, err = domain.NewClientMessageID(e.ClientMessageID); err != nil {
			return domain.Event{}, nil, err
		}
	}
	if _, hidden := event.Body.(domain.BlockChanged); hidden {
		return event, nil, nil
	}
	return event, e.Data, nil
}

func isInvite(body domain.Body) bool {
	_, invite := body.(domain.GameInvite)
	return invite
}

// encodePresence returns the value of a public presence record.
func encodePresence(id domain.EventID, change domain.Transition) ([]byte, error) {
	status := "offline"
	if change.Online {
		status = "online"
	}
	data, err := json.Marshal(struct {
		UserID domain.UserID `json:"user_id"`
		Status string        `json:"status"`
		Time   string        `json:"time"`
	}{change.User, status, frame.Time(change.At)})
	if err != nil {
		return nil, err
	}
	return marshalEnvelope(envelope{
		SpecVersion: "1.0", ID: id.String(), Source: eventSource, Type: presenceType,
		Subject: change.User.String(), Time: frame.Time(change.At), ContentType: "application/json", Data: data,
	})
}

// sessionValue is the value of a session record.
type sessionValue struct {
	Type        domain.SessionKind `json:"type"`
	Incarnation string             `json:"incarnation,omitempty"`
	User        domain.UserID      `json:"user,omitempty"`
	Target      domain.UserID      `json:"target,omitempty"`
	Count       int64              `json:"count,omitempty"`
	GraceMillis int64              `json:"grace_ms,omitempty"`
	Node        string             `json:"node,omitempty"`
}

// maxGraceMillis is an hour: no node asks for so much.
const maxGraceMillis = 3_600_000

func encodeSession(r domain.SessionRecord) ([]byte, error) {
	value := sessionValue{
		Type: r.Kind, User: r.User, Target: r.Target, Count: r.Count, GraceMillis: r.Grace.Milliseconds(), Node: r.Node,
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
		Node: domain.NodeName(v.Node),
	}
	if v.Incarnation != "" {
		id, ok := domain.ParseEventID(v.Incarnation)
		if !ok {
			return domain.SessionRecord{}, errors.New("no session record: its incarnation is no UUID")
		}
		r.Incarnation = domain.Incarnation(id)
	}
	switch r.Kind {
	case domain.SessionUp, domain.SessionDown:
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

// eventRecord is an event record. The appender stamps it.
func eventRecord(key, value []byte) record {
	return record{key: key, value: value, headers: eventHeaders}
}

func now() time.Time { return time.Now() }
