package domain

import (
	"bytes"
	"strconv"
)

// Conversation is the unordered pair of users between whom something is said; the lower side is System for what the
// platform says to one user. It is the unit of order: all its events share one partition of the log.
type Conversation struct{ low, high UserID }

// Between returns the conversation of a and b, the same whichever way round. Between(a, a) is a's talk to itself.
func Between(a, b UserID) Conversation {
	if a > b {
		a, b = b, a
	}
	return Conversation{low: a, high: b}
}

// Low returns the numerically lower id, System for system messages.
func (c Conversation) Low() UserID { return c.low }

// High returns the numerically higher id.
func (c Conversation) High() UserID { return c.high }

// Has tells whether u is one of the two.
func (c Conversation) Has(u UserID) bool { return c.low == u || c.high == u }

// Key returns the record key, "9:10": decimal ids, numerically lower first.
func (c Conversation) Key() string { return string(c.AppendKey(make([]byte, 0, 40))) }

// AppendKey appends what Key returns.
func (c Conversation) AppendKey(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, int64(c.low), 10), ':')
	return strconv.AppendInt(dst, int64(c.high), 10)
}

// ParseConversation reads a record key. It accepts exactly what Key returns (no signs, no leading zeros, lower first),
// so that one conversation has one key and so one partition; anything else is reported as not ok. It does not allocate:
// every node runs it for every record of the log.
func ParseConversation(key []byte) (c Conversation, ok bool) {
	colon := bytes.IndexByte(key, ':')
	if colon < 0 {
		return Conversation{}, false
	}
	low, ok := parseDecimal(key[:colon])
	if !ok {
		return Conversation{}, false
	}
	high, ok := parseDecimal(key[colon+1:])
	if !ok || high < low || high == 0 {
		return Conversation{}, false
	}
	return Conversation{low: UserID(low), high: UserID(high)}, true
}

// parseDecimal reads a canonical non-negative decimal without allocating.
func parseDecimal(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 19 || (digits[0] == '0' && len(digits) > 1) {
		return 0, false
	}
	var n uint64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + uint64(d-'0')
	}
	if n > 1<<63-1 {
		return 0, false
	}
	return int64(n), true
}
