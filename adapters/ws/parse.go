package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"chatting/adapters/frame"
	"chatting/adapters/members"
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
		token, _ := members.Text(f.token)
		req.token = string(token)
		return req, nil
	}
	kind, _ := members.Text(f.kind)
	switch {
	case f.message != nil || string(kind) == frame.TypeInvite:
	case string(kind) == frame.TypePing:
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
	s, ok := members.Text(f.message)
	if !ok {
		return errBadMessage
	}
	r.text, err = domain.NewText(string(s))
	return err
}

func (r *request) readInvite(f fields, has features) (err error) {
	r.kind = invite
	status, _ := members.Text(f.status)
	_, answers := has[application.FeatureInvites]
	if answers { // of others it is ignored, as by the original server
		if r.room, err = parseRoom(f.room); err != nil && string(status) != string(domain.InviteOpened) {
			return err
		}
	}
	r.status, err = domain.NewAskedStatus(string(status), answers)
	return err
}

// parseRoom reads which invite is meant; "" where none is named.
func parseRoom(raw []byte) (domain.RoomID, error) {
	room, ok := members.Text(raw)
	if !ok && raw != nil {
		return "", errBadRoom
	}
	return domain.RoomID(room), nil
}

func parseName(raw []byte) (domain.ClientMessageID, error) {
	s, ok := members.Text(raw)
	if !ok {
		return "", errBadName
	}
	return domain.NewClientMessageID(string(s))
}

// parseLogin reads the first frame; false for one without a token in it. Fields that it does not know are ignored, as are
// features that are none.
func parseLogin(data []byte) (token string, named features, ok bool) {
	f, _ := split(data) // empty for what is no object
	if f.halfSurrogate {
		return "", nil, false
	}
	sent, ok := members.Text(f.token)
	return string(sent), parseFeatures(f.features), ok && len(sent) > 0
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
// of many languages write null for a field that has no value, so null counts as not there: see dropNulls.
type fields struct {
	token, features, target, message, kind, status, room, name []byte
	// halfSurrogate tells that there is an escape of half a surrogate pair somewhere.
	halfSurrogate bool
}

// field returns where the value of a key belongs, nil for an unknown one. Keys are told apart by case.
func (f *fields) field(key []byte) *[]byte {
	switch string(key) {
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

// split takes a JSON object apart. Which keys it has is told from what it is only once all of it was read: what is no JSON is
// that before anything else.
func split(data []byte) (fields, error) {
	r := members.Read(data)
	defer r.Close()
	var f fields
	var unknown map[string]struct{} // nil while there is none
	twice := false
	_, err := r.Object(func(key []byte) error {
		if known := f.field(key); known != nil {
			value, err := r.Value()
			twice = twice || *known != nil
			*known = value
			return err
		}
		if _, again := unknown[string(key)]; again {
			twice = true
		} else {
			if unknown == nil {
				unknown = make(map[string]struct{})
			}
			unknown[string(key)] = struct{}{}
		}
		_, err := r.Value()
		return err
	})
	isObject := !errors.Is(err, members.ErrNoObject)
	if !isObject {
		_, err = r.Value()
	}
	switch {
	case err != nil || r.End() != nil:
		return fields{}, errBadJSON
	case !isObject:
		return fields{}, errNoObject
	case twice:
		return fields{}, errDuplicate
	}
	f.dropNulls()
	f.halfSurrogate = halfSurrogate(data)
	return f, nil
}

// dropNulls takes out what is null. Of target_id and token, null is kept: parseFrame says what it means.
func (f *fields) dropNulls() {
	for _, value := range []*[]byte{&f.features, &f.message, &f.kind, &f.status, &f.room, &f.name} {
		if !isPresent(*value) {
			*value = nil
		}
	}
}

// isPresent tells whether there is a value, and it is not null.
func isPresent(raw []byte) bool { return raw != nil && !members.IsNull(raw) }

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
