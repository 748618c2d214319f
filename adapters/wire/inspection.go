package wire

import (
	"strconv"

	"chatting/domain"
)

// TypeInspection is the type of what says that the platform reads texts of a user. Only the audit has it.
const TypeInspection = "texts_read"

// AppendInspection appends the data of an inspection's event.
func AppendInspection(dst []byte, i domain.Inspection) []byte {
	dst = append(dst, `{"type":"`+TypeInspection+`","user_id":`...)
	dst = strconv.AppendInt(dst, int64(i.User), 10)
	dst = append(dst, `,"reason":`...)
	dst = appendText(dst, i.Reason)
	dst = append(dst, `,"actor":`...)
	dst = appendText(dst, i.Actor)
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, i.Time)
	dst = append(dst, `","id":"`...)
	return append(i.ID.Append(dst), `"}`...)
}
