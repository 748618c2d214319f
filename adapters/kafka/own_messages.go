package kafka

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"

	"chatting/domain"
)

// ownMessages remembers chat messages and read marks that this node appended, by the bytes of their values. A record with the very
// same bytes need not be decoded: DecodeEvent would return the event that was encoded.
//
// It is a table of fixed size. A message takes the place of another one with the same hash, and leaves when it is found.
type ownMessages struct {
	seed   maphash.Seed
	places [ownPlaces]atomic.Pointer[ownMessage]
}

const (
	// ownPlaces is some times as many messages as are under way at once.
	ownPlaces = 4096
	// maxOwnValue bounds the values that are remembered, and so the table, to 8 MiB.
	maxOwnValue = 2 << 10
)

// ownMessage is a message as it was encoded. Nothing in it changes.
type ownMessage struct {
	event domain.Event
	value []byte
}

func newOwnMessages() *ownMessages { return &ownMessages{seed: maphash.MakeSeed()} }

func (o *ownMessages) place(value []byte) *atomic.Pointer[ownMessage] {
	return &o.places[maphash.Bytes(o.seed, value)%ownPlaces]
}

// note remembers an event that is about to be appended, and its value, which must not change any more. Events of other types are
// few, and are not remembered.
func (o *ownMessages) note(event domain.Event, value []byte) {
	switch event.Body.(type) {
	case domain.ChatMessage, domain.ReadMark:
		if len(value) <= maxOwnValue {
			o.place(value).Store(&ownMessage{event: event, value: value})
		}
	}
}

var headOfData = []byte(`"data":`)

// take returns the event of a record of the conversation, and its frame, which nobody may change; false if it does not
// remember it.
func (o *ownMessages) take(conversation domain.Conversation, value []byte) (event domain.Event, frame []byte, ok bool) {
	if len(value) > maxOwnValue {
		return domain.Event{}, nil, false
	}
	place := o.place(value)
	own := place.Load()
	if own == nil || !bytes.Equal(own.value, value) || own.event.Body.Conversation() != conversation {
		return domain.Event{}, nil, false
	}
	place.CompareAndSwap(own, nil)
	_, frame, _ = bytes.Cut(own.value, headOfData) // in what stands before, quotes within a text are escaped
	return own.event, frame[: len(frame)-1 : len(frame)-1], true
}
