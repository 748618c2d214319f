package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/domain"
)

// An event record is a CloudEvents 1.0 JSON object in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md): one header, and data last.
const (
	// ContentTypeHeader and ContentTypeEvent are the header of an event.
	ContentTypeHeader = "content-type"
	ContentTypeEvent  = "application/cloudevents+json"

	specVersion  = "1.0"
	eventSource  = "/chatting"
	typePrefix   = "chatting."
	typeSuffix   = ".v1"
	presenceType = typePrefix + "presence_changed" + typeSuffix
)

// eventHeaders are the headers of every event record. They are few on purpose: each costs every reader.
var eventHeaders = []kafkago.Header{{Key: ContentTypeHeader, Value: []byte(ContentTypeEvent)}}

// EncodeEvent returns the value of an event's record.
func EncodeEvent(event domain.Event) ([]byte, error) {
	kind, err := eventType(event.Body)
	if err != nil {
		return nil, err
	}
	size := sizeOfEvent
	if m, ok := event.Body.(domain.ChatMessage); ok {
		size += len(m.Text.String())
	}
	if event.Trace != "" {
		size += len(traceFollows) + len(event.Trace) + 1
	}
	value := appendEnvelope(make([]byte, 0, size), event.ID, kind, event.Body.Actor(), event.Time)
	value = append(appendExtensions(value, event), dataFollows...)
	if value, err = wire.AppendEvent(value, event); err != nil {
		return nil, err
	}
	return append(value, '}'), nil
}

// sizeOfEvent is about what an event takes beside its text.
const sizeOfEvent = 440

// appendEnvelope appends the required attributes of a CloudEvent. The caller appends dataFollows, the data, and a brace.
func appendEnvelope(dst []byte, id domain.EventID, kind string, subject domain.UserID, at time.Time) []byte {
	dst = append(dst, `{"specversion":"`+specVersion+`","id":"`...)
	dst = id.Append(dst)
	dst = append(dst, `","source":"`+eventSource+`","type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","subject":"`...)
	dst = strconv.AppendInt(dst, int64(subject), 10)
	dst = append(dst, `","time":"`...)
	dst = wire.AppendTime(dst, at)
	return append(dst, '"')
}

// dataFollows stands before the data of an event.
const dataFollows = `,"datacontenttype":"application/json","data":`

// traceFollows stands before the span that an event is part of, as the extension for distributed tracing of CloudEvents has it.
const traceFollows = `,"traceparent":"`

// appendExtensions appends the extension attributes of an event: what only the connections of the one who acts are shown, who is
// shown it at all, and what the event is part of. The data has nothing of that.
func appendExtensions(dst []byte, event domain.Event) []byte {
	if event.Trace != "" {
		dst = append(dst, traceFollows...)
		dst = append(append(dst, event.Trace...), '"')
	}
	if name := event.ClientMessageID; name != "" {
		dst = append(dst, `,"clientmsgid":`...)
		dst = strconv.AppendQuote(dst, string(name)) // printable ASCII: Go's quoting and JSON's are the same for it
	}
	if event.Acts > 0 {
		dst = append(dst, `,"acts":"`...) // an integer of CloudEvents has 32 bits
		dst = strconv.AppendInt(dst, event.Acts, 10)
		dst = append(dst, '"')
	}
	if mark, ok := event.Body.(domain.ReadMark); ok {
		dst = append(dst, `,"unread":`...)
		dst = strconv.AppendInt(dst, int64(mark.Unread), 10)
		dst = append(dst, `,"receipt":`...)
		dst = strconv.AppendBool(dst, mark.Receipt)
	}
	return dst
}

