// Package auth verifies local tokens: JSON Web Tokens (RFC 7519) signed with a shared secret, with the private half of a
// PEM key, or with a key of a JWK Set that an identity provider publishes (RFC 7517). It also mints tokens for trial and
// keeps the secret that a first start makes.
//
// A key decides which algorithms it may verify, never a token (RFC 8725 §3.1): a secret HS256, HS384 and HS512; an RSA
// key RS256, RS384 and RS512; a P-256 key ES256, P-384 ES384, P-521 ES512; an Ed25519 key EdDSA. Keys are kept by
// algorithm, so a token reaches no others: none, PS256 and an HS256 made from the bytes of a public key find no key.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// MaxTokenBytes bounds a token; longer ones are refused unparsed.
const MaxTokenBytes = 8 << 10

// clockLeeway is how far ahead the issuer's clock may be: nbf and iat may lie that much in the future. exp has no leeway,
// so that a token which is accepted has a time to live.
const clockLeeway = 5 * time.Second

// Options name the keys. At least one source must be given. With several, a token is good when a key of any of them
// verifies it: the secret and the PEM key are tried first, because they need no network.
type Options struct {
	// Secret is a symmetric key of at least MinSecretBytes for HS256, HS384 and HS512; nil for none.
	Secret []byte
	// PublicKeyFile is a PEM file with one public key (PKIX or PKCS #1) or one certificate, whose validity period is not
	// looked at; "" for none.
	PublicKeyFile string
	// JWKSURL is where a JWK Set is published, http or https; "" for none.
	JWKSURL string
	// Logger gets the failures to load the JWK Set.
	Logger *slog.Logger
}

// Verifier implements application.Tokens. It is safe for concurrent use.
type Verifier struct {
	parser  *jwt.Parser
	sources []keySource
	remote  *remoteKeys // nil where no JWK Set is configured
}

// keySource finds the keys that may have signed a token, by its algorithm and kid: a key or a jwt.VerificationKeySet. A
// *domain.Error tells that nobody can say now.
type keySource interface {
	find(ctx context.Context, token *jwt.Token) (any, error)
}

var errNoKey = errors.New("no key for the token")

// New checks the keys and starts to load the JWK Set, without waiting for it. Errors are about the configuration and
// hold no secret. Close must be called in the end.
func New(o Options) (*Verifier, error) {
	local := make(localKeys)
	if o.Secret != nil {
		if err := local.addSecret(o.Secret); err != nil {
			return nil, err
		}
	}
	if o.PublicKeyFile != "" {
		if err := local.addPublicKeyFile(o.PublicKeyFile); err != nil {
			return nil, err
		}
	}
	v := &Verifier{}
	methods := local.algorithms()
	if len(local) > 0 {
		v.sources = append(v.sources, local)
	}
	if o.JWKSURL != "" {
		endpoint, err := parseJWKSURL(o.JWKSURL)
		if err != nil {
			return nil, err
		}
		v.remote = newRemoteKeys(endpoint, jwksTransport(), o.Logger)
		v.sources = append(v.sources, v.remote)
		methods = append(methods, asymmetricAlgorithms...)
	}
	if len(v.sources) == 0 {
		return nil, errors.New("no key to verify tokens with: a secret, a public key file or a JWKS URL is needed")
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods(methods),
		jwt.WithJSONNumber(),
		jwt.WithStrictDecoding(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(clockLeeway),
	)
	return v, nil
}

// Close stops loading the JWK Set and waits until that has ended. Keys already loaded go on to verify.
func (v *Verifier) Close() {
	if v.remote != nil {
		v.remote.close()
	}
}

// Verify implements application.Tokens. Expires is the token's exp. It waits for the network only for a JWK Set that is
// being loaded or lacks the token's key, and then for keyWait at most. CodeUnavailable only where the token could be
// signed with a key of a JWK Set that was never loaded so far. No error holds the token or a part of it.
func (v *Verifier) Verify(ctx context.Context, token string) (application.Identity, error) {
	if len(token) > MaxTokenBytes {
		return application.Identity{}, unauthenticated("The token is too long.")
	}
	if strings.ContainsAny(token, "\r\n") { // which encoding/base64 skips wherever they stand
		return application.Identity{}, unauthenticated("The token is not valid.")
	}
	var failure error
	for _, source := range v.sources {
		parsed, err := v.parser.Parse(token, func(t *jwt.Token) (any, error) {
			if _, critical := t.Header["crit"]; critical {
				return nil, errCritical
			}
			return source.find(ctx, t)
		})
		if err == nil {
			return identityOf(parsed.Claims)
		}
		failure = err
		if !errors.Is(err, jwt.ErrTokenSignatureInvalid) && !errors.Is(err, errNoKey) {
			break // another key would not help
		}
	}
	return application.Identity{}, classify(failure)
}

// errCritical refuses headers that say that the token must not be accepted by whoever does not understand an extension
// (RFC 7515 §4.1.11): none is understood here.
var errCritical = errors.New("a critical extension is not understood")

// classify turns the library's error into one of few sentences: its own texts quote parts of the token.
func classify(err error) error {
	var classified *domain.Error
	switch {
	case errors.As(err, &classified):
		return classified
	case !errors.Is(err, jwt.ErrTokenInvalidClaims):
		return unauthenticated("The token is not valid.")
	case errors.Is(err, jwt.ErrTokenExpired):
		return errExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return unauthenticated("The token is not valid yet.")
	default:
		return unauthenticated("The token is not valid.")
	}
}

var errExpired = unauthenticated("The token has expired.")

func unauthenticated(message string) *domain.Error {
	return domain.NewError(domain.CodeUnauthenticated, message)
}

// MintHS256 returns a token for user that expires ttl after now, rounded up to a whole second. The secret must have
// MinSecretBytes, ttl must be positive.
func MintHS256(secret []byte, user domain.UserID, ttl time.Duration, now time.Time) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	if _, err := domain.NewUserID(int64(user)); err != nil {
		return "", err
	}
	if ttl <= 0 {
		return "", fmt.Errorf("a token that lives for %s could not be used", ttl)
	}
	expires := now.Add(ttl).Add(time.Second - time.Nanosecond).Unix()
	if expires > maxNumericDate {
		return "", fmt.Errorf("a token that lives for %s would expire after the year 9999", ttl)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		userClaim: int64(user), "iat": now.Unix(), "exp": expires,
	})
	return token.SignedString(secret)
}
