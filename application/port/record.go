package port

import (
	"time"

	"chatting/domain"
)

// Record is one record of the conversation log as the tail hands it over. Its place and its key are known; its value is only
// parsed by Open.
type Record interface { //nolint:interfacebloat // one record: what is read of it at once, and what at a price
	Place() domain.Place
	// Time is the record's own.
	Time() time.Time
	Conversation() domain.Conversation
	// ConcernsInvites tells, at little cost, whether the record may be about an invite, or about a block, which may decide who
	// sees an invite.
	ConcernsInvites() bool
	// Open checks the envelope and returns the event and the frame that clients get of it, nil if they get none. On an error the
	// record is not one of ours, or harmful, and is skipped.
	Open() (event domain.Event, frame []byte, err error)
}
