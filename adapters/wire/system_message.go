package wire

import (
	"fmt"
	"unicode/utf8"

	"chatting/domain"
)

const (
	// TargetField is the field that names whom a request is about.
	TargetField = "target_id"
	// maxRoomID bounds the name of a room, in characters: the platform's rooms have UUIDs.
	maxRoomID = 255
)

// SystemMessage reads the fields of a system message. An InvalidError names all that are wrong. Its target may be Nobody. Room
// and opponent count only with the type invite_game; otherwise they are ignored, like unknown fields.
func (f Fields) SystemMessage() (domain.SystemMessage, error) {
	wrong := InvalidError{}
	note := func(field, complaint string) {
		if complaint != "" {
			wrong[field] = []string{complaint}
		}
	}
	var message domain.SystemMessage
	var complaint string
	message.To, complaint = f[TargetField].AsUser()
	note(TargetField, complaint)

	said, complaint := f["message"].AsText()
	if complaint == "" {
		var err error
		if message.Text, err = domain.NewText(said); err != nil {
			complaint = fmt.Sprintf("Ensure this field has no more than %d bytes.", domain.MaxTextBytes)
		}
	}
	note("message", complaint)

	if f["type"].text == TypeInvite {
		message.Room, complaint = f.room()
		note("room_id", complaint)
		opponent, complaint := f.opponent()
		note("opponent_id", complaint)
		if message.Room != "" {
			message.Opponent = opponent
		}
	}
	if len(wrong) > 0 {
		return domain.SystemMessage{}, wrong
	}
	return message, nil
}

// room reads room_id, "" where it is absent.
func (f Fields) room() (domain.RoomID, string) {
	if f["room_id"].IsAbsent() {
		return "", ""
	}
	room, complaint := f["room_id"].AsText()
	if utf8.RuneCountInString(room) > maxRoomID {
		complaint = fmt.Sprintf("Ensure this field has no more than %d characters.", maxRoomID)
	}
	return domain.RoomID(room), complaint
}

// opponent reads opponent_id, Nobody where it is absent.
func (f Fields) opponent() (domain.UserID, string) {
	if f["opponent_id"].IsAbsent() {
		return Nobody, ""
	}
	opponent, complaint := f["opponent_id"].AsUser()
	if complaint == "" && opponent == Nobody {
		complaint = SentenceNever
	}
	return opponent, complaint
}
