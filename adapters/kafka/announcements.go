package kafka

import (
	"bytes"
	"fmt"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/application/moderation"
	"chatting/domain"
)

// An announcement stands in the topic of the audit. One to all who are online stands once more, under the same id, in the conversations:
// in one partition, as every node reads all of them. Its key is that of the platform, which is no conversation's.

// announcementType is the type of an announcement's event.
const announcementType = typePrefix + wire.TypeAnnouncement + typeSuffix

var _ moderation.Announcements = (*Acts)(nil)

// AppendAnnouncementToAudit implements moderation.Announcements.
func (a *Acts) AppendAnnouncementToAudit(announcement domain.Announcement, done func(error)) {
	record := recordOfAnnouncement(announcement)
	a.audit.AppendAs(appending.Owner{}, a.audit.PartitionOf(record.Key), record, done)
}

// AppendAnnouncement implements moderation.Announcements.
func (a *Acts) AppendAnnouncement(announcement domain.Announcement, done func(error)) {
	record := recordOfAnnouncement(announcement)
	a.conversations.AppendAs(appending.Owner{}, a.conversations.PartitionOf(record.Key), record, done)
}

func recordOfAnnouncement(a domain.Announcement) recordbatch.Record {
	return eventRecord([]byte(domain.System.String()), EncodeAnnouncement(a))
}

// EncodeAnnouncement returns the value of an announcement's record.
func EncodeAnnouncement(a domain.Announcement) []byte {
	value := appendEnvelope(make([]byte, 0, sizeOfEvent+len(a.Text.String())), a.ID, announcementType, domain.System, a.Time)
	value = append(value, dataFollows...)
	return append(wire.AppendAnnouncement(value, a), '}')
}

var typeOfAnnouncement = []byte(wire.TypeAnnouncement)

// IsAnnouncement tells by the first headBytes of a value whether it may be an announcement.
func IsAnnouncement(value []byte) bool {
	_, kind, _ := bytes.Cut(value[:min(len(value), headBytes)], headOfType)
	return bytes.HasPrefix(kind, typeOfAnnouncement)
}

// DecodeAnnouncement reads the record of an announcement to all who are online, which it does not trust.
func DecodeAnnouncement(key, value []byte) (domain.Announcement, error) {
	a, err := decodeOwn(key, value, announcementType, wire.ReadAnnouncement,
		func(a domain.Announcement) (domain.EventID, domain.UserID) { return a.ID, domain.System })
	if err != nil {
		return domain.Announcement{}, fmt.Errorf("no announcement: %w", err)
	}
	return a, nil
}

// announced shows the announcement of a record whose key is no conversation's; false if it is none. What stands before the place from
// which this node serves is for nobody here, and a repetition of it neither: some have got it on other nodes.
func (t *ConversationTail) announced(r *recordbatch.StoredRecord) bool {
	if !IsAnnouncement(r.Value) {
		return false
	}
	a, err := DecodeAnnouncement(r.Key, r.Value)
	if err != nil {
		return false
	}
	if r.Offset < t.From[r.Partition] {
		t.Delivery.RecallAnnouncement(a.ID, r.Time)
		return true
	}
	at := domain.Place{Partition: r.Partition, Offset: r.Offset}
	t.Delivery.Announce(a.ID, at, r.Time, func(user domain.UserID) ([]byte, error) { return wire.EncodeEvent(a.Shown(user)) })
	return true
}