// eventType names an event: its frame's type between the prefix and the version of its schema.
func eventType(body domain.Body) (string, error) {
	switch e := body.(type) {
	case domain.ChatMessage:
		return typePrefix + wire.TypeChat + typeSuffix, nil
	case domain.GameInvite:
		return typePrefix + wire.TypeInvite + typeSuffix, nil
	case domain.SystemMessage:
		return typePrefix + wire.TypeSystem + typeSuffix, nil
	case domain.ReadMark:
		return typePrefix + wire.TypeReadMark + typeSuffix, nil
	case domain.BlockChanged:
		if e.Blocked {
			return typePrefix + wire.TypeBlocked + typeSuffix, nil
		}
		return typePrefix + wire.TypeUnblocked + typeSuffix, nil
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
	attributeUnread
	attributeReceipt
	attributeActs
	attributeTrace
	attributeContentType
	attributeData
)

var attributeNames = [...]string{
	attributeSpecVersion: "specversion", attributeID: "id", attributeSource: "source", attributeType: "type",
	attributeSubject: "subject", attributeTime: "time", attributeName: "clientmsgid",
	attributeUnread: "unread", attributeReceipt: "receipt", attributeActs: "acts", attributeTrace: "traceparent",
	attributeContentType: "datacontenttype", attributeData: "data",
}

// envelope has the attributes of a CloudEvent as they were written; nil for those that are not there.
type envelope [len(attributeNames)][]byte

// check refuses an attribute that is no text, except for those that are none: only the events that have them look at these. What
// traces say is nobody's business but theirs. As CloudEvents has it, null is no text, and no attribute.
func (e *envelope) check() error {
	for attribute, value := range e {
		switch {
		case value == nil || value[0] == '"' || wire.IsNull(value):
		case attribute == attributeData || attribute == attributeUnread || attribute == attributeReceipt || attribute == attributeActs ||
			attribute == attributeTrace:
		default:
			return fmt.Errorf("no CloudEvent: its %s is no text", attributeNames[attribute])
		}
	}
	return nil
}

// readMark completes a mark by what only its envelope says. Without a word about a receipt there is none.
func (e *envelope) readMark(mark domain.ReadMark) (domain.Body, error) {
	unread, ok := wire.Integer(e[attributeUnread])
	if !ok {
		return nil, errors.New("a read mark whose unread is no integer")
	}
	return domain.NewReadMark(mark.Reader, mark.Partner, mark.Message, unread, string(e[attributeReceipt]) == "true")
}

// acts returns the version that the attribute acts has, in the only form in which it is written; 0 without one, or for another form.
func (e *envelope) acts() int64 {
	var written [20]byte
	text := e.text(attributeActs)
	version, ok := wire.Integer(text)
	if !ok || version <= 0 || !bytes.Equal(text, strconv.AppendInt(written[:0], version, 10)) {
		return 0
	}
	return version
}

// trace returns the span that the event is part of, if that is recorded.
func (e *envelope) trace() domain.TraceParent {
	if e[attributeTrace] == nil || len(e[attributeTrace]) > maxTrace {
		return ""
	}
	if parent := domain.NewTraceParent(e.text(attributeTrace)); parent.IsSampled() {
		return parent
	}
	return ""
}

// maxTrace bounds what is read of a traceparent, in bytes. A later version may have more to say than this one, but not much.
const maxTrace = 512

func (e *envelope) text(attribute int) []byte {
	text, _ := wire.Text(e[attribute])
	return text
}

// DecodeEvent reads a record's value, which it does not trust. It returns the event and the frame that clients get of it, which is
// part of the value; nil for what they do not see.
func DecodeEvent(key domain.Conversation, value []byte) (domain.Event, []byte, error) {
	r := wire.Read(value)
	defer r.Close()
	var e envelope
	var event domain.Event
	var data []byte
	_, err := r.Object(func(name []byte) (err error) {
		if string(name) != attributeNames[attributeData] || data != nil {
			return r.Field(name, attributeNames[:], e[:])
		}
		event, data, err = wire.ReadEvent(r)
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
	case isInvite(event.Body) && !ConcernsInvites(value):
		// Nodes without a receiver would not see it, and judge what follows differently.
		return domain.Event{}, nil, errors.New("an invite whose type does not stand at the beginning")
	}
	if name := e.text(attributeName); len(name) > 0 {
		if event.ClientMessageID, err = domain.NewClientMessageID(string(name)); err != nil {
			return domain.Event{}, nil, err
		}
	}
	event.Acts, event.Trace = e.acts(), e.trace()
	switch body := event.Body.(type) {
	case domain.BlockChanged:
		return event, nil, nil
	case domain.ReadMark:
		event.Body, err = e.readMark(body)
	}
	if err != nil {
		return domain.Event{}, nil, err
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
	value := appendEnvelope(make([]byte, 0, sizeOfEvent), id, presenceType, change.User, change.At)
	value = append(value, dataFollows+`{"user_id":`...)
	value = strconv.AppendInt(value, int64(change.User), 10)
	value = append(value, `,"status":"`...)
	value = append(value, status...)
	value = append(value, `","time":"`...)
	value = wire.AppendTime(value, change.At)
	return append(value, `"}}`...)
}

func eventRecord(key, value []byte) recordbatch.Record {
	return recordbatch.Record{Key: key, Value: value, Headers: eventHeaders}
}
