package auth

import (
	"encoding/json"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// The claims that name the user, the first of them that is present. The original's issuer writes user_id; sub is the
// standard's (RFC 7519 §4.1.2).
const (
	userClaim    = "user_id"
	subjectClaim = "sub"
)

// maxNumericDate is the end of the year 9999 in seconds since 1970. Times beyond it are refused: the library reads them
// through a float64 and an int64, which make anything of them.
const maxNumericDate = 253402300799

// identityOf reads whom verified claims stand for, and demands exp. They must have been decoded with json.Number, because
// a float64 does not hold every id.
func identityOf(claims jwt.Claims) (application.Identity, error) {
	held, ok := claims.(jwt.MapClaims)
	if !ok {
		return application.Identity{}, unauthenticated("The token is not valid.")
	}
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		if !soundTime(held, name) {
			return application.Identity{}, unauthenticated("The token's times are not valid.")
		}
	}
	expires, err := held.GetExpirationTime()
	if err != nil || expires == nil {
		return application.Identity{}, unauthenticated("The token does not say when it expires.")
	}
	if !time.Now().Before(expires.Time) {
		return application.Identity{}, errExpired
	}
	named, present := held[userClaim]
	if !present {
		named, present = held[subjectClaim]
	}
	if !present {
		return application.Identity{}, unauthenticated("The token names no user.")
	}
	user, ok := readUserID(named)
	if !ok {
		return application.Identity{}, unauthenticated("The token's user is not a positive integer.")
	}
	return application.Identity{User: user, Expires: expires.Time}, nil
}

// soundTime tells whether a claim is absent or a time that the library has read as it was written.
func soundTime(claims jwt.MapClaims, name string) bool {
	claim, present := claims[name]
	if !present {
		return true
	}
	number, ok := claim.(json.Number)
	if !ok {
		return false
	}
	seconds, err := number.Float64()
	return err == nil && seconds >= 0 && seconds <= maxNumericDate
}

// readUserID reads a JSON number that is written as an integer, or a string of one: digits only, no leading zero, so
// that a user has one name.
func readUserID(claim any) (domain.UserID, bool) {
	var digits string
	switch c := claim.(type) {
	case json.Number:
		digits = c.String()
	case string:
		digits = c
	default:
		return 0, false
	}
	user, err := domain.ParseUserID(digits)
	if err != nil || user.String() != digits {
		return 0, false
	}
	return user, true
}
