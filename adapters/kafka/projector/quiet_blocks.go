package projector

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"chatting/application/blocks"
	"chatting/domain"
)

// quietBlocks finds the changes of blocks that decide about nothing, because nothing was said in the conversation before the next
// change of the same pair. It must be told of every record.
type quietBlocks struct {
	// latest holds the latest change of pairs in whose conversations nothing was said since.
	latest *simplelru.LRU[blocks.Pair, loggedChange]
}

// loggedChange is a change of a block at its place.
type loggedChange struct{ offset, version int64 }

// maxQuiet bounds how many pairs are followed, of each partition. The changes of the others are kept.
const maxQuiet = 1 << 12

func newQuietBlocks() *quietBlocks {
	latest, err := simplelru.NewLRU[blocks.Pair, loggedChange](maxQuiet, nil)
	if err != nil {
		panic(err) // maxQuiet is not positive
	}
	return &quietBlocks{latest: latest}
}

// changed takes over a change. It returns the offset of the change before, if that one decides about nothing any more once
// this one takes effect.
func (q *quietBlocks) changed(change domain.BlockChanged, offset int64) (before int64, quiet bool) {
	pair := blocks.Pair{Blocker: change.Blocker, Target: change.Target}
	last, known := q.latest.Get(pair)
	if known && change.Version <= last.version {
		return 0, false // written again: it takes no effect
	}
	q.latest.Add(pair, loggedChange{offset, change.Version})
	return last.offset, known && change.Version == last.version+1
}

// said notes that something else stands in the conversation.
func (q *quietBlocks) said(between domain.Conversation) {
	q.latest.Remove(blocks.Pair{Blocker: between.Low(), Target: between.High()})
	q.latest.Remove(blocks.Pair{Blocker: between.High(), Target: between.Low()})
}

// unread notes that something may stand anywhere.
func (q *quietBlocks) unread() { q.latest.Purge() }
