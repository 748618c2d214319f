package past

import (
	"context"

	"chatting/application/port"
	"chatting/domain"
)

// Log reads the log once more, for users who log in.
type Log interface {
	// Read returns the records of the user's conversations that stand in a stretch of the log. Readers that come together share
	// one pass over the log. A reader whose stretch has more records than the log hands out gets the end of it, and so does one
	// whose own records have too many bytes, unless it asks for the beginning: Records.From and Records.To say where it has
	// everything. What the log has lost counts as too much, too.
	//
	// What is returned counts among the bytes that the node holds for the user, until Records.Close. If there is no more
	// room for them, cut is called once, under any lock and from any goroutine: it must not block, and the caller has to close
	// soon. Errors: CodeUnavailable if the log does not answer, or if there is no room.
	Read(ctx context.Context, wanted Stretch, cut func()) (Records, error)
	// Reaches tells whether a stretch has no more records than Read hands out. It costs nothing.
	Reaches(wanted Stretch) bool
}

// Stretch is a part of the log as one user sees it: from the first offset (included) to the second (excluded) of each
// partition, in the order of their numbers. A partition whose To is not past its From has nothing in it.
type Stretch struct {
	User     domain.UserID
	From, To []int64
	// BeginningFirst asks for the first of the user's records if they have too many bytes: the reader comes again for the others.
	// Those about blocks come all the same.
	BeginningFirst bool
	// AllOrNothing tells that the reader needs all of the stretch: of a part it is told no more than where that begins and ends.
	AllOrNothing bool
}

// Length returns how many offsets the stretch has.
func (s Stretch) Length() (length int64) {
	for p := range min(len(s.From), len(s.To)) {
		length += max(0, s.To[p]-s.From[p])
	}
	return length
}

// Records are records of one user's conversations.
type Records struct {
	// Records are those of a partition in their order, the partitions in any. They are the caller's, and stay valid. At or behind
	// To there are only some about blocks.
	Records []port.Record
	// From and To are, of each partition, between which offsets Records has everything: those of the Stretch, unless that was
	// too much. Neither is outside of it.
	From, To []int64
	// Close gives their bytes back. It is never nil, and may be called again.
	Close func()
}
