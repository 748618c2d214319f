package auth

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// userClaim is how MintHS256 names the user.
const userClaim = "user_id"

// defaultUserClaims are the claims that name the user where none is configured, the first of them that is present. The
// original's issuer writes user_id; sub is the standard's (RFC 7519 §4.1.2).
var defaultUserClaims = []string{userClaim, "sub"}

// maxNumericDate is the end of the year 9999 in seconds since 1970. Times beyond it are refused: the library reads them
// through a float64 and an int64, and the result could be any time.
const maxNumericDate = 253402300799

// judge decides about a token whose signature is good: what it is for, whom it names, and whether it counts now. Its
// claims must have been decoded with json.Number, because a float64 does not hold every id.
func (v *Verifier) judge(token *jwt.Token) (application.Identity, error) {
	claims, ok := token.Claims.(jwt.MapClaims)
	if !ok {
		return application.Identity{}, errMalformed
	}
	// The user first: it is proven by the signature, so a refusal for another reason can name it.
	user, userErr := v.userOf(claims)
	refuse := func(message string, reason application.RefusalReason) (application.Identity, error) {
		return application.Identity{}, application.RefuseToken(message, reason, user)
	}
	if !isForAccess(token.Header, claims) {
		return refuse(notValid, application.RefusedUse)
	}
	if !soundTime(claims, "exp") || !soundTime(claims, "nbf") {
		return refuse("The token's times are not valid.", application.RefusedTimes)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return refuse("The token does not say when it expires.", application.RefusedTimes)
	}
	if !time.Now().Before(expires.Time) {
		return refuse("The token has expired.", application.RefusedExpired)
	}
	switch err := v.validator.Validate(claims); {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse("The token is not valid yet.", application.RefusedTooEarly)
	case !v.issuedBy(claims):
		return refuse(notValid, application.RefusedIssuer)
	default:
		return refuse(notValid, application.RefusedAudience)
	}
	if userErr != nil {
		return application.Identity{}, userErr
	}
	return application.Identity{User: user, Issued: issuedAt(claims), Expires: expires.Time}, nil
}

// issuedAt returns when a token was issued; zero if it does not say, or says what is no time. Whether a token is good never depends
// on it, unless the platform has revoked some.
func issuedAt(claims jwt.MapClaims) time.Time {
	if !soundTime(claims, "iat") {
		return time.Time{}
	}
	issued, err := claims.GetIssuedAt()
	if err != nil || issued == nil {
		return time.Time{}
	}
	return issued.Time
}

// issuedBy tells whether the token's issuer is the one that is wanted, if one is. The validator decides about that, too,
// but its error does not always tell it from a wrong audience.
func (v *Verifier) issuedBy(claims jwt.MapClaims) bool {
	issuer, err := claims.GetIssuer()
	return v.issuer == "" || err == nil && issuer == v.issuer
}

// userOf reads the claim that names the user.
func (v *Verifier) userOf(claims jwt.MapClaims) (domain.UserID, error) {
	for _, name := range v.userClaims {
		named, present := claims[name]
		if !present {
			continue
		}
		user, ok := readUserID(named)
		if !ok {
			return 0, application.RefuseToken("The token's user is not a positive integer.", application.RefusedUserClaim, 0)
		}
		return user, nil
	}
	return 0, application.RefuseToken("The token names no user.", application.RefusedUserClaim, 0)
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
