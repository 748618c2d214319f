package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// requestKind is what a frame of a logged-in client asks for.
type requestKind int

const (
	message requestKind = iota + 1
	invite
	renewal
	ping
)

// request is a frame of a logged-in client.
type request struct {
	kind   requestKind // 0 on refused frames
	target domain.UserID
	text   domain.Text         // of a message
	status domain.InviteStatus // of an invite
	room   domain.RoomID       // of an invite, "" where none is named
	token  string              // of a renewal
	// sentTarget is target_id as the client sent it, nil where there was none, and name its client_msg_id, "" where there
	// was none or a malformed one. Both are set on refused frames, too, as far as they were read.
	sentTarget json.RawMessage
	name       domain.ClientMessageID
}

var (
	errBadJSON     = domain.NewError(domain.CodeBadJSON, "The frame is not valid JSON.")
	errNoObject    = domain.NewError(domain.CodeBadFrame, "The frame is not a JSON object.")
	errDuplicate   = domain.NewError(domain.CodeBadFrame, "A field occurs twice.")
	errSurrogate   = domain.NewError(domain.CodeBadFrame, "The frame has half a surrogate pair, which is no character.")
	errNoContent   = domain.NewError(domain.CodeBadFrame, "The frame has neither message nor the type invite_game or ping.")
	errBadMessage  = domain.NewError(domain.CodeBadMessage, "message must be a string.")
	errHalfMessage = domain.NewError(domain.CodeBadMessage, "message has half a surrogate pair, which is no character.")
	errBadName     = domain.NewError(domain.CodeBadMessage, "client_msg_id must be a string.")
	errNoTarget    = domain.NewError(domain.CodeBadTarget, "target_id is missing.")
	errBadRoom     = domain.NewError(domain.CodeBadFrame, "room_id must be a string.")
	errBadTarget   = domain.NewError(domain.CodeBadTarget, "target_id must be an integer.")
	errOffline     = domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
)

// parseFrame reads a frame of a logged-in client, which has named the features; data is valid UTF-8. An error is the
// classified answer to the client, as the contract's tables say. What the request holds is copied from data.
//
// A frame with a message is a chat message, whatever its type says. A field that is null is absent, save for two: a target
// that is null is nobody, as with the original server, and a null token alone is a bad token.
func parseFrame(data []byte, has features) (request, error) {
	f, err := split(data)
	if err != nil {
		return request{}, err
	}
	req := request{sentTarget: bytes.Clone(f.target)}
	var errName error
	if f.name != nil {
		req.name, errName = parseName(f.name)
	}
	switch {
	case halfSurrogate(f.message):
		return req, errHalfMessage
	case f.halfSurrogate:
		return req, errSurrogate
	case f.token != nil && !isPresent(f.target) && f.message == nil && f.kind == nil:
		// What is no string is no token: the session says so of the empty one.
		req.kind = renewal
		req.token, _ = text(f.token)
		return req, nil
	}
	kind, _ := text(f.kind)
	switch {
	case f.message != nil || kind == frame.TypeInvite:
	case kind == frame.TypePing:
		req.kind = ping
		return req, nil
	default:
		return req, errNoContent
	}
	if f.target == nil {
		return req, errNoTarget
	}
	target, errTarget := parseTarget(f.target)
	switch {
	case errTarget != nil && !errors.Is(errTarget, errOffline):
		return req, errTarget
	case f.message != nil:
		err = req.readMessage(f)
	default:
		err = req.readInvite(f, has)
	}
	if err == nil {
		err = errName
	}
	if err == nil {
		err = errTarget
	}
	if err != nil {
		req.kind = 0
		return req, err
	}
	req.target = target
	return req, nil
}

func (r *request) readMessage(f fields) (err error) {
	r.kind = message
	s, ok := text(f.message)
	if !ok {
		return errBadMessage
	}
	r.text, err = domain.NewText(s)
	return err
}

func (r *request) readInvite(f fields, has features) (err error) {
	r.kind = invite
	status, _ := text(f.status)
	_, answers := has[application.FeatureInvites]
	if answers { // of others it is ignored, as by the original server
		if r.room, err = parseRoom(f.room); err != nil && status != string(domain.InviteOpened) {
			return err
		}
	}
	r.status, err = domain.NewAskedStatus(status, answers)
	return err
}

// parseRoom reads which invite is meant; "" where none is named.
func parseRoom(raw []byte) (domain.RoomID, error) {
	room, ok := text(raw)
	if !ok && raw != nil {
		return "", errBadRoom
	}
	return domain.RoomID(room), nil
}

func parseName(raw []byte) (domain.ClientMessageID, error) {
	s, ok := text(raw)
	if !ok {
		return "", errBadName
	}
	return domain.NewClientMessageID(s)
}

