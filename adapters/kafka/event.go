package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/adapters/frame"
	"chatting/adapters/members"
	"chatting/domain"
)

// An event record is a CloudEvents 1.0 JSON object in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md): one header, and data
// last, so that a reader of a stream sees what it is before how long it is.
const (
	contentTypeHeader = "content-type"
	contentTypeEvent  = "application/cloudevents+json"
	specVersion       = "1.0"
	eventSource       = "/chatting"
	typePrefix        = "chatting."
	typeSuffix        = ".v1"
	presenceType      = typePrefix + "presence_changed" + typeSuffix
)

// eventHeaders are the headers of every event record. They are few on purpose: each costs every reader.
var eventHeaders = []kafka.Header{{Key: contentTypeHeader, Value: []byte(contentTypeEvent)}}

// encodeEvent returns the value of an event's record.
func encodeEvent(event domain.Event) ([]byte, error) {
	kind, err := eventType(event.Body)
	if err != nil {
		return nil, err
	}
	size := sizeOfEvent
	if m, ok := event.Body.(domain.ChatMessage); ok {
		size += len(m.Text.String())
	}
	value := appendEnvelope(make([]byte, 0, size), event.ID, kind, event.Body.Actor(), event.Time, event.ClientMessageID)
	if value, err = frame.Append(value, event); err != nil {
		return nil, err
	}
	return append(value, '}'), nil
}

// sizeOfEvent is about what an event takes beside its text.
const sizeOfEvent = 440

// appendEnvelope appends a CloudEvent up to its data; the caller appends that, and a brace.
func appendEnvelope(
	dst []byte, id domain.EventID, kind string, subject domain.UserID, at time.Time, name domain.ClientMessageID,
) []byte {
	dst = append(dst, `{"specversion":"`+specVersion+`","id":"`...)
	dst = id.Append(dst)
	dst = append(dst, `","source":"`+eventSource+`","type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","subject":"`...)
	dst = strconv.AppendInt(dst, int64(subject), 10)
	dst = append(dst, `","time":"`...)
	dst = frame.AppendTime(dst, at)
	dst = append(dst, '"')
	if name != "" {
		// An extension attribute: the sender's own name of the message, for its connections only.
		dst = append(dst, `,"clientmsgid":`...)
		dst = strconv.AppendQuote(dst, string(name)) // printable ASCII: Go's quoting and JSON's are the same for it
	}
	return append(dst, `,"datacontenttype":"application/json","data":`...)
}

// eventType names an event: its frame's type between the prefix and the version of its schema.
func eventType(body domain.Body) (string, error) {
	switch e := body.(type) {
	case domain.ChatMessage:
		return typePrefix + frame.TypeChat + typeSuffix, nil
	case domain.GameInvite:
		return typePrefix + frame.TypeInvite + typeSuffix, nil
	case domain.SystemMessage:
		return typePrefix + frame.TypeSystem + typeSuffix, nil
	case domain.BlockChanged:
		if e.Blocked {
			return typePrefix + frame.TypeBlocked + typeSuffix, nil
		}
		return typePrefix + frame.TypeUnblocked + typeSuffix, nil
	default:
		return "", fmt.Errorf("no event type for %T", body)
	}
}

// The attributes of an envelope that are known here, and its data.
const (
	attributeSpecVersion = iota
	attributeID
	attributeSource
	attributeType
	attributeSubject
	attributeTime
	attributeName
	attributeContentType
	attributeData
)

var attributeNames = [...]string{
	attributeSpecVersion: "specversion", attributeID: "id", attributeSource: "source", attributeType: "type",
	attributeSubject: "subject", attributeTime: "time", attributeName: "clientmsgid",
	attributeContentType: "datacontenttype", attributeData: "data",
}

// envelope has the attributes of a CloudEvent as they were written; nil for those that are not there.
type envelope [len(attributeNames)][]byte

// check refuses an attribute that is no text. As CloudEvents has it, null is none.
func (e *envelope) check() error {
	for attribute, value := range e {
		if attribute != attributeData && value != nil && value[0] != '"' && !members.IsNull(value) {
			return fmt.Errorf("no CloudEvent: its %s is no text", attributeNames[attribute])
		}
	}
	return nil
}

func (e *envelope) text(attribute int) []byte {
	text, _ := members.Text(e[attribute])
	return text
}

// decodeEvent checks a record's value, which anybody who may write the topic could have written, against its key, and
// returns the event and the frame that clients get of it, nil for what they do not see. The frame is part of the value.
func decodeEvent(key domain.Conversation, value []byte) (domain.Event, []byte, error) {
	r := members.Read(value)
	defer r.Close()
	var e envelope
	var event domain.Event
	var data []byte
	_, err := r.Object(func(name []byte) (err error) {
		if string(name) != attributeNames[attributeData] || data != nil {
			return r.Field(name, attributeNames[:], e[:])
		}
		event, data, err = frame.Read(r)
		e[attributeData] = data
		return err
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return domain.Event{}, nil, fmt.Errorf("no CloudEvent: %w", err)
	case data == nil:
		return domain.Event{}, nil, errors.New("no CloudEvent: it lacks its data")
	}
	if err := e.check(); err != nil {
		return domain.Event{}, nil, err
	}
	kind, err := eventType(event.Body)
	if err != nil {
		return domain.Event{}, nil, err
	}
	var id [36]byte
	switch said := e.text(attributeType); {
	case string(e.text(attributeSpecVersion)) != specVersion || string(said) != kind:
		return domain.Event{}, nil, fmt.Errorf("the envelope is of type %.100q, its data of %q", said, kind)
	case !bytes.Equal(e.text(attributeID), event.ID.Append(id[:0])):
		return domain.Event{}, nil, errors.New("envelope and data differ in their id")
	case event.Body.Conversation() != key:
		return domain.Event{}, nil, errors.New("the key names another conversation than the data")
	case isInvite(event.Body) && !concernsInvites(value):
		// Nodes without a receiver would not see it, and judge what follows differently.
		return domain.Event{}, nil, errors.New("an invite whose type does not stand at the beginning")
	}
	if name := e.text(attributeName); len(name) > 0 {
		if event.ClientMessageID, err = domain.NewClientMessageID(string(name)); err != nil {
			return domain.Event{}, nil, err
		}
	}
	if _, hidden := event.Body.(domain.BlockChanged); hidden {
		return event, nil, nil
	}
	return event, data, nil
}

func isInvite(body domain.Body) bool {
	_, invite := body.(domain.GameInvite)
	return invite
}

// encodePresence returns the value of a public presence record.
func encodePresence(id domain.EventID, change domain.Transition) []byte {
	status := "offline"
	if change.Online {
		status = "online"
	}
	value := appendEnvelope(make([]byte, 0, sizeOfEvent), id, presenceType, change.User, change.At, "")
	value = append(value, `{"user_id":`...)
	value = strconv.AppendInt(value, int64(change.User), 10)
	value = append(value, `,"status":"`...)
	value = append(value, status...)
	value = append(value, `","time":"`...)
	value = frame.AppendTime(value, change.At)
	return append(value, `"}}`...)
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
