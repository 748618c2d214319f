package talk

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"
)

// seenFrame has the fields of a server's frame that this client goes by. The rest is shown as it came.
type seenFrame struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	ClientID  string          `json:"client_msg_id"`
	Code      string          `json:"code"`
	Error     string          `json:"error"`
	Status    string          `json:"status"`
	Room      string          `json:"room_id"`
	From      int64           `json:"from_id"`
	To        int64           `json:"to_id"`
	Online    json.RawMessage `json:"online_friends"` // of the answer to the login
	Resume    string          `json:"resume"`
	Recovered *bool           `json:"recovered"`
}

// look reads a frame. What is no JSON, or has fields of other types, has none of them.
func look(raw []byte) seenFrame {
	var seen seenFrame
	if json.Unmarshal(raw, &seen) != nil {
		return seenFrame{}
	}
	return seen
}

// resumeField finds the resume token of a frame. In a text its quotes would be escaped.
var resumeField = regexp.MustCompile(`,"resume":"[^"\\]*"|"resume":"[^"\\]*",?`)

// withoutResume returns a frame without its resume token, which is for programs.
func withoutResume(raw []byte) []byte { return resumeField.ReplaceAll(raw, nil) }

// maxPending bounds the messages without an answer. A further one is refused.
const maxPending = 64

// pending are the messages that have no answer yet, the oldest first.
type pending []pendingMessage

type pendingMessage struct {
	id    string
	frame []byte
}

// add names a message and returns its frame.
func (p *pending) add(m message) ([]byte, error) {
	if len(*p) >= maxPending {
		return nil, fmt.Errorf("%d messages have no answer yet: wait for one", maxPending)
	}
	m.ID = uuid.NewString()
	frame, err := encode(m)
	if err == nil {
		*p = append(*p, pendingMessage{m.ID, frame})
	}
	return frame, err
}

// settle takes the message away that a frame answers: its echo, or its refusal.
func (p *pending) settle(seen seenFrame) {
	if seen.ClientID == "" {
		return
	}
	*p = slices.DeleteFunc(*p, func(m pendingMessage) bool { return m.id == seen.ClientID })
}

// send sends all of them again, in order and under their old names.
func (p *pending) send(conn *websocket.Conn) error {
	for _, m := range *p {
		if err := send(conn, m.frame); err != nil {
			return err
		}
	}
	return nil
}

// maxInvites bounds the invites that are remembered. The oldest is forgotten.
const maxInvites = 256

// invites are those to this user that were seen and have not ended, the newest last.
type invites struct {
	own  int64 // this user's id; 0 before the login was answered
	seen []seenInvite
}

type seenInvite struct {
	from int64
	room string
}

// note keeps what a frame says of invites.
func (i *invites) note(seen seenFrame) {
	if i.own == 0 && seen.Online != nil {
		i.own = seen.To
	}
	if seen.Type != "invite_game" || seen.Room == "" || seen.Code != "" {
		return
	}
	i.seen = slices.DeleteFunc(i.seen, func(known seenInvite) bool { return known.room == seen.Room })
	if seen.Status != "invite" || seen.From == i.own {
		return
	}
	if len(i.seen) >= maxInvites {
		i.seen = slices.Delete(i.seen, 0, 1)
	}
	i.seen = append(i.seen, seenInvite{seen.From, seen.Room})
}

// answer returns the frame that answers an invite.
func (i *invites) answer(a answer) ([]byte, error) {
	for n := len(i.seen) - 1; n >= 0 && a.room == ""; n-- {
		if i.seen[n].from == a.target {
			a.room = i.seen[n].room
		}
	}
	if a.room == "" {
		return nil, errors.New(noInvite(a))
	}
	made, err := inviteFrame(a.target, a.status, a.room)
	return made.frame, err
}

func noInvite(a answer) string {
	return fmt.Sprintf("no invite of %d came on this connection: /invites lists all, and /%s %d ROOM answers one",
		a.target, a.status, a.target)
}
