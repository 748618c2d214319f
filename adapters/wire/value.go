package wire

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

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

// AsInteger reads a field that holds an integer, wherever it stands in a request: in a JSON body, a form, the query or the
// path. A JSON number counts by its value (7, 7.0, 0.7e1). As in the original server, a text may have blanks around it, a
// sign, leading zeros and an empty fraction ("7", " +7 ", "007", "7.0"). The complaint is "" for an integer; n is Beyond if it
// does not fit into 64 bits.
func (v Value) AsInteger() (n int64, complaint string) {
	var ok bool
	switch v.kind {
	case 0:
		return 0, sentenceRequired
	case jsontext.KindNull:
		return 0, sentenceNull
	case jsontext.KindNumber:
		n, ok = IntegerOfNumber(v.text)
	case jsontext.KindString:
		if len(v.text) > maxIntegerText {
			return 0, sentenceTooLarge
		}
		n, ok = IntegerOfText(zeroFraction.ReplaceAllString(v.text, ""))
	default:
	}
	if !ok {
		return 0, SentenceInteger
	}
	return n, ""
}

// AsUser reads a field that names a user. The complaint is "" for an integer. One that no user can have, because it is zero,
// negative or beyond 64 bits, names Nobody.
func (v Value) AsUser() (id domain.UserID, complaint string) {
	n, complaint := v.AsInteger()
	if complaint != "" {
		return Nobody, complaint
	}
	return UserOf(n), ""
}

// Nobody is the id of an integer that no user can have. It is never known, online or blocked.
const Nobody = domain.System

// Beyond stands for every integer that does not fit into 64 bits, positive or negative.
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
	sign := ""
	if digits, negative := strings.CutPrefix(whole, "-"); negative {
		sign, whole = "-", digits
	}
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

// AsText reads a field that holds a text, and trims it. A number is its literal. The complaint is "" for a text, which is never
// blank.
func (v Value) AsText() (s, complaint string) {
	switch v.kind {
	case 0:
		return "", sentenceRequired
	case jsontext.KindNull:
		return "", sentenceNull
	case jsontext.KindNumber, jsontext.KindString:
	default:
		return "", sentenceString
	}
	s = strings.TrimFunc(v.text, isPythonSpace)
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

// AsString is AsText for fields that the original server does not have: a number is no text.
func (v Value) AsString() (s, complaint string) {
	if v.kind == jsontext.KindNumber {
		return "", sentenceString
	}
	return v.AsText()
}

// isPythonSpace tells whether Python's str.strip takes r off: the separators 0x1c to 0x1f, too.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