// parseLogin reads the first frame; false for one without a token in it. Fields that it does not know are ignored, as are
// features that are none.
func parseLogin(data []byte) (token string, named features, ok bool) {
	f, _ := split(data) // empty for what is no object
	if f.halfSurrogate {
		return "", nil, false
	}
	token, ok = text(f.token)
	return token, parseFeatures(f.features), ok && token != ""
}

// features are those that a client named at login; nil for none.
type features map[application.Feature]struct{}

// parseFeatures reads a list of names. Those that the server does not know are left out, and so is everything that is no
// list of strings: what a client asks for without knowing how is not worth its login.
func parseFeatures(raw []byte) features {
	var names []string
	if json.Unmarshal(raw, &names) != nil {
		return nil
	}
	var known features
	for _, name := range names {
		if feature := application.Feature(name); feature == application.FeatureInvites {
			known = features{feature: {}}
		}
	}
	return known
}

// fields are the values of the keys that the server knows, as they were sent; nil for a key that is not there. Serializers
// of many languages write null for a field that has no value, so null counts as not there: see set.
type fields struct {
	token, features, target, message, kind, status, room, name []byte
	// halfSurrogate tells that there is an escape of half a surrogate pair somewhere.
	halfSurrogate bool
}

// field returns where the value of a key belongs, nil for an unknown one. Keys are told apart by case.
func (f *fields) field(key string) *[]byte {
	switch key {
	case "token":
		return &f.token
	case "target_id":
		return &f.target
	case "message":
		return &f.message
	case "type":
		return &f.kind
	case "status":
		return &f.status
	case "room_id":
		return &f.room
	case "features":
		return &f.features
	case "client_msg_id":
		return &f.name
	default:
		return nil
	}
}

// split takes a JSON object apart. encoding/json checks the grammar (and the depth); going through the fields is done
// here, because encoding/json accepts keys in any case, lets the last of equal keys win, and replaces halves of
// surrogate pairs.
func split(data []byte) (fields, error) {
	if !json.Valid(data) {
		return fields{}, errBadJSON
	}
	s := scanner{rest: data}
	if s.blanks(); s.rest[0] != '{' {
		return fields{}, errNoObject
	}
	f := fields{halfSurrogate: halfSurrogate(data)}
	seen := make(map[string]struct{}, 8)
	for s.next() {
		key, _ := text(s.value())
		if _, twice := seen[key]; twice {
			return fields{}, errDuplicate
		}
		seen[key] = struct{}{}
		s.next() // the colon
		value := s.value()
		f.set(key, value)
	}
	return f, nil
}

// set notes a member of the frame. Of target_id and token, null is kept: parseFrame says what it means.
func (f *fields) set(key string, value []byte) {
	known := f.field(key)
	if known != nil && (isPresent(value) || known == &f.target || known == &f.token) {
		*known = value
	}
}

// isPresent tells whether there is a value, and it is not null.
func isPresent(raw []byte) bool { return raw != nil && string(raw) != "null" }

// scanner goes through the members of an object in a text that is known to be JSON.
type scanner struct{ rest []byte }

func (s *scanner) blanks() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// next steps over a brace, comma or colon; false where the object ends.
func (s *scanner) next() bool {
	s.blanks()
	if s.rest[0] == '}' {
		return false
	}
	s.rest = s.rest[1:]
	s.blanks()
	return s.rest[0] != '}'
}

// value steps over a value and returns it.
func (s *scanner) value() []byte {
	length, depth := 0, 0
	for {
		switch s.rest[length] {
		case '"':
			length += stringLength(s.rest[length:])
		case '{', '[':
			depth++
			length++
		case '}', ']':
			depth--
			length++
		case ',', ':', ' ', '\t', '\r', '\n':
			length++ // inside an object or a list
		default:
			length += scalarLength(s.rest[length:])
		}
		if depth == 0 {
			value := s.rest[:length]
			s.rest = s.rest[length:]
			return value
		}
	}
}

// stringLength returns the length of the JSON string that b begins with, quotes included.
func stringLength(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// scalarLength returns the length of the number or word that b begins with.
func scalarLength(b []byte) int {
	if n := bytes.IndexAny(b, ",:]} \t\r\n"); n >= 0 {
		return n
	}
	return len(b)
}

// text returns the value of a JSON string; false for anything else.
func text(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// halfSurrogate tells whether a JSON text has an escape of half a surrogate pair (RFC 8259 §8.2).
func halfSurrogate(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return false
		}
		b = b[i+1:] // what is escaped
		unit := escapedUnit(b)
		switch {
		case unit < 0xd800 || unit > 0xdfff:
			b = b[1:]
		case unit >= 0xdc00 || b[5] != '\\': // at least the quote at the end stands there
			return true
		default:
			if low := escapedUnit(b[6:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			b = b[11:]
		}
	}
}

// escapedUnit returns the UTF-16 code unit of an escape, its backslash taken off; -1 for one of another kind.
func escapedUnit(b []byte) int {
	if len(b) < 5 || b[0] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(b[1:5]), 16, 16)
	if err != nil {
		return -1
	}
	return int(unit)
}
