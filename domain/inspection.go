package domain

import (
	"strings"
	"time"
)

// Inspection is that the platform reads what a user said.
type Inspection struct {
	ID            EventID
	User          UserID
	Reason, Actor string
	Time          time.Time
}

// ErrInspectionReason is the error of NewInspection without a good reason.
var ErrInspectionReason = NewError(CodeBadAct, "To read texts needs a reason: 1 to 400 bytes of UTF-8 without control characters.")

// NewInspection checks what a request says: CodeBadAct. Unlike an act, it needs a reason.
func NewInspection(id EventID, user UserID, reason, actor string, now time.Time) (Inspection, error) {
	i := Inspection{
		ID: id, User: user, Reason: strings.TrimSpace(reason), Actor: strings.TrimSpace(actor), Time: now.UTC().Truncate(time.Millisecond),
	}
	switch {
	case user <= System:
		return Inspection{}, ErrActUser
	case i.Reason == "" || !isLine(i.Reason, MaxReasonBytes):
		return Inspection{}, ErrInspectionReason
	case i.Actor == "" || !isLine(i.Actor, MaxActorBytes):
		return Inspection{}, ErrActActor
	}
	return i, nil
}
