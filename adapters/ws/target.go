package ws

import (
	"strconv"
	"strings"

	"chatting/domain"
)

// parseTarget reads a target_id: a JSON number with an integral value, in any notation (202, 202.0, 2.02e2), or a string
// with a decimal integer and blanks around it. errOffline for null and for integers that are no user: zero, negative,
// beyond int64. raw is a JSON value.
func parseTarget(raw []byte) (domain.UserID, error) {
	switch c := raw[0]; {
	case c == '"':
		s, _ := text(raw)
		return parseDecimal(strings.TrimSpace(s))
	case c == '-' || c >= '0' && c <= '9':
		return parseNumber(string(raw))
	case c == 'n':
		return 0, errOffline
	default:
		return 0, errBadTarget
	}
}

// parseDecimal reads digits with or without a sign.
func parseDecimal(s string) (domain.UserID, error) {
	digits := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errBadTarget
	}
	if s[0] == '-' {
		return 0, errOffline
	}
	return fromDigits(digits)
}

// parseNumber reads a number as JSON writes it, without computing with its exponent: 1e999999999 is a short way to
// write a number that nobody wants to multiply out.
func parseNumber(s string) (domain.UserID, error) {
	unsigned, negative := strings.CutPrefix(s, "-")
	mantissa, exponent := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		mantissa = unsigned[:i]
		// Out of range, Atoi returns the nearest int, which is as good: a mantissa has far fewer digits.
		exponent, _ = strconv.Atoi(unsigned[i+1:])
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return 0, errOffline // zero
	}
	significant := strings.TrimRight(digits, "0")
	// The value is significant times ten to the power of zeros.
	zeros := clamp(exponent) - len(fraction) + len(digits) - len(significant)
	switch {
	case zeros < 0:
		return 0, errBadTarget // a fraction
	case negative || len(significant)+zeros > maxDigits:
		return 0, errOffline
	default:
		return fromDigits(significant + strings.Repeat("0", zeros))
	}
}

const (
	maxDigits = 19      // of an int64
	farAway   = 1 << 30 // farther than the digits of any frame could bring back
)

func clamp(exponent int) int { return min(max(exponent, -farAway), farAway) }

// fromDigits returns the user of a decimal without sign.
func fromDigits(digits string) (domain.UserID, error) {
	id, err := domain.ParseUserID(digits)
	if err != nil {
		return 0, errOffline
	}
	return id, nil
}
