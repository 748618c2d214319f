package wire

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"chatting/domain"
)

// TypeModeration is the type of what the platform does to a user. Only the log and the audit have it.
const TypeModeration = "moderation"

// AppendAct appends the data of an act's event.
func AppendAct(dst []byte, act domain.Act) []byte {
	dst = append(dst, `{"type":"`+TypeModeration+`","act":"`...)
	dst = append(dst, act.Kind...)
	dst = append(dst, `","user_id":`...)
	dst = strconv.AppendInt(dst, int64(act.User), 10)
	if !act.Until.IsZero() {
		dst = append(dst, `,"until":"`...)
		dst = append(AppendTime(dst, act.Until), '"')
	}
	dst = appendOptional(dst, `,"reason":`, act.Reason)
	dst = appendOptional(dst, `,"actor":`, act.Actor)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendInt(dst, act.Version, 10)
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, act.Time)
	dst = append(dst, `","id":"`...)
	return append(act.ID.Append(dst), `"}`...)
}

const (
	actType = iota
	actKind
	actUser
	actUntil
	actReason
	actActor
	actVersion
	actTime
	actID
)

var actNames = [...]string{
	actType: "type", actKind: "act", actUser: "user_id", actUntil: "until", actReason: "reason", actActor: "actor",
	actVersion: "version", actTime: "time", actID: "id",
}

// ReadAct checks the data that r reads next, which came from the log, and returns its act. Further fields may stand anywhere.
func ReadAct(r *Reader) (domain.Act, error) {
	var fields [len(actNames)][]byte
	data, err := r.Object(func(name []byte) error { return r.Field(name, actNames[:], fields[:]) })
	if err != nil {
		return domain.Act{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	if !utf8.Valid(data) {
		return domain.Act{}, errTooLong
	}
	text := func(field int) string {
		text, _ := Text(fields[field])
		return string(text)
	}
	user, isUser := Integer(fields[actUser])
	version, isVersion := Integer(fields[actVersion])
	id, isID := domain.ParseEventID(text(actID))
	at, err := parseTime([]byte(text(actTime)))
	if !isUser || !isVersion || !isID || err != nil || text(actType) != TypeModeration {
		return domain.Act{}, errNoAct
	}
	var until time.Time
	if fields[actUntil] != nil {
		if until, err = parseTime([]byte(text(actUntil))); err != nil {
			return domain.Act{}, errNoAct
		}
	}
	return domain.LoggedAct(domain.Act{
		ID: id, User: domain.UserID(user), Kind: domain.ActKind(text(actKind)), Until: until, Reason: text(actReason),
		Actor: text(actActor), Version: version, Time: at,
	})
}

var errNoAct = errors.New("no act of the platform")

// WithAct returns a copy of an error frame that says until when an act of the platform lasts, and why there is one. until is zero for
// without end, and reason may be "".
func WithAct(frame []byte, until time.Time, reason string) []byte {
	dst := openEnd(make([]byte, 0, len(frame)+len(reason)+60), frame)
	if !until.IsZero() {
		dst = append(dst, `,"until":"`...)
		dst = append(AppendTime(dst, until), '"')
	}
	return append(appendOptional(dst, `,"reason":`, reason), '}')
}
