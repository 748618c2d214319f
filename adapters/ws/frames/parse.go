// Package frames reads what clients send: the first frame, which logs in, and the requests that follow. It turns bytes into values,
// or into the classified error that the client gets. What becomes of a request is not here, and neither are the bytes of frames on
// the connection (rfc6455) and the frames that clients get (wire).
package frames

import (
	"bytes"
	"encoding/json"
	"errors"

	"chatting/adapters/wire"
	"chatting/application/port"
	"chatting/domain"
)

// Kind is what a frame of a logged-in client asks for.
type Kind int

// The kinds. A refused frame has none.
const (
	Message Kind = iota + 1
	Invite
	Renewal
	Ping
)

// Request is a frame of a logged-in client.
type Request struct {
	Kind   Kind // 0 on refused frames
	Target domain.UserID
	Text   domain.Text         // of a message
	Status domain.InviteStatus // of an invite
	Room   domain.RoomID       // of an invite, "" where none is named
	Token  string              // of a renewal
	// SentTarget is target_id as the client sent it, nil for none, and Name its client_msg_id, "" for none or a malformed one.
	// Refused frames have them too, as far as they were read.
	SentTarget json.RawMessage
	Name       domain.ClientMessageID
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
	// ErrOffline is for a target that is no user. The answer for a user who is offline has the same sentence.
	ErrOffline = domain.NewError(domain.CodeNoUserOrOffline, "No User or Offline")
)

// Parse reads a frame of a logged-in client, which has named the features; data is valid UTF-8. An error is the
// classified answer to the client, as the contract's tables say. What the request holds is copied from data.
//
// A frame with a message is a chat message, whatever its type says. A field that is null is absent, with two exceptions: a null
// target is nobody, as in the original server, and a null token alone is a bad token.
func Parse(data []byte, has Features) (Request, error) {
	f, err := split(data)
	if err != nil {
		return Request{}, err
	}
	req := Request{SentTarget: bytes.Clone(f.target)}
	var errName error
	if f.name != nil {
		req.Name, errName = parseName(f.name)
	}
	switch {
	case wire.LoneSurrogate(f.message) != 0:
		return req, errHalfMessage
	case f.halfSurrogate:
		return req, errSurrogate
	case f.token != nil && !isPresent(f.target) && f.message == nil && f.kind == nil:
		// What is no string is no token: the session says so of the empty one.
		req.Kind = Renewal
		token, _ := wire.Text(f.token)
		req.Token = string(token)
		return req, nil
	}
	kind, _ := wire.Text(f.kind)
	switch {
	case f.message != nil || string(kind) == wire.TypeInvite:
	case string(kind) == wire.TypePing:
		req.Kind = Ping
		return req, nil
	default:
		return req, errNoContent
	}
	if f.target == nil {
		return req, errNoTarget
	}
	target, errTarget := parseTarget(f.target)
	switch {
	case errTarget != nil && !errors.Is(errTarget, ErrOffline):
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
		req.Kind = 0
		return req, err
	}
	req.Target = target
	return req, nil
}

func (r *Request) readMessage(f fields) (err error) {
	r.Kind = Message
	s, ok := wire.Text(f.message)
	if !ok {
		return errBadMessage
	}
	r.Text, err = domain.NewText(string(s))
	return err
}

func (r *Request) readInvite(f fields, has Features) (err error) {
	r.Kind = Invite
	status, _ := wire.Text(f.status)
	_, answers := has[port.FeatureInvites]
	if answers { // of others it is ignored, as by the original server
		if r.Room, err = parseRoom(f.room); err != nil && string(status) != string(domain.InviteOpened) {
			return err
		}
	}
	r.Status, err = domain.NewAskedStatus(string(status), answers)
	return err
}

// parseRoom reads which invite is meant; "" where none is named.
func parseRoom(raw []byte) (domain.RoomID, error) {
	room, ok := wire.Text(raw)
	if !ok && raw != nil {
		return "", errBadRoom
	}
	return domain.RoomID(room), nil
}

