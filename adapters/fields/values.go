package fields

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"chatting/domain"
)

// The sentences of the original's serializers (Django REST framework).
const (
	SentenceInteger = "A valid integer is required."
	SentenceNever   = "해당 id가 존재하지 않습니다."

	sentenceRequired  = "This field is required."
	sentenceNull      = "This field may not be null."
	sentenceBlank     = "This field may not be blank."
	sentenceTooLarge  = "String value too large."
	sentenceString    = "Not a valid string."
	sentenceNUL       = "Null characters are not allowed."
	sentenceSurrogate = "Surrogate characters are not allowed: U+%X."
)

// maxIntegerText is the longest text that is looked at as an integer, in characters.
const maxIntegerText = 1000

// AsInteger reads a field that holds an integer. It is the one rule for integers of requests, wherever they stand: in a
// JSON body, in a form, in the query or in a path. A JSON number counts by its value (7, 7.0, 0.7e1). As in the original
// server, a text may have blanks around it, a sign, leading zeros and an empty fraction ("7", " +7 ", "007", "7.0"). The
// complaint is "" for an integer; n is Beyond if that does not fit into 64 bits.
func (v Value) AsInteger() (n int64, complaint string) {
	var ok bool
	switch v.Kind {
	case Missing:
		return 0, sentenceRequired
	case Null:
		return 0, sentenceNull
	case Number:
		n, ok = IntegerOfNumber(v.Text)
	case Text:
		if len(v.Text) > maxIntegerText {
			return 0, sentenceTooLarge
		}
		n, ok = IntegerOfText(zeroFraction.ReplaceAllString(v.Text, ""))
	default:
	}
	if !ok {
		return 0, SentenceInteger
	}
	return n, ""
}

// AsUser reads a field that names a user. The complaint is "" for a good one. A number that no user can have, because
// it is zero, negative or beyond 64 bits, is no error here: its id is Nobody, which was never seen.
func (v Value) AsUser() (id domain.UserID, complaint string) {
	n, complaint := v.AsInteger()
	if complaint != "" {
		return Nobody, complaint
	}
	return UserOf(n), ""
}

// Nobody is the id of a number that no user can have. Nobody is known, online or blocked under it.
const Nobody = domain.System

// Beyond stands for every integer that does not fit into 64 bits, on either side. No request means it.
const Beyond = math.MinInt64

// UserOf returns the user of a number, or Nobody.
func UserOf(n int64) domain.UserID {
	id, err := domain.NewUserID(n)
	if err != nil {
		return Nobody
	}
	return id
}

// zeroFraction is what the original cuts off before it reads a text as an integer.
var zeroFraction = regexp.MustCompile(`\.0*\s*$`)

// IntegerOfText reads a decimal integer with blanks around it and perhaps a sign; ok tells whether it is one. Unlike
// Python's int, it takes neither underscores nor other scripts' digits.
func IntegerOfText(s string) (n int64, ok bool) {
	s = strings.TrimFunc(s, unicode.IsSpace)
	digits := s
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		digits = digits[1:]
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return Beyond, true
	}
	return n, true
}

// IntegerOfNumber reads a JSON number; ok tells whether its value is an integer (7.0 and 1e2 are). It computes in decimal:
// 9007199254740993.0 is itself, and 1e999999999 costs nothing.
func IntegerOfNumber(literal string) (n int64, ok bool) {
	if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return n, true // as most are written
	}
	mantissa, exponentText := literal, "0"
	if e := strings.IndexAny(literal, "eE"); e >= 0 {
		mantissa, exponentText = literal[:e], literal[e+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	sign, whole := cutSign(whole)
	digits := whole + fraction
	significant := strings.TrimRight(digits, "0")
	if strings.Trim(significant, "0") == "" {
		return 0, true
	}
	// Beyond int it is the nearest int. Either is beyond any digits that a body has room for.
	exponent, _ := strconv.Atoi(exponentText)
	exponent = min(max(exponent, math.MinInt32), math.MaxInt32)
	zeros := exponent - len(fraction) + len(digits) - len(significant)
	significant = strings.TrimLeft(significant, "0")
	switch {
	case zeros < 0:
		return 0, false
	case len(significant)+zeros > 19: // 2^63 has 19 digits
		return Beyond, true
	}
	n, err := strconv.ParseInt(sign+significant+strings.Repeat("0", zeros), 10, 64)
	if err != nil {
		return Beyond, true
	}
	return n, true
}

func cutSign(s string) (sign, rest string) {
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		return "-", rest
	}
	return "", s
}

// AsText reads a field that holds a text, trimmed. Numbers are their literals. The complaint is "" for a good one,
// which is never blank.
func (v Value) AsText() (s, complaint string) {
	switch v.Kind {
	case Missing:
		return "", sentenceRequired
	case Null:
		return "", sentenceNull
	case Number, Text:
	default:
		return "", sentenceString
	}
	s = strings.TrimFunc(v.Text, isPythonSpace)
	switch {
	case v.surrogate != 0:
		return "", fmt.Sprintf(sentenceSurrogate, v.surrogate)
	case s == "":
		return "", sentenceBlank
	case strings.ContainsRune(s, 0):
		return "", sentenceNUL
	}
	return s, ""
}

// isPythonSpace tells whether Python's str.strip takes r off: the separators 0x1c to 0x1f, too.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
