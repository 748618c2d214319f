package kafka

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"sync/atomic"
	"time"

	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
)

// ConnectionQuestions is where nodes ask each other where a user is connected: presence.Questions. The questions and the answers are
// records of the sessions topic. Everybody who reads that sees that the platform asked for a user, and which nodes answered. The
// answers have addresses, which are personal data: only who knows the secret of the database can open them.
type ConnectionQuestions struct {
	sessions *Sessions
	// Whereabouts is told of what stands in the log.
	Whereabouts *presence.Whereabouts

	seal atomic.Pointer[cipher.AEAD]
}

// NewConnectionQuestions asks and answers in the topic of sessions. Nothing is answered before SealWith.
func NewConnectionQuestions(sessions *Sessions) *ConnectionQuestions {
	return &ConnectionQuestions{sessions: sessions}
}

var _ presence.Questions = (*ConnectionQuestions)(nil)

// SealWith has answers be sealed with a key of 32 bytes, which all nodes of the installation have, and nobody else.
func (c *ConnectionQuestions) SealWith(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	c.seal.Store(&aead)
	return nil
}

// sealedAnswer is what an answer says.
type sealedAnswer struct {
	Connections []sealedConnection `json:"connections"`
	More        bool               `json:"more,omitempty"`
}

type sealedConnection struct {
	Address  string         `json:"address"`
	Since    time.Time      `json:"since"`
	Features []port.Feature `json:"features"`
}

// Ask implements presence.Questions.
func (c *ConnectionQuestions) Ask(question domain.EventID, user domain.UserID, done func(error)) {
	record := domain.SessionRecord{Kind: domain.ConnectionsAsked, User: user, Question: question}
	c.sessions.append(0, []byte(question.String()), record, done)
}

// Tell implements presence.Questions.
func (c *ConnectionQuestions) Tell(question domain.EventID, told presence.Told, done func(error)) {
	aead := c.seal.Load()
	if aead == nil {
		done(domain.NewError(domain.CodeUnavailable, "The answer cannot be sealed yet."))
		return
	}
	answer := sealedAnswer{Connections: make([]sealedConnection, 0, len(told.Connections)), More: told.More}
	for _, of := range told.Connections {
		answer.Connections = append(answer.Connections, sealedConnection{of.Address, of.Since, of.Features})
	}
	plain, err := json.Marshal(answer)
	if err != nil {
		done(domain.WrapError(domain.CodeInternal, "The answer could not be encoded.", err))
		return
	}
	record := domain.SessionRecord{Kind: domain.ConnectionsTold, Incarnation: told.Incarnation, Question: question}
	record.Sealed = string((*aead).Seal(nil, nil, plain, sealedFor(record))) //nolint:gosec // the AEAD makes a random nonce itself
	c.sessions.append(0, []byte(question.String()), record, done)
}

// sealedFor is what an answer is sealed together with: one that somebody writes again, to another question or for another node,
// cannot be opened.
func sealedFor(r domain.SessionRecord) []byte { return append(r.Question[:], r.Incarnation[:]...) }

// read takes over a record about connections.
func (c *ConnectionQuestions) read(r domain.SessionRecord) {
	if r.Kind == domain.ConnectionsAsked {
		c.Whereabouts.Asked(r.Question, r.User)
		return
	}
	c.Whereabouts.Told(r.Question, func() (presence.Told, bool) { return c.open(r) })
}

// open reads an answer; false if a node of this installation did not write it.
func (c *ConnectionQuestions) open(r domain.SessionRecord) (presence.Told, bool) {
	aead := c.seal.Load()
	if aead == nil {
		return presence.Told{}, false
	}
	plain, err := (*aead).Open(nil, nil, []byte(r.Sealed), sealedFor(r))
	var answer sealedAnswer
	if err != nil || json.Unmarshal(plain, &answer) != nil {
		return presence.Told{}, false
	}
	told := presence.Told{Incarnation: r.Incarnation, More: answer.More}
	for _, of := range answer.Connections {
		told.Connections = append(told.Connections, presence.Connected{
			Client: port.Client{Address: of.Address, Features: of.Features}, Since: of.Since.UTC(),
		})
	}
	return told, true
}
