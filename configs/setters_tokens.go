package configs

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// bearer reads a secret that clients send as a bearer token.
func bearer(lowest int, field func(*Config) *Secret) setter {
	return func(c *Config, text string) error {
		if text != "" && !bearerToken.MatchString(text) {
			return errors.New("is no bearer token: it may have letters, digits and -._~+/ only, no blanks, and = only at the end")
		}
		return secret(lowest, field)(c, text)
	}
}

// bearerToken is b64token of RFC 6750 §2.1.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// userClaim refuses the claims of RFC 7519 §4.1 that mean something else than the user. sub is the one that names it.
func userClaim(c *Config, text string) error {
	if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, text) {
		return fmt.Errorf("%s cannot name the user: RFC 7519 gives that claim another meaning", text)
	}
	return credential(func(c *Config) *string { return &c.JWT.UserClaim })(c, text)
}
