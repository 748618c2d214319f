package auth

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/domain"
)

// FuzzVerify hands anything to a verifier: it must neither panic, nor accept what its keys have not signed, nor repeat
// the token in its error.
func FuzzVerify(f *testing.F) {
	ec := newECKey(elliptic.P256())
	v := newVerifier(f, Options{Secret: testSecret, PublicKeyFile: pkixFile(f, ec.Public())})
	stranger := []byte("another secret of thirty-two bytes")
	for _, token := range []string{
		"", "..", "e30.e30.", "a.b.c",
		sign(f, jwt.SigningMethodHS256, stranger, "", user7()),
		sign(f, jwt.SigningMethodES256, newECKey(elliptic.P256()), "kid", user7()),
		sign(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", user7()),
		signRaw(`{"alg":"HS256","crit":["x"]}`, `{"user_id":7}`, stranger),
		signRaw(`{"alg":["HS256"]}`, `null`, stranger),
		signRaw(`null`, `{"exp":1e999}`, stranger),
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		identity, err := v.Verify(context.Background(), token)
		if err == nil {
			t.Fatalf("accepted as user %d", identity.User)
		}
		if domain.CodeOf(err) != domain.CodeUnauthenticated {
			t.Fatalf("code %s: %v", domain.CodeOf(err), err)
		}
		mustNotLeak(t, err, token)
	})
}

// FuzzClaims signs any header and claims with the right key: what is accepted must name a user and lie in time.
func FuzzClaims(f *testing.F) {
	v := newVerifier(f, Options{Secret: testSecret})
	const hs256 = `{"alg":"HS256"}`
	for _, claims := range []string{
		`{"user_id":7,"exp":99999999999}`, `{"user_id":"7","exp":99999999999.5}`, `{"sub":"7","exp":253402300799}`,
		`{"user_id":7.0,"exp":1e300}`, `{"exp":99999999999,"sub":9223372036854775808}`, `{"user_id":null,"sub":"7","exp":99999999999}`,
		`{"user_id":7,"exp":99999999999,"nbf":-1e300}`, `[]`, `null`, `7`, ``, `{"user_id":7,"exp":99999999999} {`,
	} {
		f.Add(hs256, claims)
	}
	for _, claims := range []string{
		`{"user_id":7,"exp":99999999999,"token_type":"access","typ":"Bearer"}`, `{"user_id":7,"exp":99999999999,"token_type":"refresh"}`,
		`{"user_id":7,"exp":99999999999,"token_type":["access"]}`, `{"user_id":7,"exp":99999999999,"type":"REFRESH"}`,
		`{"user_id":7,"exp":292277026596}`, `{"user_id":7,"exp":99999999999,"iss":7,"aud":{"a":[]}}`,
	} {
		f.Add(hs256, claims)
	}
	f.Add(`{"alg":"HS256","typ":"application/at+JWT"}`, `{"user_id":7,"exp":99999999999}`)
	f.Add(`{"alg":"HS256","typ":["JWT"]}`, `{"user_id":7,"exp":99999999999}`)
	f.Add(`{"alg":"HS256","kid":7}`, `{"user_id":7,"exp":99999999999}`)
	f.Add(`{"alg":"HS384"}`, `{}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := signRaw(header, claims, testSecret)
		identity, err := v.Verify(context.Background(), token)
		if err != nil {
			if domain.CodeOf(err) != domain.CodeUnauthenticated || identity.User != 0 {
				t.Fatalf("code %s, user %d: %v", domain.CodeOf(err), identity.User, err)
			}
			return
		}
		if identity.User <= 0 || identity.Expires.Before(time.Now().Add(-time.Minute)) || identity.Expires.Unix() > maxNumericDate {
			t.Fatalf("accepted: user %d until %v", identity.User, identity.Expires)
		}
	})
}

// FuzzReadUserID compares the reading of ids with its specification.
func FuzzReadUserID(f *testing.F) {
	for _, text := range []string{"7", "07", "+7", "-7", "7.0", "9223372036854775807", "9223372036854775808", "1e3", "", "0", " 7"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wanted := len(text) > 0 && len(text) <= 19 && text[0] != '0'
		for _, digit := range []byte(text) {
			wanted = wanted && digit >= '0' && digit <= '9'
		}
		if len(text) == 19 && text > "9223372036854775807" {
			wanted = false
		}
		for _, claim := range []any{text, json.Number(text)} {
			user, ok := readUserID(claim)
			if ok != wanted || (ok && user.String() != text) || (!ok && user != 0) {
				t.Fatalf("%T %q: %d, %v", claim, text, user, ok)
			}
		}
	})
}

// FuzzKeySet reads any JWK Set: no panic, and every key that counts can be found by an algorithm that is allowed.
func FuzzKeySet(f *testing.F) {
	f.Add(jwks(f, jwk(f, newECKey(elliptic.P384()).Public(), "k", nil), jwk(f, newEdKey().Public(), "", nil)))
	f.Add(jwks(f, jwk(f, rsaKey().Public(), "k", map[string]any{"use": "sig", "alg": "RS256"}), jwk(f, testSecret, "s", nil)))
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":""},null,7]}`)
	f.Add(`{"keys":null}`)
	f.Add(jwks(f, jwk(f, newEdKey().Public(), "k", nil), jwk(f, newEdKey().Public(), "k", map[string]any{"kid": 7})))
	f.Fuzz(func(t *testing.T, body string) {
		set, err := parseKeySet([]byte(body))
		if err != nil {
			return
		}
		if set.usable < 0 || set.skipped < 0 || set.usable+set.skipped > jwksMaxKeys || (set.usable == 0) != (len(set.keys) == 0) {
			t.Fatalf("%d keys, %d skipped, %d algorithms", set.usable, set.skipped, len(set.keys))
		}
		for algorithm, keys := range set.keys {
			if len(keys) == 0 || len(keys) > set.usable {
				t.Fatalf("%d keys for %s", len(keys), algorithm)
			}
			for _, named := range keys {
				fits, err := algorithmsOf(named.key)
				if err != nil {
					t.Fatalf("%s: %v", algorithm, err)
				}
				if !slices.Contains(fits, algorithm) {
					t.Fatalf("a %T is kept for %s", named.key, algorithm)
				}
			}
		}
	})
}
