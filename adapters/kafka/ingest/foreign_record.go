package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/application/messaging"
	"chatting/domain"
)

// foreignRecord is a record that another program wrote.
type foreignRecord struct {
	topic      string
	partition  int
	offset     int64
	time       time.Time
	key, value []byte
	headers    []kafkago.Header
	// size is the length of the value, also where that is left out; -1 if it is unknown.
	size int64
	// leftOut are the headers of a dead letter that say what of the record is not here.
	leftOut []kafkago.Header
	// moreHeaders is how many headers the record has, or sizeUnknown, if headers are not all of them; else "".
	moreHeaders string
	// refused is why the record cannot be read; nil if it can.
	refused *refusedError
}

// bytes is how much memory the record takes, about, or maxUnderWay if that is less.
func (r *foreignRecord) bytes() int64 {
	whole := recordbatch.Record{Key: r.key, Value: r.value, Headers: r.headers}
	return min(int64(whole.Size()+memoryOfHeader*len(r.headers)), maxUnderWay)
}

// memoryOfHeader is what a header takes beside its bytes.
const memoryOfHeader = 40

// copyRecord takes a record out of the tail's batch, but for a value that no dead letter could hold.
func copyRecord(topic string, r *recordbatch.StoredRecord) foreignRecord {
	copied := foreignRecord{
		topic: topic, partition: r.Partition, offset: r.Offset, time: r.Time,
		key: bytes.Clone(r.WholeKey), size: int64(len(r.Value)),
	}
	if len(r.Value) > kafka.MaxDeadLetterBytes {
		copied.leftOut = []kafkago.Header{textHeader(headerLeftOut, strconv.Itoa(len(r.Value)))}
	} else {
		copied.value = bytes.Clone(r.Value)
	}
	headers, all := r.Headers()
	for _, h := range headers {
		copied.headers = append(copied.headers, kafkago.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	if !all || len(withoutHeaders(headers, deadLetterHeaders...)) > maxHeaders {
		copied.moreHeaders = sizeUnknown
		if count, ok := r.HeaderCount(); ok {
			copied.moreHeaders = strconv.FormatInt(count, 10)
		}
		copied.refused = refuse(DeadTooLarge, "It has more than %d headers, or some that cannot be read.", maxHeaders)
	}
	return copied
}

// maxHeaders bounds the headers of a record that another program wrote. A dead letter has some more, which are read, too.
const maxHeaders = 1000

// maxLeftOutLetters bounds the dead letters for the records of one batch that cannot be read.
const maxLeftOutLetters = 16

// recordsOf returns records in the place of those that a tail left out. If they are many, the last one stands for the rest.
func recordsOf(topic string, left recordbatch.LeftOut) []foreignRecord {
	code, sentence := DeadUnreadable, "Its batch cannot be read: "+left.Why.Error()+"."
	if left.TooLarge {
		code, sentence = DeadTooLarge, fmt.Sprintf("Its batch unpacks to more than %d bytes.", logclient.MaxForeignBatch)
	}
	count := min(left.To-left.From, maxLeftOutLetters)
	records := make([]foreignRecord, count)
	for i := range records {
		records[i] = foreignRecord{
			topic: topic, partition: left.Partition, offset: left.From + int64(i), time: left.Time, size: -1,
			leftOut: []kafkago.Header{textHeader(headerLeftOut, sizeUnknown)}, refused: &refusedError{code, sentence},
		}
	}
	if first := &records[0]; left.Size >= 0 {
		first.size = left.Size
		first.leftOut[0] = textHeader(headerLeftOut, strconv.FormatInt(left.Size, 10))
		if len(left.Key) <= recordbatch.MaxKey {
			first.key = bytes.Clone(left.Key)
		}
	}
	if rest := left.To - left.From - count; rest > 0 {
		records[count-1].refused = refuse(code, "%s So are the %d records after it, which have no dead letter.", sentence, rest)
	}
	return records
}

// The codes of dead letters, which say why a record was not delivered. They are part of the contract.
const (
	DeadEmpty           = "chatting.empty"              // there is no value, or nothing in it
	DeadTooLarge        = "chatting.too_large"          // the value is longer than any system message, or the batch unpacks to too much
	DeadUnreadable      = "chatting.unreadable"         // the batch cannot be unpacked, or holds no records
	DeadMediaType       = "chatting.unsupported_type"   // the header content-type, or the event's, names no JSON
	DeadInvalidEvent    = "chatting.invalid_cloudevent" // it calls itself a CloudEvent and is none
	DeadInvalidJSON     = "chatting.invalid_json"       // the body is no JSON
	DeadInvalidMessage  = "chatting.invalid_message"    // the body is JSON, but no system message
	DeadNoUserOrOffline = "chatting.no_user_or_offline" // the user is unknown or has no connection
)

// DeadLetterCodes returns them all.
func DeadLetterCodes() []string {
	return []string{
		DeadEmpty, DeadTooLarge, DeadUnreadable, DeadMediaType, DeadInvalidEvent, DeadInvalidJSON, DeadInvalidMessage, DeadNoUserOrOffline,
	}
}

// refusedError is why a record will not be delivered, however often it is tried. The sentence holds nothing of the message.
type refusedError struct{ code, sentence string }

// Error implements error.
func (e *refusedError) Error() string { return e.sentence }

func refuse(code, format string, args ...any) *refusedError {
	return &refusedError{code, fmt.Sprintf(format, args...)}
}

// maxForeignValue bounds the values that are looked into: what HTTP takes by default, several times the longest system
// message, however it is escaped.
const maxForeignValue = 1 << 20

// idKind is the kind of the derived ids of system messages.
const idKind = "system-message"

// systemMessage reads a record: the body of the HTTP request as it is, or the data of a CloudEvent, binary or structured
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md), of any type. The
// event's source and id, which CloudEvents has to be one name of one event, make the id, whichever form it has; without them
// the record's place does, or the place that it had before it became a dead letter.
func (r *foreignRecord) systemMessage() (messaging.SystemMessageCommand, *refusedError) {
	if r.refused != nil {
		return messaging.SystemMessageCommand{}, r.refused
	}
	if size := max(r.size, int64(len(r.value))); size > maxForeignValue {
		return messaging.SystemMessageCommand{}, refuse(DeadTooLarge,
			"The value has %d bytes; a system message has no more than %d.", size, maxForeignValue)
	}
	name, body, refused := r.open()
	if refused != nil {
		return messaging.SystemMessageCommand{}, refused
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return messaging.SystemMessageCommand{}, refuse(DeadEmpty, "There is nothing in it.")
	}
	message, refused := readBody(body)
	if refused != nil {
		return messaging.SystemMessageCommand{}, refused
	}
	if name == "" {
		name = r.origin().String()
	}
	return messaging.SystemMessageCommand{ID: domain.DerivedID(idKind, name), Message: message}, nil
}

// readBody reads what the HTTP ingest takes.
func readBody(body []byte) (domain.SystemMessage, *refusedError) {
	parsed, err := wire.ParseBody(body)
	var syntax *wire.SyntaxError
	if errors.As(err, &syntax) {
		return domain.SystemMessage{}, refuse(DeadInvalidJSON, "%v", err)
	}
	var message domain.SystemMessage
	if err == nil {
		message, err = parsed.SystemMessage()
	}
	switch {
	case err != nil:
		return domain.SystemMessage{}, refuse(DeadInvalidMessage, "%v", err)
	case message.To == wire.Nobody:
		return domain.SystemMessage{}, refuse(DeadNoUserOrOffline, "No User or Offline")
	}
	return message, nil
}

// The headers of a CloudEvent in binary mode.
const (
	eventHeaderPrefix = "ce_"
	ceSpecVersion     = eventHeaderPrefix + "specversion"
	ceID              = eventHeaderPrefix + "id"
	ceSource          = eventHeaderPrefix + "source"
	ceType            = eventHeaderPrefix + "type"
	// httpHeaderPrefix is the prefix that the binding for HTTP has. Programs that pass on what came by HTTP leave it.
	httpHeaderPrefix = "ce-"
	contentTypeBatch = "application/cloudevents-batch+json"
)

// open returns the body in a record and, of a CloudEvent, the name of the event.
func (r *foreignRecord) open() (name string, body []byte, refused *refusedError) {
	contentType, _ := r.producerHeader(kafka.ContentTypeHeader)
	mediaType, _, err := mime.ParseMediaType(contentType)
	shape := shapeOf(r.value)
	switch {
	case contentType != "" && err != nil:
		return "", nil, refuse(DeadMediaType, "The header content-type names no media type.")
	case mediaType == kafka.ContentTypeEvent:
		return openStructured(r.value)
	case mediaType == contentTypeBatch, isJSON(mediaType) && shape == shapeBatch:
		return "", nil, refuse(DeadMediaType, "Batches of CloudEvents are not read: write each event as a record of its own.")
	case strings.HasPrefix(mediaType, "application/cloudevents"):
		return "", nil, refuse(DeadMediaType, "Of CloudEvents in structured mode, only %s is read.", kafka.ContentTypeEvent)
	case isJSON(mediaType) && shape == shapeEvent:
		return openStructured(r.value)
	}
	if r.isEvent() {
		var event foreignEvent
		for header, attribute := range map[string]*string{
			ceSpecVersion: &event.SpecVersion, ceID: &event.ID, ceSource: &event.Source, ceType: &event.Type,
		} {
			*attribute, _ = r.eventHeader(header)
		}
		if name, refused = event.name(); refused != nil {
			return "", nil, refused
		}
	}
	if !isJSON(mediaType) {
		return "", nil, refuse(DeadMediaType, "The header content-type is not application/json.")
	}
	return name, r.value, nil
}

// isEvent tells whether a record calls itself a CloudEvent in binary mode.
func (r *foreignRecord) isEvent() bool {
	for _, header := range []string{ceSpecVersion, ceID, ceSource, ceType} {
		if _, ok := r.eventHeader(header); ok {
			return true
		}
	}
	return false
}

// shape is what a value is by its own fields, whatever its headers say.
type shape int

const (
	shapeOther shape = iota
	shapeEvent       // a CloudEvent in structured mode
	shapeBatch       // a list of those
)

// shapeOf recognises CloudEvents by their attributes: producers that write JSON often leave the header content-type out, or
// say application/json. An object with specversion is an event, and its other attributes are then checked as those of one
// with the header. Only an object that also has target_id is a system message: no attribute of an event may have such a name.
func shapeOf(value []byte) shape {
	type marks struct {
		SpecVersion *json.RawMessage `json:"specversion"` // nil for null, too, which is absent
		Target      *json.RawMessage `json:"target_id"`
	}
	isEvent := func(m marks) bool { return m.SpecVersion != nil && m.Target == nil }
	var object marks
	var list []json.RawMessage
	switch trimmed := bytes.TrimLeft(value, " \t\r\n"); {
	case bytes.HasPrefix(trimmed, []byte("{")):
		if json.Unmarshal(trimmed, &object) == nil && isEvent(object) {
			return shapeEvent
		}
	case bytes.HasPrefix(trimmed, []byte("[")):
		if json.Unmarshal(trimmed, &list) == nil && len(list) > 0 && json.Unmarshal(list[0], &object) == nil && isEvent(object) {
			return shapeBatch
		}
	}
	return shapeOther
}

// eventHeader returns a header of an event in binary mode, also under the prefix of the binding for HTTP.
func (r *foreignRecord) eventHeader(name string) (value string, ok bool) {
	if value, ok = r.producerHeader(name); ok {
		return value, true
	}
	return r.producerHeader(httpHeaderPrefix + strings.TrimPrefix(name, eventHeaderPrefix))
}

// producerHeader returns the last header of a name, whichever case its letters have: Kafka tells Content-Type from
// content-type, and those who write headers often do not.
func (r *foreignRecord) producerHeader(name string) (value string, ok bool) {
	for i := len(r.headers) - 1; i >= 0; i-- {
		if strings.EqualFold(r.headers[i].Key, name) {
			return string(r.headers[i].Value), true
		}
	}
	return "", false
}

// traceHeader is the header, and the attribute of a CloudEvent, by which a producer says which span a record is part of. The header
// counts before the attribute.
const traceHeader = "traceparent"

// trace returns what the producer says of the span that the record is part of; "" for nothing.
func (r *foreignRecord) trace() domain.TraceParent {
	if said, ok := r.producerHeader(traceHeader); ok {
		return domain.NewTraceParent(said)
	}
	if said, ok := r.eventHeader(eventHeaderPrefix + traceHeader); ok {
		return domain.NewTraceParent(said)
	}
	// Anything may stand there. It is of interest only if it is a text.
	var event struct {
		Trace any `json:"traceparent"`
	}
	if shapeOf(r.value) != shapeEvent || json.Unmarshal(r.value, &event) != nil {
		return ""
	}
	said, _ := event.Trace.(string)
	return domain.NewTraceParent(said)
}

// header returns the last header of exactly this name.
func (r *foreignRecord) header(name string) (value string, ok bool) {
	for i := len(r.headers) - 1; i >= 0; i-- {
		if r.headers[i].Key == name {
			return string(r.headers[i].Value), true
		}
	}
	return "", false
}

// isJSON tells whether a media type is JSON's; none at all counts as it.
func isJSON(mediaType string) bool {
	return mediaType == "" || mediaType == "application/json" ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
}

// foreignEvent is of a CloudEvent what is looked at. An attribute that is null is absent, as the format for JSON says
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
type foreignEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"` // null is data, if there is no data_base64
	DataBase64  *string         `json:"data_base64"`
}

