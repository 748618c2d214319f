package wire

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"chatting/domain"
)

// errNotOurs is the beginning of every complaint about a frame of the log.
var errNotOurs = errors.New("not a frame of this server")

// maxFrameOfLog bounds a frame of the log, in bytes.
const maxFrameOfLog = 1 << 20

// DecodeEvent is ReadEvent of data that holds one frame and nothing else but blanks.
func DecodeEvent(data []byte) (domain.Event, error) {
	if len(data) > maxFrameOfLog {
		return domain.Event{}, errTooLong
	}
	r := Read(data)
	defer r.Close()
	event, _, err := ReadEvent(r)
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return domain.Event{}, err
	}
	return event, nil
}

var errTooLong = fmt.Errorf("%w: it is too long, or no UTF-8", errNotOurs)

// ReadEvent checks the frame that r reads next and returns its event and its bytes, which are part of what r reads. The frame
// came from the log, which others may write to. ReadEvent accepts what AppendEvent writes, with further fields anywhere.
// A frame that it accepts is one JSON object in valid UTF-8 in which every client finds the values that were checked.
func ReadEvent(r *Reader) (domain.Event, []byte, error) {
	var b body
	data, err := r.Object(func(name []byte) error { return r.Field(name, fieldNames[:], b[:]) })
	if err != nil {
		return domain.Event{}, nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	if len(data) > maxFrameOfLog || !utf8.Valid(data) {
		return domain.Event{}, nil, errTooLong
	}
	event, err := b.event()
	if err != nil {
		return domain.Event{}, nil, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return event, data, nil
}

// The fields of conversation events.
const (
	fieldType = iota
	fieldFrom
	fieldMessage
	fieldFromID
	fieldToID
	fieldStatus
	fieldRoom
	fieldExpires
	fieldOpponent
	fieldVersion
	fieldMarked
	fieldTime
	fieldID
)

var fieldNames = [...]string{
	fieldType: "type", fieldFrom: "from", fieldMessage: "message", fieldFromID: "from_id", fieldToID: "to_id",
	fieldStatus: "status", fieldRoom: "room_id", fieldExpires: "expires_at", fieldOpponent: "opponent_id",
	fieldVersion: "version", fieldMarked: "message_id", fieldTime: "time", fieldID: "id",
}

// body has the values of the fields as they were written; nil for those that are not there.
type body [len(fieldNames)][]byte

// check refuses a field with a value of the wrong type, even if its event does not use it. null has the wrong type.
func (b *body) check() error {
	for field, value := range b {
		if value == nil {
			continue
		}
		var ok bool
		switch field {
		case fieldFromID, fieldToID, fieldOpponent, fieldVersion:
			_, ok = Integer(value)
		default:
			ok = value[0] == '"'
		}
		if !ok {
			return fmt.Errorf("%s has a value of another type", fieldNames[field])
		}
	}
	return nil
}

// text returns a checked field that is a text, nil for one that is not there.
func (b *body) text(field int) []byte {
	text, _ := Text(b[field])
	return text
}

// integer returns a checked field that is an integer, 0 for one that is not there.
func (b *body) integer(field int) int64 {
	n, _ := Integer(b[field])
	return n
}

func (b *body) user(field int) (domain.UserID, error) { return domain.NewUserID(b.integer(field)) }

// event returns the event, its values checked by the domain.
func (b *body) event() (domain.Event, error) {
	if err := b.check(); err != nil {
		return domain.Event{}, err
	}
	id, ok := domain.ParseEventID(b.text(fieldID))
	if !ok {
		return domain.Event{}, errors.New("its id is no UUID")
	}
	at, err := parseTime(b.text(fieldTime))
	if err != nil {
		return domain.Event{}, errors.New("its time is none")
	}
	if at.Year() < 0 || at.Year() > 9999 {
		return domain.Event{}, errors.New("its time has no four digits for the year")
	}
	event := domain.Event{ID: id, Time: at}
	event.Body, err = b.decode()
	return event, err
}

// parseTime reads a time as events carry it: in UTC with milliseconds.
func parseTime(text []byte) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, string(text))
	return t.UTC().Truncate(time.Millisecond), err
}

