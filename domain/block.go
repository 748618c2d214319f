package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// BlockList is whom one user blocks, as of a place in the log. Records come at least once and a database row may be ahead
// of the log, so each entry carries the version of its pair and an older one changes nothing. Unblocked pairs stay, with
// their version. The zero value is an empty list. It is not safe for concurrent use.
type BlockList struct{ entries map[UserID]blockEntry }

type blockEntry struct {
	version int64
	blocked bool
}

// Apply takes over a change of one pair unless a newer or equal version is known.
func (l *BlockList) Apply(target UserID, blocked bool, version int64) {
	if version <= l.entries[target].version {
		return
	}
	if l.entries == nil {
		l.entries = make(map[UserID]blockEntry)
	}
	l.entries[target] = blockEntry{version: version, blocked: blocked}
}

// Hides tells whether what sender says is kept from the list's owner.
func (l *BlockList) Hides(sender UserID) bool { return l.entries[sender].blocked }

// Unblocked tells whether the list's owner blocked sender once, and does not any more.
func (l *BlockList) Unblocked(sender UserID) bool {
	entry := l.entries[sender]
	return entry.version > 0 && !entry.blocked
}

// Version returns the version of the state that the list has for sender, 0 if it has none.
func (l *BlockList) Version(sender UserID) int64 { return l.entries[sender].version }

// BlockEventID returns the id of the event that changes a block to a version: a UUID of version 8 (RFC 9562 §5.8) that only
// those who have the key can make. With the key, a change that was made can be told from one that somebody else wrote into the
// log, even if the version was guessed before it was given out.
func BlockEventID(key []byte, blocker, target UserID, version int64) EventID {
	mac := hmac.New(sha256.New, key)
	for _, number := range []int64{int64(blocker), int64(target), version} {
		_ = binary.Write(mac, binary.BigEndian, number) // a hash takes everything
	}
	var id EventID
	copy(id[:], mac.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