func parseName(raw []byte) (domain.ClientMessageID, error) {
	s, ok := wire.Text(raw)
	if !ok {
		return "", errBadName
	}
	return domain.NewClientMessageID(string(s))
}

// parseTarget reads a target_id: a JSON number with an integral value, in any notation (202, 202.0, 2.02e2), or a string with a
// decimal integer and blanks around it. Unlike in REST, a string has no fraction: the original server's socket took none. It
// returns ErrOffline for null, and for integers that are no user: zero, negative, beyond int64.
func parseTarget(raw []byte) (domain.UserID, error) {
	var n int64
	var ok bool
	switch c := raw[0]; {
	case c == '"':
		s, _ := wire.Text(raw)
		n, ok = wire.IntegerOfText(string(s))
	case c == '-' || c >= '0' && c <= '9':
		n, ok = wire.IntegerOfNumber(string(raw))
	case c == 'n':
		return 0, ErrOffline
	}
	if !ok {
		return 0, errBadTarget
	}
	target := wire.UserOf(n)
	if target == wire.Nobody {
		return 0, ErrOffline
	}
	return target, nil
}

// Login is the first frame of a client.
type Login struct {
	Token    string
	Features Features
	Resume   *string // the resume token; nil if none is named, empty for what is no string
}

// ParseLogin reads the first frame; false if it has no token. Unknown fields and features are ignored.
func ParseLogin(data []byte) (Login, bool) {
	f, _ := split(data) // empty for what is no object
	if f.halfSurrogate {
		return Login{}, false
	}
	token, ok := wire.Text(f.token)
	first := Login{Token: string(token), Features: parseFeatures(f.features)}
	if f.resume != nil {
		text, _ := wire.Text(f.resume)
		resume := string(text)
		first.Resume = &resume
	}
	return first, ok && len(token) > 0
}

// Features are those that a client named at login; nil for none.
type Features map[port.Feature]struct{}

// parseFeatures reads a list of names and leaves out those that the server does not know. Anything but a list of strings is
// ignored: a malformed wish is not worth a login.
func parseFeatures(raw []byte) Features {
	var names []string
	if json.Unmarshal(raw, &names) != nil {
		return nil
	}
	var known Features
	for _, name := range names {
		switch feature := port.Feature(name); feature {
		case port.FeatureInvites, port.FeatureReadMarks, port.FeatureReceipts, port.FeatureResume, port.FeatureStringIDs,
			port.FeatureTokenRenewal:
			if known == nil {
				known = make(Features)
			}
			known[feature] = struct{}{}
		}
	}
	return known
}

// fields are the values of the keys that the server knows, as they were sent; nil for a key that is missing, or null: serializers
// of many languages write null for a field that has no value.
type fields struct {
	token, features, resume, target, message, kind, status, room, name []byte
	// halfSurrogate tells that half a surrogate pair is escaped somewhere.
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
	case "resume":
		return &f.resume
	case "client_msg_id":
		return &f.name
	default:
		return nil
	}
}

// split takes a JSON object apart. It reads all of it before it complains of a key: bad JSON comes before any other fault.
func split(data []byte) (fields, error) {
	r := wire.Read(data)
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
	isObject := !errors.Is(err, wire.ErrNoObject)
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
	f.halfSurrogate = wire.LoneSurrogate(data) != 0
	return f, nil
}

// dropNulls takes out what is null. Of target_id and token, null is kept: Parse says what it means.
func (f *fields) dropNulls() {
	for _, value := range []*[]byte{&f.features, &f.resume, &f.message, &f.kind, &f.status, &f.room, &f.name} {
		if !isPresent(*value) {
			*value = nil
		}
	}
}

// isPresent tells whether there is a value, and it is not null.
func isPresent(raw []byte) bool { return raw != nil && !wire.IsNull(raw) }
