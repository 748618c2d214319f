package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chatting/adapters/wire"
	"chatting/domain"
)

// What follows is how events were written and read with encoding/json, in three passes. It says what records of the log
// have meant ever since, and is the reference for how they are written and read now.

// referenceEnvelope is a CloudEvent.
type referenceEnvelope struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	// ClientMessageID is an extension attribute: the sender's own name of the message, for its connections only.
	ClientMessageID string          `json:"clientmsgid,omitempty"`
	Unread          json.RawMessage `json:"unread,omitempty"`  // of read marks, for the reader's connections only
	Receipt         json.RawMessage `json:"receipt,omitempty"` // of read marks: whether the partner may learn of it
	ContentType     string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// referenceEncodeEvent returns the value of an event's record.
func referenceEncodeEvent(event domain.Event) ([]byte, error) {
	data, err := referenceEncode(event)
	if err != nil {
		return nil, err
	}
	kind, err := eventType(event.Body)
	if err != nil {
		return nil, err
	}
	var unread, receipt json.RawMessage
	if mark, ok := event.Body.(domain.ReadMark); ok {
		unread, receipt = json.RawMessage(fmt.Sprint(mark.Unread)), json.RawMessage(fmt.Sprint(mark.Receipt))
	}
	return referenceMarshalEnvelope(referenceEnvelope{
		Unread: unread, Receipt: receipt,
		SpecVersion: "1.0", ID: event.ID.String(), Source: eventSource, Type: kind,
		Subject: event.Body.Actor().String(), Time: wire.Time(event.Time),
		ClientMessageID: string(event.ClientMessageID), ContentType: "application/json", Data: data,
	})
}

// referenceMarshalEnvelope encodes without HTML escapes, which would change the frame within.
func referenceMarshalEnvelope(e referenceEnvelope) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

// referenceDecodeEvent checks a record's value, which anybody who may write the topic could have written, against its key, and
// returns the event and the frame that clients get of it, nil for what they do not see.
func referenceDecodeEvent(key domain.Conversation, value []byte) (domain.Event, []byte, error) {
	var e referenceEnvelope
	if err := json.Unmarshal(value, &e); err != nil {
		return domain.Event{}, nil, fmt.Errorf("no CloudEvent: %w", err)
	}
	event, err := referenceDecode(e.Data)
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
	case isInvite(event.Body) && !ConcernsInvites(value[:min(len(value), headBytes)]):
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
	if mark, ok := event.Body.(domain.ReadMark); ok {
		if mark.Unread, err = strconv.Atoi(string(e.Unread)); err != nil || mark.Unread < 0 || mark.Unread > 1<<30 {
			return domain.Event{}, nil, errors.New("unread is no number of messages")
		}
		mark.Receipt = string(e.Receipt) == "true"
		event.Body = mark
	}
	return event, e.Data, nil
}

// referenceBody has the fields of every conversation event, in the order in which frames show them.
type referenceBody struct {
	Type       string  `json:"type"`
	From       *string `json:"from,omitempty"`
	Message    *string `json:"message,omitempty"`
	FromID     *int64  `json:"from_id,omitempty"`
	ToID       *int64  `json:"to_id"`
	MessageID  string  `json:"message_id,omitempty"`
	Status     string  `json:"status,omitempty"`
	RoomID     string  `json:"room_id,omitempty"`
	ExpiresAt  string  `json:"expires_at,omitempty"`
	OpponentID int64   `json:"opponent_id,omitempty"`
	Version    int64   `json:"version,omitempty"`
	Time       string  `json:"time"`
	ID         string  `json:"id"`
}

// referenceEncode returns the frame of an event: for chat messages, invites and system messages what clients get, for block
// changes what only the log holds. The client's own name of the message is not in it: see wire.AppendWithClientMessageID.
func referenceEncode(event domain.Event) ([]byte, error) {
	b := referenceBody{Time: wire.Time(event.Time), ID: event.ID.String()}
	switch e := event.Body.(type) {
	case domain.ChatMessage:
		b.Type, b.Message, b.FromID, b.ToID = wire.TypeChat, new(e.Text.String()), new(int64(e.From)), new(int64(e.To))
	case domain.GameInvite:
		b.Type, b.FromID, b.ToID = wire.TypeInvite, new(int64(e.From)), new(int64(e.To))
		b.Status, b.RoomID = string(e.Status), string(e.Room)
		if !e.Expires.IsZero() {
			b.ExpiresAt = wire.Time(e.Expires)
		}
	case domain.SystemMessage:
		b.Type, b.From, b.Message, b.ToID = wire.TypeSystem, new("admin"), new(e.Text.String()), new(int64(e.To))
		b.RoomID, b.OpponentID = string(e.Room), int64(e.Opponent)
	case domain.BlockChanged:
		b.Type, b.FromID, b.ToID, b.Version = wire.TypeUnblocked, new(int64(e.Blocker)), new(int64(e.Target)), e.Version
		if e.Blocked {
			b.Type = wire.TypeBlocked
		}
	case domain.ReadMark:
		b.Type, b.FromID, b.ToID, b.MessageID = wire.TypeReadMark, new(int64(e.Reader)), new(int64(e.Partner)), e.Message.String()
	default:
		return nil, fmt.Errorf("no frame for events of type %T", event.Body)
	}
	return referenceMarshal(b)
}