// openStructured returns the data of a CloudEvent in structured mode, and the name of the event.
func openStructured(value []byte) (name string, data []byte, refused *refusedError) {
	if len(bytes.TrimSpace(value)) == 0 {
		return "", nil, refuse(DeadEmpty, "There is nothing in it.")
	}
	var event foreignEvent
	if !utf8.Valid(value) {
		return "", nil, refuse(DeadInvalidEvent, "The event is not valid UTF-8.")
	}
	if err := json.Unmarshal(value, &event); err != nil {
		return "", nil, refuse(DeadInvalidEvent, "%v", whatIsWrong(err))
	}
	if name, refused = event.name(); refused != nil {
		return "", nil, refused
	}
	mediaType, _, err := mime.ParseMediaType(event.ContentType)
	switch {
	case event.ContentType != "" && (err != nil || !isJSON(mediaType)):
		return "", nil, refuse(DeadMediaType, "The event's datacontenttype is not application/json.")
	case event.DataBase64 == nil:
		return name, event.Data, nil
	case event.Data != nil && string(event.Data) != "null":
		return "", nil, refuse(DeadInvalidEvent, "The event has both data and data_base64.")
	}
	if data, err = base64.StdEncoding.DecodeString(*event.DataBase64); err != nil {
		return "", nil, refuse(DeadInvalidEvent, "The event's data_base64 is not in base64.")
	}
	return name, data, nil
}

// whatIsWrong returns the complaint of the JSON parser without the names of Go's types.
func whatIsWrong(err error) string {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Sprintf("The event's %s is of type %s.", wrong.Field, wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Sprintf("The event is of type %s.", wrong.Value)
	default:
		return "The event is no JSON: " + err.Error()
	}
}

// name returns what names the event among all events, or what is wrong with its attributes.
func (e *foreignEvent) name() (string, *refusedError) {
	if e.SpecVersion != "1.0" {
		return "", refuse(DeadInvalidEvent, "The event's specversion is not 1.0.")
	}
	for _, attribute := range []struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if attribute.value == "" {
			return "", refuse(DeadInvalidEvent, "The event's %s is missing or empty.", attribute.name)
		}
		// As CloudEvents has it: so a line break tells source and id apart.
		if !utf8.ValidString(attribute.value) || strings.ContainsFunc(attribute.value, unicode.IsControl) {
			return "", refuse(DeadInvalidEvent, "The event's %s has characters that are not allowed.", attribute.name)
		}
	}
	return e.Source + "\n" + e.ID, nil
}
