package auth

import (
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// One key usually signs several kinds of tokens: SimpleJWT makes pairs of an access and a refresh token, Keycloak makes ID
// and offline tokens as well. Only an access token may log in. Issuers mark the kind in different places; a token without
// a mark counts as an access token, because most issuers do not mark those.

// accessHeaderTypes are the values of the header typ that an access token may have: that of any JWT, and that of RFC 9068.
// Others name another use: dpop+jwt, logout+jwt, secevent+jwt, ...
var accessHeaderTypes = []string{"jwt", "at+jwt"}

// purposeClaims are the claims that say what a token is for: token_type of SimpleJWT, token_use of Cognito, typ of
// Keycloak, use of others.
var purposeClaims = []string{"token_type", "token_use", "typ", "use"}

// accessPurposes are the values of those claims that an access token may have.
var accessPurposes = []string{"access", "access_token", "bearer", "jwt", "at+jwt"}

// typeClaim says what a token is for in tokens of Flask-JWT-Extended and others. Its name is general, and elsewhere it
// says other things (what kind of account the user has), so that only the values in otherPurposes count.
const typeClaim = "type"

var otherPurposes = []string{"refresh", "refresh_token", "refresh-token", "id", "id_token", "offline", "logout", "logout_token"}

// isForAccess tells whether a token is an access token, or does not say what it is. Letter case does not count.
func isForAccess(header map[string]any, claims jwt.MapClaims) bool {
	if typ, present := header["typ"]; present {
		name, ok := typ.(string)
		// RFC 7515 §4.1.9: application/ may be left out, and is to be.
		name = strings.TrimPrefix(strings.ToLower(name), "application/")
		if !ok || !slices.Contains(accessHeaderTypes, name) {
			return false
		}
	}
	for _, claim := range purposeClaims {
		if purpose, present := claims[claim]; present {
			name, ok := purpose.(string)
			if !ok || !slices.Contains(accessPurposes, strings.ToLower(name)) {
				return false
			}
		}
	}
	name, _ := claims[typeClaim].(string)
	return !slices.Contains(otherPurposes, strings.ToLower(name))
}