var errReference = errors.New("not a frame of this server")

// referenceDecode checks a frame that came from the log, which others may write to as well, and returns its event. It accepts what
// referenceEncode returns, with further fields anywhere. A frame that it accepts is one JSON object in valid UTF-8.
func referenceDecode(data []byte) (domain.Event, error) {
	if len(data) > 1<<20 || !utf8.Valid(data) {
		return domain.Event{}, fmt.Errorf("%w: too long or no UTF-8", errReference)
	}
	var b referenceBody
	if err := json.Unmarshal(data, &b); err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errReference, err)
	}
	if err := sameToAll(data); err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errReference, err)
	}
	id, ok := domain.ParseEventID(b.ID)
	if !ok {
		return domain.Event{}, fmt.Errorf("%w: its id is no UUID", errReference)
	}
	at, err := time.Parse(time.RFC3339, b.Time)
	if err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errReference, err)
	}
	at = at.UTC().Truncate(time.Millisecond)
	if at.Year() < 0 || at.Year() > 9999 {
		return domain.Event{}, fmt.Errorf("%w: its time has no four digits for the year", errReference)
	}
	event := domain.Event{ID: id, Time: at}
	event.Body, err = b.decode()
	if err != nil {
		return domain.Event{}, fmt.Errorf("%w: %w", errReference, err)
	}
	return event, nil
}

// referenceFieldNames are the names in referenceBody.
var referenceFieldNames = []string{
	"type", "from", "message", "from_id", "to_id", "status", "room_id", "expires_at", "opponent_id", "version", "message_id", "time", "id",
}

// sameToAll refuses a frame in which a client would read other fields than encoding/json, which ignores the case of names
// and takes no notice of a null: what was checked has to be what is shown.
func sameToAll(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for name, value := range fields {
		for _, ours := range referenceFieldNames {
			if strings.EqualFold(name, ours) && (name != ours || string(value) == "null") {
				return fmt.Errorf("its field %.20q is ambiguous", name)
			}
		}
	}
	return nil
}

// decode returns the referenceBody of the event, its values checked by the domain.
func (b referenceBody) decode() (domain.Body, error) {
	if b.ToID == nil {
		return nil, errors.New("to_id is missing")
	}
	if b.Type == wire.TypeReadMark {
		message, ok := domain.ParseEventID(b.MessageID)
		if !ok || b.FromID == nil || *b.FromID <= 0 || *b.ToID < 0 {
			return nil, errors.New("no read mark")
		}
		return domain.ReadMark{Reader: domain.UserID(*b.FromID), Partner: domain.UserID(*b.ToID), Message: message}, nil
	}
	to, err := domain.NewUserID(*b.ToID)
	if err != nil {
		return nil, err
	}
	if b.Type == wire.TypeSystem {
		text, err := b.text()
		if err != nil {
			return nil, err
		}
		if b.OpponentID < 0 {
			return nil, errors.New("opponent_id names no user")
		}
		return domain.SystemMessage{To: to, Text: text, Room: domain.RoomID(b.RoomID), Opponent: domain.UserID(b.OpponentID)}, nil
	}
	if b.FromID == nil {
		return nil, errors.New("from_id is missing")
	}
	from, err := domain.NewUserID(*b.FromID)
	if err != nil {
		return nil, err
	}
	switch b.Type {
	case wire.TypeChat:
		text, err := b.text()
		if err != nil {
			return nil, err
		}
		return domain.ChatMessage{From: from, To: to, Text: text}, nil
	case wire.TypeInvite:
		status, err := domain.NewInviteStatus(b.Status)
		if err != nil {
			return nil, err
		}
		if _, named := domain.ParseEventID(b.RoomID); !named && status.IsNew() {
			return nil, errors.New("room_id names no invite")
		}
		invite := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(b.RoomID)}
		if b.ExpiresAt != "" && status == domain.InviteOpened {
			if invite.Expires, err = time.Parse(time.RFC3339, b.ExpiresAt); err != nil {
				return nil, errors.New("expires_at is no time")
			}
			invite.Expires = invite.Expires.UTC().Truncate(time.Millisecond)
		}
		return invite, nil
	case wire.TypeBlocked, wire.TypeUnblocked:
		return domain.NewBlockChanged(from, to, b.Type == wire.TypeBlocked, b.Version)
	default:
		return nil, errors.New("its type is unknown")
	}
}

// text returns the message as it stands in the log: HTML escaping may have made it longer than a sender's may be.
func (b referenceBody) text() (domain.Text, error) {
	if b.Message == nil {
		return domain.Text{}, errors.New("message is missing")
	}
	return domain.LoggedText(*b.Message)
}

// referenceMarshal encodes without the escapes of < > & that encoding/json adds by default: a text goes out as it was sent, and a
// frame within v as it is.
func referenceMarshal(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}
