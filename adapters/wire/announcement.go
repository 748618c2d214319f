package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"chatting/domain"
)

// TypeAnnouncement is the type of what the platform says to many users. Only the log and the audit have it.
const TypeAnnouncement = "announcement"

// ToOnline is whom an announcement without a list of users is to.
const ToOnline = "online"

// AppendAnnouncement appends the data of an announcement's event.
func AppendAnnouncement(dst []byte, a domain.Announcement) []byte {
	dst = append(dst, `{"type":"`+TypeAnnouncement+`",`...)
	if len(a.Users) == 0 {
		dst = append(dst, `"to":"`+ToOnline+`"`...)
	} else {
		dst = append(dst, `"user_ids":`...)
		dst = appendUserIDs(dst, a.Users)
	}
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, a.Text.String())
	dst = appendOptional(dst, `,"reason":`, a.Reason)
	dst = appendOptional(dst, `,"actor":`, a.Actor)
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, a.Time)
	dst = append(dst, `","id":"`...)
	return append(a.ID.Append(dst), `"}`...)
}

func appendUserIDs(dst []byte, users []domain.UserID) []byte {
	dst = append(dst, '[')
	for i, user := range users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(user), 10)
	}
	return append(dst, ']')
}

// AppendAnnounced appends what the platform is answered of an announcement: its data, and the users of its list who get nothing.
func AppendAnnounced(dst []byte, a domain.Announcement, offline []domain.UserID) []byte {
	dst = AppendAnnouncement(dst, a)
	if len(a.Users) == 0 {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"offline_ids":`...)
	return append(appendUserIDs(dst, offline), '}')
}

const (
	announcementType = iota
	announcementTo
	announcementMessage
	announcementReason
	announcementActor
	announcementTime
	announcementID
)

var announcementNames = [...]string{
	announcementType: "type", announcementTo: "to", announcementMessage: "message", announcementReason: "reason",
	announcementActor: "actor", announcementTime: "time", announcementID: "id",
}

// ReadAnnouncement checks the data that r reads next, which came from the log, and returns its announcement to all who are online.
// Further fields may stand anywhere.
func ReadAnnouncement(r *Reader) (domain.Announcement, error) {
	var fields [len(announcementNames)][]byte
	data, err := r.Object(func(name []byte) error { return r.Field(name, announcementNames[:], fields[:]) })
	if err != nil {
		return domain.Announcement{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	if !utf8.Valid(data) {
		return domain.Announcement{}, errTooLong
	}
	text := func(field int) string {
		text, _ := Text(fields[field])
		return string(text)
	}
	id, isID := domain.ParseEventID(text(announcementID))
	at, err := parseTime([]byte(text(announcementTime)))
	if !isID || err != nil || text(announcementType) != TypeAnnouncement || text(announcementTo) != ToOnline {
		return domain.Announcement{}, errNoAnnouncement
	}
	return domain.NewAnnouncement(
		id, text(announcementMessage), true, nil, text(announcementReason), text(announcementActor), at)
}

var errNoAnnouncement = errors.New("no announcement to all who are online")

// AsUsers reads a field that names users, at most so many. The complaint is "" for a list of integers. An integer that no user can have
// names Nobody.
func (v Value) AsUsers(most int) (users []domain.UserID, complaint string) {
	switch {
	case v.IsMissing():
		return nil, sentenceRequired
	case v.IsAbsent():
		return nil, sentenceNull
	case v.kind != jsontext.KindBeginArray:
		return nil, "Expected a list of items."
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(v.text), &list); err != nil {
		return nil, "Expected a list of items."
	}
	if len(list) > most {
		return nil, fmt.Sprintf("Ensure this field has no more than %d elements.", most)
	}
	users = make([]domain.UserID, 0, len(list))
	for _, element := range list {
		user, complaint := parseValue(element).AsUser()
		if complaint != "" {
			return nil, complaint
		}
		users = append(users, user)
	}
	return users, ""
}
