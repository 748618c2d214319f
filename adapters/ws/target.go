package ws

import (
	integers "chatting/adapters/fields"
	"chatting/adapters/members"
	"chatting/domain"
)

// parseTarget reads a target_id: a JSON number with an integral value, in any notation (202, 202.0, 2.02e2), or a string
// with a decimal integer and blanks around it. Unlike in REST, a string has no fraction, not even an empty one: the original
// server's socket did not take it either. errOffline for null and for integers that are no user: zero, negative, beyond
// int64. raw is a JSON value.
func parseTarget(raw []byte) (domain.UserID, error) {
	var n int64
	var ok bool
	switch c := raw[0]; {
	case c == '"':
		s, _ := members.Text(raw)
		n, ok = integers.IntegerOfText(string(s))
	case c == '-' || c >= '0' && c <= '9':
		n, ok = integers.IntegerOfNumber(string(raw))
	case c == 'n':
		return 0, errOffline
	}
	if !ok {
		return 0, errBadTarget
	}
	target := integers.UserOf(n)
	if target == integers.Nobody {
		return 0, errOffline
	}
	return target, nil
}
