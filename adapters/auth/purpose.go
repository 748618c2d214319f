package auth

import (
	"slices"
	"strings"
	"unicode"

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

// otherPurposes are compared by their letters alone, because issuers write refresh_token, refreshToken and Refresh Token.
var otherPurposes = []string{
	"refresh", "refreshtoken", "id", "idtoken", "offline", "offlinetoken", "logout", "logouttoken",
}

// eventsClaim holds the events of a security event token (RFC 8417 §2.2), by their URIs.
const eventsClaim = "events"

// logoutEvent is in every logout token of OpenID Connect Back-Channel Logout 1.0 (§2.4). Older issuers mark those with
// nothing else.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// isForAccess tells whether a token is an access token, or does not say what it is. Letter case does not count.
func isForAccess(header map[string]any, claims jwt.MapClaims) bool {
	if typ, present := header["typ"]; present {
		name, _ := typ.(string) // "" is no type
		// RFC 7515 §4.1.9: application/ may be left out, and is to be.
		name = strings.TrimPrefix(strings.ToLower(name), "application/")
		if !slices.Contains(accessHeaderTypes, name) {
			return false
		}
	}
	for _, claim := range purposeClaims {
		if purpose, present := claims[claim]; present {
			name, _ := purpose.(string) // "" is no purpose
			if !slices.Contains(accessPurposes, strings.ToLower(name)) {
				return false
			}
		}
	}
	if purpose, present := claims[typeClaim]; present && !mayBeAccess(purpose) {
		return false
	}
	return !isLogout(claims[eventsClaim])
}

// mayBeAccess tells whether a value of typeClaim names none of otherPurposes: it is a string, or a list of strings.
func mayBeAccess(purpose any) bool {
	switch p := purpose.(type) {
	case string:
		return !slices.Contains(otherPurposes, lettersOf(p))
	case []any:
		return !slices.ContainsFunc(p, func(element any) bool {
			name, ok := element.(string)
			return !ok || slices.Contains(otherPurposes, lettersOf(name))
		})
	default:
		return false
	}
}

// isLogout tells whether a value of eventsClaim has the logout event: as the name of a member, or from issuers that do
// not follow the specification as an element of a list or alone.
func isLogout(events any) bool {
	switch e := events.(type) {
	case map[string]any:
		for name := range e {
			if isLogout(name) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(e, func(element any) bool {
			name, _ := element.(string)
			return isLogout(name)
		})
	case string:
		return strings.EqualFold(strings.TrimSpace(e), logoutEvent)
	default:
		return false
	}
}

// lettersOf returns the letters of a text, in lower case.
func lettersOf(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text)
}
