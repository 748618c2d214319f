package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/domain"
)

// An act of the platform stands in every partition of the conversations, each time under the same id, so that what a user says can
// be told to stand before or behind it. Its key is the user's id, which is no conversation's. The same event stands once in the
// topic of the audit.

// moderationType is the type of an act's event.
const moderationType = typePrefix + wire.TypeModeration + typeSuffix

// Acts is where acts are published: a moderation.Log.
type Acts struct {
	conversations, audit appender
}

// NewActs publishes acts to the conversations and to the audit. The caller closes the appenders.
func NewActs(conversations, audit appender) *Acts { return &Acts{conversations, audit} }

var _ moderation.Log = (*Acts)(nil)

// AppendToAudit implements moderation.Log.
func (a *Acts) AppendToAudit(act domain.Act, done func(error)) {
	record := recordOfAct(act)
	a.audit.AppendAs(appending.Owner{}, a.audit.PartitionOf(record.Key), record, done)
}

// AppendAct implements moderation.Log.
func (a *Acts) AppendAct(act domain.Act, places []int64, done func(error)) {
	var lacking []int
	for partition := range a.conversations.Partitions() {
		if partition >= len(places) || places[partition] == domain.ActNowhere {
			lacking = append(lacking, partition)
		}
	}
	if len(lacking) == 0 {
		done(nil)
		return
	}
	record := recordOfAct(act)
	all := &joinedOutcome{left: len(lacking), done: done}
	for _, partition := range lacking {
		a.conversations.AppendAs(appending.Owner{}, partition, record, all.add)
	}
}

func recordOfAct(act domain.Act) recordbatch.Record {
	return eventRecord([]byte(act.User.String()), EncodeAct(act))
}

// EncodeAct returns the value of an act's record.
func EncodeAct(act domain.Act) []byte {
	value := appendEnvelope(make([]byte, 0, sizeOfEvent+len(act.Reason)), act.ID, moderationType, act.User, act.Time)
	value = append(value, dataFollows...)
	return append(wire.AppendAct(value, act), '}')
}

var typeOfAct = []byte(wire.TypeModeration)

// IsAct tells by the first headBytes of a value whether it may be an act.
func IsAct(value []byte) bool {
	_, kind, _ := bytes.Cut(value[:min(len(value), headBytes)], headOfType)
	return bytes.HasPrefix(kind, typeOfAct)
}

// DecodeAct reads an act's record, which it does not trust: whether the act was given out, its id tells.
func DecodeAct(key, value []byte) (domain.Act, error) {
	act, err := decodeOwn(key, value, moderationType, wire.ReadAct, func(a domain.Act) (domain.EventID, domain.UserID) { return a.ID, a.User })
	if err != nil {
		return domain.Act{}, fmt.Errorf("no act: %w", err)
	}
	return act, nil
}

var errOtherEnvelope = errors.New("its envelope or its key says something else")

// decodeOwn reads the record of an event of a kind that concerns one user. The envelope and the key have to say what the data does, of
// which read tells it and of says the id and the user.
func decodeOwn[T any](
	key, value []byte, kind string, read func(*wire.Reader) (T, error), of func(T) (domain.EventID, domain.UserID),
) (body T, err error) {
	r := wire.Read(value)
	defer r.Close()
	var e envelope
	isThere := false
	_, err = r.Object(func(name []byte) (err error) {
		if string(name) != attributeNames[attributeData] || isThere {
			return r.Field(name, attributeNames[:], e[:])
		}
		isThere = true
		body, err = read(r)
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return body, err
	}
	var text [36]byte
	id, user := of(body)
	if !isThere || string(e.text(attributeSpecVersion)) != specVersion || string(e.text(attributeType)) != kind ||
		!bytes.Equal(e.text(attributeID), id.Append(text[:0])) || string(key) != user.String() {
		return body, errOtherEnvelope
	}
	return body, nil
}

// actReader takes over the acts that stand in a partition.
type actReader struct {
	register *moderation.Register
	notices  *notice.Log
}

// read takes over the act of a record whose key is no conversation's; false if it is not one.
func (a actReader) read(r *recordbatch.StoredRecord) bool {
	if a.register == nil || !IsAct(r.Value) {
		return false
	}
	act, err := DecodeAct(r.Key, r.Value)
	if err != nil {
		return false
	}
	if !a.register.Read(act, domain.Place{Partition: r.Partition, Offset: r.Offset}) {
		a.notices.Warn("an act of the platform that the database never gave out is ignored",
			slog.Int("partition", r.Partition), slog.Int64("offset", r.Offset))
	}
	return true
}

// inspectionType is the type of the event that the platform reads texts.
const inspectionType = typePrefix + wire.TypeInspection + typeSuffix

var _ moderation.Inspections = (*Acts)(nil)

// AppendInspection implements moderation.Inspections.
func (a *Acts) AppendInspection(inspection domain.Inspection, done func(error)) {
	record := eventRecord([]byte(inspection.User.String()), EncodeInspection(inspection))
	a.audit.AppendAs(appending.Owner{}, a.audit.PartitionOf(record.Key), record, done)
}

// EncodeInspection returns the value of an inspection's record.
func EncodeInspection(i domain.Inspection) []byte {
	value := appendEnvelope(make([]byte, 0, sizeOfEvent+len(i.Reason)), i.ID, inspectionType, i.User, i.Time)
	return append(wire.AppendInspection(append(value, dataFollows...), i), '}')
}
