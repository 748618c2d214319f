package domain

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

// Version returns the version of the state that the list has for sender, 0 where it has none.
func (l *BlockList) Version(sender UserID) int64 { return l.entries[sender].version }