// decode returns the body of the event.
func (b *body) decode() (domain.Body, error) {
	kind := b.text(fieldType)
	if string(kind) == TypeReadMark {
		return b.readMark()
	}
	to, err := b.user(fieldToID)
	if err != nil {
		return nil, err
	}
	if string(kind) == TypeSystem {
		return b.systemMessage(to)
	}
	from, err := b.user(fieldFromID)
	if err != nil {
		return nil, err
	}
	switch string(kind) {
	case TypeChat:
		text, err := b.message()
		if err != nil {
			return nil, err
		}
		return domain.ChatMessage{From: from, To: to, Text: text}, nil
	case TypeInvite:
		return b.invite(from, to)
	case TypeBlocked, TypeUnblocked:
		return domain.NewBlockChanged(from, to, string(kind) == TypeBlocked, b.integer(fieldVersion))
	default:
		return nil, errors.New("its type is unknown")
	}
}

func (b *body) systemMessage(to domain.UserID) (domain.Body, error) {
	text, err := b.message()
	if err != nil {
		return nil, err
	}
	opponent := b.integer(fieldOpponent)
	if opponent < 0 {
		return nil, errors.New("opponent_id names no user")
	}
	return domain.SystemMessage{To: to, Text: text, Room: domain.RoomID(b.text(fieldRoom)), Opponent: domain.UserID(opponent)}, nil
}

func (b *body) invite(from, to domain.UserID) (domain.Body, error) {
	status, err := domain.NewInviteStatus(string(b.text(fieldStatus)))
	if err != nil {
		return nil, err
	}
	room := b.text(fieldRoom)
	if _, named := domain.ParseEventID(room); !named && status.IsNew() {
		return nil, errors.New("room_id names no invite")
	}
	invite := domain.GameInvite{From: from, To: to, Status: status, Room: domain.RoomID(room)}
	if expires := b.text(fieldExpires); len(expires) > 0 && status == domain.InviteOpened {
		if invite.Expires, err = parseTime(expires); err != nil {
			return nil, errors.New("expires_at is no time")
		}
	}
	return invite, nil
}

// readMark returns a mark without what the frame does not tell: how many messages are unread, and whether the partner may learn
// of it. The partner may be the platform, which is 0.
func (b *body) readMark() (domain.Body, error) {
	message, ok := domain.ParseEventID(b.text(fieldMarked))
	if !ok {
		return nil, errors.New("message_id names no message")
	}
	if b[fieldToID] == nil {
		return nil, errors.New("to_id is missing")
	}
	return domain.NewReadMark(domain.UserID(b.integer(fieldFromID)), domain.UserID(b.integer(fieldToID)), message, 0, false)
}

// message returns the text as it stands in the log: HTML escaping may have made it longer than a sender's may be.
func (b *body) message() (domain.Text, error) {
	if b[fieldMessage] == nil {
		return domain.Text{}, errors.New("message is missing")
	}
	return domain.LoggedText(string(b.text(fieldMessage)))
}

// WithoutText returns what a frame of the history says beside the text of a message.
func WithoutText(frame []byte) ([]byte, error) {
	event, err := DecodeEvent(frame)
	if err != nil {
		return nil, err
	}
	message, ok := event.Body.(domain.ChatMessage)
	if !ok {
		return frame, nil
	}
	dst := append(make([]byte, 0, len(TypeChat)+160), `{"type":"`+TypeChat+`"`...)
	dst = appendUsers(dst, message.From, message.To)
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, event.Time)
	dst = append(dst, `","id":"`...)
	return append(event.ID.Append(dst), `"}`...), nil
}
